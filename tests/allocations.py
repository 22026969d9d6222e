"""Watches every tensor that is made while a piece of code runs."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Made(NamedTuple):
    """A tensor that an operation returned; of a view, `kept` is what it is a view of."""

    operation: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    kept: int
    """Elements of its storage."""


class Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records every tensor that operations make inside the context, the backward pass included.

    Of a fused kernel it sees what it returns, not what it holds meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: set[Made] = set()

    def begin(self) -> None:
        """As entering the context."""
        self.__enter__()  # type: ignore[no-untyped-call]

    def end(self) -> None:
        """As leaving the context."""
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        for each in output if isinstance(output, tuple | list) else (output,):
            if isinstance(each, Tensor):
                kept = each.untyped_storage().nbytes() // each.element_size()
                self.made.add(Made(str(func), tuple(each.shape), each.dtype, kept))
        return output
