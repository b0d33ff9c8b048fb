"""What two sides are compared in: a case on either."""

import msgspec

from .axes import AXES
from .case import Case


class Comparison(msgspec.Struct, frozen=True):
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
