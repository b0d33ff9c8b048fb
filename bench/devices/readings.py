"""Optional readings: a figure, or unavailable, and never the end of a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..figures import MOST

Answer = TypeVar("Answer")
Figure = TypeVar("Figure", int, float)


def reading(ask: Callable[..., Answer], *about: Any) -> Answer | None:
    """The answer to `ask(*about)`, or None where it raises any Exception.

    Sensors fail in more ways than can be listed: psutil and NVML pass on what they cannot parse.
    """
    try:
        return ask(*about)
    except Exception:
        return None


def figure(kind: type[Figure], ask: Callable[..., Any], *about: Any) -> Figure | None:
    """The answer as a number from 0 to MOST; None where it is another, none at all, or raises.

    A kernel or a driver that shows more than a run file can hold has no figure to show.
    """
    answer = reading(ask, *about)
    if isinstance(answer, int | float) and 0 <= answer <= MOST:
        return kind(answer)
    return None


def count_in(path: Path) -> int | None:
    """The whole number that a file holds; None where it holds none or cannot be read."""
    return figure(int, lambda: int(path.read_text()))
