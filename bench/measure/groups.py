"""What stays resident in one worker together."""

from collections.abc import Iterable

from bench.matrix.case import Case
from bench.matrix.ceiling import Ceiling
from bench.matrix.support import Facts, estimated_bytes

MAX_BYTES = 2**31
"""Of cases together: less would make little difference, and a laptop has other things to hold."""
MAX_CASES = 48
"""What is lost with a worker is at most one replicate of so many."""


def group_cases(cases: Iterable[Case], facts: Facts) -> list[list[Case]]:
    """Cases of one device and thread count, as many as a quarter of its memory holds, or MAX_BYTES.

    Where torch cannot keep compiled loops apart in one process, each compiled case stands alone.
    """
    groups: list[list[Case]] = []
    open_groups: dict[tuple[str, int], tuple[list[Case], int]] = {}
    for case in cases:
        if case.compilation.compiles and not facts.isolates_compiled:
            groups.append([case])
            continue
        key = (case.device, case.threads)
        limit = min(facts.devices[case.kind].memory_bytes // 4, MAX_BYTES)
        need = estimated_bytes(case)
        group, held = open_groups.get(key, ([], 0))
        if not group or held + need > limit or len(group) == MAX_CASES:
            group, held = [], 0
            groups.append(group)
        group.append(case)
        open_groups[key] = (group, held + need)
    return groups


def group_ceilings(ceilings: Iterable[Ceiling]) -> list[list[Ceiling]]:
    """Ceilings of one device and thread count: what they work on they share."""
    groups: dict[tuple[str, int], list[Ceiling]] = {}
    for ceiling in ceilings:
        groups.setdefault((ceiling.device, ceiling.threads), []).append(ceiling)
    return list(groups.values())
