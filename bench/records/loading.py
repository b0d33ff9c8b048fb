"""The files that a command names, as runs with labels."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import UsageError
from .run_file import RunRecord
from .store import OtherKind, latest_runs, load_cases

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


def run_labels(runs: Sequence[RunRecord], paths: Sequence[Path]) -> list[str]:
    """A label for each run: its machine where that is unique, else its file."""
    names = [run.machine.name for run in runs]
    machines = [run.machine.label for run in runs]
    stems = [path.stem for path in paths]
    both = [f"{machine}/{stem}" for machine, stem in zip(machines, stems, strict=True)]
    for labels in (names, machines, stems, both):
        if len(set(labels)) == len(labels):
            return labels
    return [str(path) for path in paths]


def load_runs(
    files: Sequence[Path], results: Path = Path(), load: Callable[[Path], RunRecord] = load_cases
) -> tuple[list[Path], list[str], list[RunRecord]]:
    """The runs of these files, or of the newest of every machine under `results`: path, label, run.

    Files of other kinds are passed over. Raises UsageError where there are no runs, or a file
    cannot be read.
    """
    paths = list(dict.fromkeys(files)) or latest_runs(results)
    if not paths:
        raise UsageError(f"no run files under {results}: measure with `run`, or name files")
    paths, runs = load_each(paths, load)
    return paths, run_labels(runs, paths), runs
