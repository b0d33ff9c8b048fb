"""Running a step in float64 from the same random numbers as in its own dtype."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

WIDE = torch.float64
NARROW = (torch.float32, torch.bfloat16, torch.float16)
IN_DEFAULT_DTYPE = ("rand", "randn", "normal")
"""Operators that draw in torch's default dtype unless they are told another."""


@contextlib.contextmanager
def in_float64(stored: torch.dtype) -> Iterator[None]:
    """While this lasts, floating-point tensors are computed in float64.

    `stored` is the dtype of parameters and data in the run that this one is to agree with: random
    numbers that are asked for in float64 are drawn in that, because a generator gives other numbers
    in another dtype. Where it is float32, torch's default, the default is float64 instead; else
    what is made in the default dtype is drawn in it, as in that run.
    """
    before = torch.get_default_dtype()
    if stored is torch.float32:
        torch.set_default_dtype(WIDE)
    try:
        with Widening(stored):
            yield
    finally:
        torch.set_default_dtype(before)


class Widening(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Reads every floating-point tensor in float64, and makes it in float64; see `in_float64`."""

    def __init__(self, stored: torch.dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stored = stored

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded in func.tags:
            return self._draw(func, args, kwargs)
        if kwargs.get("dtype") in NARROW:
            kwargs["dtype"] = WIDE
        if func.is_view:
            return func(*args, **kwargs)
        written = _written(func, args, kwargs)

        def read(value: Any) -> Any:
            return value if any(value is kept for kept in written) else _widened(value)

        return func(*tree_map(read, args), **tree_map(read, kwargs))

    def _draw(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """The result of an operator that draws random numbers, which it draws as in the case."""
        if func.overloadpacket.__name__ == "native_dropout":
            return self._drop(func, *args)
        written = _written(func, args, kwargs)
        narrow = {id(tensor): self._narrowed(tensor) for tensor in written}
        if kwargs.get("dtype", self._default(func)) is WIDE:
            kwargs["dtype"] = self._stored

        def read(value: Any) -> Any:
            return narrow[id(value)] if id(value) in narrow else self._narrowed(value)

        result = func(*tree_map(read, args), **tree_map(read, kwargs))
        for tensor in written:
            tensor.copy_(narrow[id(tensor)])
        return written[0] if written else tree_map(_widened, result)

    def _drop(self, func: Any, values: torch.Tensor, chance: float, train: bool | None) -> Any:
        """Dropout as one operator, whose mask is drawn and whose values are not to be rounded."""
        _, mask = func(self._narrowed(values), chance, train)
        scale = 1 / (1 - chance) if train is not False and chance < 1 else 1.0
        return values * mask * scale, mask

    def _default(self, func: Any) -> torch.dtype | None:
        draws_floats = func.overloadpacket.__name__ in IN_DEFAULT_DTYPE
        takes_dtype = any(argument.name == "dtype" for argument in func._schema.arguments)
        return torch.get_default_dtype() if draws_floats and takes_dtype else None

    def _narrowed(self, value: Any) -> Any:
        is_wide = isinstance(value, torch.Tensor) and value.dtype is WIDE
        return value.to(self._stored) if is_wide else value


def _widened(value: Any) -> Any:
    return value.to(WIDE) if isinstance(value, torch.Tensor) and value.dtype in NARROW else value


def _written(func: Any, args: Any, kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The tensors that an operator writes to, of its arguments."""
    given = [
        kwargs.get(argument.name, args[place] if place < len(args) else None)
        for place, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    leaves = [leaf for value in given for leaf in (value if isinstance(value, list) else [value])]
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
