"""What ran: the dtype of matrix products, the optimizer's path, work, the compiler's graphs."""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ..protocol.profile import Moved, Work

R = TypeVar("R")

PRODUCTS = {
    *("mm", "addmm", "bmm", "baddbmm", "linear", "linear_backward"),
    *("convolution", "convolution_backward"),
}
"""Operators that multiply matrices; mps has linear and its backward as one."""
UNREAD = {"fill_", "zero_"}
"""Operators that overwrite their operand and read nothing; copy_ reads only its source."""


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, records which operators run and on what."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()
        self.products: set[str] = set()
        """The dtypes of the matrices that were multiplied."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.names.add(name)
        if name in PRODUCTS:
            tensor = next(argument for argument in args if torch.is_tensor(argument))
            self.products.add(str(tensor.dtype).removeprefix("torch."))
        return func(*args, **(kwargs or {}))

    @property
    def path(self) -> str:
        """The implementation of the optimizer's step, by the names of its operators."""
        for path in ("fused", "foreach"):
            if any(name.startswith(f"_{path}_") for name in self.names):
                return path
        return "for-loop"


def observe(call: Callable[[], object]) -> Operators:
    """The operators that one call runs. Compiled code runs as it was written, for this once."""
    seen = Operators()
    with torch.compiler.set_stance("force_eager"), seen:
        call()
    return seen


class Operands(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, adds up the bytes of what operators read and write.

    Each operand counts once, and again where it is written. A view moves nothing; of an expanded
    tensor only what it stands for is read.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._moved: dict[int, Moved] = {}

    @property
    def moved(self) -> tuple[Moved, ...]:
        """By size, the smallest first."""
        return tuple(self._moved[size] for size in sorted(self._moved))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if func.is_view or name == "detach" or name.startswith("empty"):
            return result
        # Fused optimizers mark their gradients as written, but only unscale them, if at all.
        unwritten = "grads" if kwargs.get("grad_scale") is None else None
        written = [
            kwargs.get(argument.name, args[place] if place < len(args) else None)
            for place, argument in enumerate(func._schema.arguments)
            if argument.alias_info is not None
            and argument.alias_info.is_write
            and argument.name != unwritten
        ]
        read = () if name in UNREAD else (args[1:] if name == "copy_" else args, kwargs)
        self._add(_bytes(read) + (_bytes(written) or _bytes(result)))
        return result

    def _add(self, bytes_: int) -> None:
        if bytes_:
            size = 1 << (bytes_.bit_length() - 1)
            before = self._moved.get(size, Moved(size, 0, 0))
            self._moved[size] = Moved(size, before.count + 1, before.bytes + bytes_)


def _bytes(tree: Any) -> int:
    """Of the distinct tensors of a tree, each no more than its storage."""
    tensors = {id(leaf): leaf for leaf in tree_leaves(tree) if torch.is_tensor(leaf)}
    return sum(
        min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
        for tensor in tensors.values()
    )


def count_work(call: Callable[[], R]) -> tuple[R, Work]:
    """What a call returns, and what its operators do. Compiled code runs as it was written."""
    flops, operands = FlopCounterMode(display=False), Operands()
    with torch.compiler.set_stance("force_eager"), flops, operands:
        result = call()
    bytes_ = sum(moved.bytes for moved in operands.moved)
    return result, Work(int(flops.get_total_flops()), bytes_, operands.moved)


class CompilerCounts(NamedTuple):
    """What torch.compile has done in this process so far."""

    graphs: int
    breaks: Counter[str]
    skips: int


def compiler_counts() -> CompilerCounts:
    """The counters of torch._dynamo; a break has the first line of its reason."""
    breaks: Counter[str] = Counter()
    for reason, times in counters["graph_break"].items():
        breaks[reason.splitlines()[0]] += times
    return CompilerCounts(
        int(counters["stats"]["unique_graphs"]),
        breaks,
        int(counters["inductor"]["cudagraph_skips"]),
    )


def cache_counts() -> tuple[int, int]:
    """Graphs that came out of the compiler's caches, and graphs that did not."""
    hits = (
        counters["inductor"]["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"]
    )
    misses = sum(
        counters[where][what]
        for where, what in (
            ("inductor", "fxgraph_cache_miss"),
            ("inductor", "fxgraph_cache_bypass"),
            ("aot_autograd", "autograd_cache_bypass"),
        )
    )
    return int(hits), int(misses)
