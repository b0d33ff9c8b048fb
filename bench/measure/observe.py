"""What really ran: the dtype of matrix products, the optimizer's path, the compiler's graphs."""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = {"mm", "addmm", "linear", "linear_backward"}
"""Operators that multiply matrices; mps has linear and its backward as one."""


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, notes which operators run and on what."""

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
        """The implementation of the optimizer's step that these operators tell of."""
        for path in ("fused", "foreach"):
            if any(name.startswith(f"_{path}_") for name in self.names):
                return path
        return "for-loop"


def observe(call: Callable[[], object]) -> Operators:
    """What one call runs. What is compiled is run as it was written, for this once."""
    seen = Operators()
    with torch.compiler.set_stance("force_eager"), seen:
        call()
    return seen


class CompilerCounts(NamedTuple):
    """What torch.compile has done in this process so far."""

    graphs: int
    breaks: Counter[str]
    skips: int


def compiler_counts() -> CompilerCounts:
    """The counters of torch._dynamo; a break is told by the first line of its reason."""
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
