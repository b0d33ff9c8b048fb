"""Charts as files: HTML that needs no network, PNG and SVG."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import MachineError, UsageError

if TYPE_CHECKING:  # it takes longer to import than a table to print
    import altair as alt

LETTER = 6.5
"""How wide a letter of a name is, in pixels."""
Range = tuple[float, float]
SAVED: dict[str, dict[str, Any]] = {
    ".html": {
        "inline": True,
        "embed_options": {"actions": {"export": True, "source": False, "editor": False}},
    },
    ".png": {"scale_factor": 2},
    ".svg": {},
}
"""The suffixes a chart can be saved under, and how."""


def check_chart(path: Path) -> None:
    """Raise UsageError for a file with a suffix not in SAVED, or in a folder that is not there."""
    if path.suffix not in SAVED:
        allowed = ", ".join(SAVED)
        raise UsageError(f"{path}: a chart's file ends in one of {allowed}, not {path.suffix!r}")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}: make it, or name another")


def save_chart(chart: "alt.TopLevelMixin", path: Path) -> None:
    """Write a chart as its file's suffix says: HTML that needs no network, PNG or SVG.

    The path has passed check_chart. Raises MachineError where the file cannot be written.
    """
    try:
        chart.save(path, **SAVED[path.suffix])
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from None


def decades(span: Range) -> float:
    return math.log10(span[1] / span[0])
