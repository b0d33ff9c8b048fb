"""What stays prepared in one worker together."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from ..devices.facts import Facts
from ..matrix.case import Case
from ..matrix.ceiling import Ceiling
from ..matrix.comparison import Comparison
from ..matrix.support import estimated_bytes
from ..protocol.messages import kinds_of

T = TypeVar("T")

MAX_BYTES = 2**31
"""Of cases together: less would make little difference, and a laptop has other things to hold."""
MAX_CASES = 48
"""What is lost with a worker is at most one replicate of so many."""


def group_cases(cases: Iterable[Case], facts: Facts) -> list[list[Case]]:
    """Cases of one device and thread count, packed."""
    return _packed(cases, lambda case: (case,), (facts,))


def group_comparisons(
    comparisons: Iterable[Comparison], facts: tuple[Facts, Facts]
) -> list[list[Comparison]]:
    """Comparisons that one pair of workers can hold: of the same devices and thread counts."""
    return _packed(comparisons, lambda comparison: (comparison.base, comparison.head), facts)


def group_ceilings(ceilings: Iterable[Ceiling]) -> list[list[Ceiling]]:
    """Ceilings of one device and thread count: what they work on they share."""
    batches: dict[tuple[str, int], list[Ceiling]] = {}
    for ceiling in ceilings:
        batches.setdefault((ceiling.device, ceiling.threads), []).append(ceiling)
    return list(batches.values())


def shared_kinds(comparison: Comparison) -> tuple[str, ...]:
    """The kinds of block that both sides yield."""
    theirs = kinds_of(comparison.head)
    return tuple(kind for kind in kinds_of(comparison.base) if kind in theirs)


def _packed(
    items: Iterable[T], cases_of: Callable[[T], Sequence[Case]], facts: Sequence[Facts]
) -> list[list[T]]:
    """Batches of one setting, each up to a quarter of the memory, MAX_BYTES and MAX_CASES.

    `cases_of` an item are one a side, as `facts` are. Where torch cannot keep compiled loops apart
    in one process, what is compiled stands alone. So does what graphs launch: to record or to
    destroy a graph frees cuBLAS workspaces that another graph goes on to write to (pytorch issue
    193402), and a profiler shows it rightly only in a process's first profile (CUPTI's release
    notes, before CUDA 13.1).
    """
    isolates = all(side.isolates_compiled for side in facts)
    batches: list[list[T]] = []
    open_batches: dict[Hashable, tuple[list[T], int]] = {}
    for item in items:
        cases = cases_of(item)
        if any(case.replays or (case.compilation.compiles and not isolates) for case in cases):
            batches.append([item])
            continue
        memories = (f.of(c.device).memory_bytes for f, c in zip(facts, cases, strict=True))
        limit = min(min(memories) // 4, MAX_BYTES)
        need = sum(map(estimated_bytes, cases))
        setting = tuple((case.device, case.threads) for case in cases)
        batch, held = open_batches.get(setting, ([], 0))
        if not batch or held + need > limit or len(batch) == MAX_CASES:
            batch, held = [], 0
            batches.append(batch)
        batch.append(item)
        open_batches[setting] = (batch, held + need)
    return batches
