"""What two sides are compared in: a case on either."""

import msgspec

from .axes import word_of
from .case import Case


class Comparison(msgspec.Struct, frozen=True):
    """What is compared: a case on the base's side, and one on the head's; mostly the same."""

    base: Case
    head: Case

    @property
    def id(self) -> str:
        """The case's id, with both values of an axis that differs: `.../compile-off->on/...`."""
        base, head = self.base.id.split("/"), self.head.id.split("/")
        values = [word_of(value) for value in self.head.axes.values()][-len(head) :]
        return "/".join(
            ours + ("" if ours == theirs else f"->{value}")
            for ours, theirs, value in zip(base, head, values, strict=True)
        )

    @property
    def series(self) -> tuple[str, ...]:
        """What is timed on both sides."""
        return tuple(name for name in self.base.series if name in self.head.series)
