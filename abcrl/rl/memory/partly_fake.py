"""Code runs on networks without numbers as it runs on real ones, only that it computes nothing.

Where a network's numbers would come in, tensors are fake: they have a shape, a type and a device,
and take no memory. Ids, masks and whatever else is made of small real tensors alone stay real,
because code asks them how wide a batch is.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LARGEST_REAL = 2**23
"""Numbers of a tensor that is still computed; a larger one, a mask [B, 1, T, T] say, is fake."""

_READ = torch.ops.aten._local_scalar_dense.default
_INDEX = torch.ops.aten.index.Tensor


class PartlyFake(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, what is computed from a fake tensor is fake, and so is what is large.

    A number that is read from a fake tensor is 1, and True: finite numbers, ratios of 1.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Runs an operation on shapes or on numbers."""
        kwargs = kwargs or {}
        if not _any_fake(args, kwargs):
            return self._run_small(func, args, kwargs)
        if func is _READ:
            return 1.0 if args[0].is_floating_point() else args[0].dtype is torch.bool or 1
        if func is _INDEX:
            args = (args[0], _numbered(args[1]))
        return func(*args, **kwargs)

    def materialise(self, module: nn.Module, device: torch.device) -> None:
        """Replaces every tensor of a module on the meta device by a fake one on a device.

        What shares a tensor, tied embeddings say, shares the new one.
        """
        made: dict[int, Tensor] = {}

        def made_of(tensor: Tensor) -> Tensor:
            if id(tensor) not in made:
                new: Tensor = torch.empty_like(tensor, device=device)
                if isinstance(tensor, nn.Parameter):
                    new = nn.Parameter(new, tensor.requires_grad)
                made[id(tensor)] = new
            return made[id(tensor)]

        # Kept until all are replaced: an id is one tensor's only while that tensor lives.
        replaced = []
        with self._fake:
            for part in module.modules():
                for tensors in (part._parameters, part._buffers, vars(part)):
                    named: dict[str, Any] = tensors
                    for name, tensor in list(named.items()):
                        if isinstance(tensor, Tensor):
                            replaced.append(tensor)
                            named[name] = made_of(tensor)

    def _run_small(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> object:
        """Runs an operation on real tensors, unless it makes a large one."""
        try:
            with self._fake:
                shapes = func(*args, **kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException):
            return func(*args, **kwargs)
        leaves = [leaf for leaf in tree_leaves(shapes) if isinstance(leaf, Tensor)]
        if any(leaf.numel() > LARGEST_REAL for leaf in leaves):
            return shapes
        return func(*args, **kwargs)


def _any_fake(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return any(isinstance(leaf, FakeTensor) for leaf in tree_leaves((args, kwargs)))


def _numbered(indices: list[Tensor | None]) -> list[Tensor | None]:
    """Returns an index without real masks: how many they choose is known of real ones alone."""
    numbered: list[Tensor | None] = []
    for index in indices:
        if index is None or index.dtype is not torch.bool or isinstance(index, FakeTensor):
            numbered.append(index)
        else:
            numbered += index.nonzero().unbind(-1)
    return numbered
