"""Several files at once: those that are of another kind than a command reads are passed over."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from bench.errors import UsageError
from bench.records.kinds import OtherKind

T = TypeVar("T")


def load_each(paths: Sequence[Path], load: Callable[[Path], T]) -> tuple[list[Path], list[T]]:
    """The files that `load` takes, and what it makes of them.

    A file for which it raises OtherKind is left out, and named on stderr with what it is: a glob of
    the results folder meets all kinds. Raises UsageError where no file is left, and for a file that
    cannot be read.
    """
    kept: list[Path] = []
    loaded: list[T] = []
    others: list[OtherKind] = []
    for path in paths:
        try:
            loaded.append(load(path))
            kept.append(path)
        except OtherKind as other:
            others.append(other)
    if others and not kept:
        raise UsageError("\n".join(dict.fromkeys(map(str, others))))
    for left_out in others:
        print(left_out.skipped, file=sys.stderr)
    return kept, loaded
