"""What two sides are compared in, and what a pair of workers can hold of it."""

from collections.abc import Sequence

import msgspec

from bench.matrix.axes import AXES
from bench.matrix.case import Case
from bench.matrix.support import Facts, estimated_bytes
from bench.measure.groups import Size, packed
from bench.measure.protocol import kinds_of


class Contest(msgspec.Struct, frozen=True):
    """What is compared: a case on the base's side, and one on the head's; mostly the same."""

    base: Case
    head: Case

    @property
    def id(self) -> str:
        """The case's id, with both values of an axis that differs: `.../compile-off->on/...`."""
        head = self.head.axes
        return "/".join(
            f"{AXES[name].prefix}{value}" + ("" if value == head[name] else f"->{head[name]}")
            for name, value in self.base.axes.items()
        )

    @property
    def series(self) -> tuple[str, ...]:
        """What is timed on both sides."""
        return tuple(name for name in self.base.series if name in self.head.series)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of block that both sides yield."""
        theirs = kinds_of(self.head)
        return tuple(kind for kind in kinds_of(self.base) if kind in theirs)


def group_contests(contests: Sequence[Contest], facts: tuple[Facts, Facts]) -> list[list[Contest]]:
    """Contests that one pair of workers can hold: of the same devices and numbers of threads."""
    apart = not all(side.isolates_compiled for side in facts)

    def size(contest: Contest) -> Size:
        cases = (contest.base, contest.head)
        return Size(
            tuple((case.device, case.threads) for case in cases),
            sum(map(estimated_bytes, cases)),
            min(f.devices[case.kind].memory_bytes for f, case in zip(facts, cases, strict=True)),
            apart and any(case.compilation.compiles for case in cases),
        )

    return packed(contests, size)
