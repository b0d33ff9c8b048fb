"""Which cases stay resident in one worker together."""

from collections.abc import Iterable

from bench.matrix.case import Case
from bench.matrix.support import Facts, estimated_bytes


def group_cases(cases: Iterable[Case], facts: Facts) -> list[list[Case]]:
    """Cases of one device kind and thread count, as many as a quarter of the memory holds.

    Where torch cannot keep compiled loops apart in one process, each compiled case stands alone.
    """
    groups: list[list[Case]] = []
    open_groups: dict[tuple[str, int], tuple[list[Case], int]] = {}
    for case in cases:
        if case.compile == "on" and not facts.isolates_compiled:
            groups.append([case])
            continue
        key = (case.device.partition(":")[0], case.threads)
        need = estimated_bytes(case)
        group, held = open_groups.get(key, ([], 0))
        if not group or held + need > facts.memory_bytes // 4:
            group, held = [], 0
            groups.append(group)
        group.append(case)
        open_groups[key] = (group, held + need)
    return groups
