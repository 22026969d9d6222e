"""Counts the memory of the tensors that some code makes, whether they hold numbers or are fake."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, knows the bytes of all tensors made inside it that are still alive.

    Every operation's results are seen, those kept for the backward pass among them; what a kernel
    takes for itself while it runs is not. Memory counts once, whatever number of views it has, and
    until the last of them is gone.

    Attributes:
        live: Bytes alive at present, by label (see `switch`); "" to begin with.
        peak: The most bytes that were alive at one time, all labels together.
        peaks: The most bytes that were alive at one time, label by label.
    """

    def __init__(self, known: Iterable[Tensor] = (), *, block: int = 1) -> None:
        """Starts at 0.

        Args:
            known: Tensors that were there before; they and their views do not count.
            block: The allocator rounds up to a multiple of this many bytes.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._block = block
        self._label: str | None = ""
        self._seen: dict[int, weakref.ref[Any]] = {}
        self._sizes: dict[int, tuple[str, int]] = {}
        for tensor in known:
            self._watch(tensor.untyped_storage())
        self.live: Counter[str] = Counter()
        self.peaks: Counter[str] = Counter()
        self.peak = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Runs the operation and looks at what came out."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return result

    def switch(self, label: str | None) -> Callable[..., None]:
        """Returns a hook that counts what is made from then on under a label; None: not at all."""

        def hook(*_: object) -> None:
            self._label = label

        return hook

    def relabel(self, tensor: Tensor, label: str) -> None:
        """Counts a tensor's memory under another label from now on."""
        key = id(tensor.untyped_storage())
        if key in self._sizes:
            old, size = self._sizes[key]
            self._sizes[key] = (label, size)
            self.live[old] -= size
            self._add(label, size)

    def forget_peaks(self) -> None:
        """Lets peaks begin at what is alive at present."""
        self.peaks = Counter(self.live)
        self.peak = self.live.total()

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if id(storage) in self._seen:
            return
        self._watch(storage)
        if self._label is None:
            return
        size = -(-storage.nbytes() // self._block) * self._block
        self._sizes[id(storage)] = (self._label, size)
        self._add(self._label, size)

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)

        def gone(_: object) -> None:
            del self._seen[key]
            label, size = self._sizes.pop(key, ("", 0))
            self.live[label] -= size

        if key not in self._seen:
            self._seen[key] = weakref.ref(storage, gone)

    def _add(self, label: str, size: int) -> None:
        self.live[label] += size
        self.peaks[label] = max(self.peaks[label], self.live[label])
        self.peak = max(self.peak, self.live.total())


def tensors_of(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Returns all parameters and buffers."""
    return [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Returns the bytes of tensors; memory that they share counts once."""
    storages = {id(storage): storage for storage in (one.untyped_storage() for one in tensors)}
    return sum(storage.nbytes() for storage in storages.values())
