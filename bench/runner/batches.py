"""What stays resident in one worker together."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from bench.matrix.case import Case
from bench.matrix.ceiling import Ceiling
from bench.matrix.comparison import Comparison
from bench.matrix.support import Facts, estimated_bytes
from bench.protocol.messages import kinds_of

T = TypeVar("T")

MAX_BYTES = 2**31
"""Of cases together: less would make little difference, and a laptop has other things to hold."""
MAX_CASES = 48
"""What is lost with a worker is at most one replicate of so many."""


class Size(NamedTuple):
    """What decides which group something joins."""

    setting: Hashable
    """Only what agrees in this can stay in one worker."""
    need_bytes: int
    memory_bytes: int
    """Of the device it is on."""
    alone: bool
    """Whether it has to have a worker of its own."""


def group_cases(cases: Iterable[Case], facts: Facts) -> list[list[Case]]:
    """Cases of one device and thread count, as many as a quarter of its memory holds, or MAX_BYTES.

    Where torch cannot keep compiled loops apart in one process, each compiled case stands alone.
    """

    def size(case: Case) -> Size:
        return Size(
            (case.device, case.threads),
            estimated_bytes(case),
            facts.devices[case.kind].memory_bytes,
            case.compilation.compiles and not facts.isolates_compiled,
        )

    return packed(cases, size)


def packed(items: Iterable[T], size_of: Callable[[T], Size]) -> list[list[T]]:
    """Groups of one setting, each as large as a quarter of the memory, MAX_BYTES and MAX_CASES."""
    groups: list[list[T]] = []
    open_groups: dict[Hashable, tuple[list[T], int]] = {}
    for item in items:
        size = size_of(item)
        if size.alone:
            groups.append([item])
            continue
        limit = min(size.memory_bytes // 4, MAX_BYTES)
        group, held = open_groups.get(size.setting, ([], 0))
        if not group or held + size.need_bytes > limit or len(group) == MAX_CASES:
            group, held = [], 0
            groups.append(group)
        group.append(item)
        open_groups[size.setting] = (group, held + size.need_bytes)
    return groups


def group_ceilings(ceilings: Iterable[Ceiling]) -> list[list[Ceiling]]:
    """Ceilings of one device and thread count: what they work on they share."""
    groups: dict[tuple[str, int], list[Ceiling]] = {}
    for ceiling in ceilings:
        groups.setdefault((ceiling.device, ceiling.threads), []).append(ceiling)
    return list(groups.values())


def group_comparisons(
    comparisons: Sequence[Comparison], facts: tuple[Facts, Facts]
) -> list[list[Comparison]]:
    """Comparisons that one pair of workers can hold: of the same devices and numbers of threads."""
    apart = not all(side.isolates_compiled for side in facts)

    def size(comparison: Comparison) -> Size:
        cases = (comparison.base, comparison.head)
        return Size(
            tuple((case.device, case.threads) for case in cases),
            sum(map(estimated_bytes, cases)),
            min(f.devices[case.kind].memory_bytes for f, case in zip(facts, cases, strict=True)),
            apart and any(case.compilation.compiles for case in cases),
        )

    return packed(comparisons, size)


def shared_kinds(comparison: Comparison) -> tuple[str, ...]:
    """The kinds of block that both sides yield."""
    theirs = kinds_of(comparison.head)
    return tuple(kind for kind in kinds_of(comparison.base) if kind in theirs)
