"""The files that a command names, as runs with labels."""

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import UsageError, for_terminal
from ..machine.checkout import root_of
from ..options import STEPS_SUFFIX
from .run_file import RunRecord
from .store import OtherKind, latest_runs, load_cases, load_run

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


def readable(paths: Sequence[Path]) -> list[Path]:
    """The files without those that cannot be read, each of which is named on stderr with why.

    Raises UsageError where none is left.
    """
    kept = []
    for path in paths:
        try:
            if path.suffix != STEPS_SUFFIX:
                load_run(path)
        except OtherKind:
            pass  # which `load_each` tells
        except UsageError as error:
            print(for_terminal(f"skipped: {error}"), file=sys.stderr)
            continue
        kept.append(path)
    if paths and not kept:
        raise UsageError("none of the files can be read")
    return kept


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


def is_of(run: RunRecord, steps: Path) -> bool:
    """Whether a run measured steps that are declared in this file, by its place in its checkout."""
    return run.plan.steps == steps.resolve().relative_to(root_of(steps)).as_posix()


def split_steps(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The run files among those named, and the files of steps, whose stored runs are meant."""
    steps = [path for path in files if path.suffix == STEPS_SUFFIX]
    return [path for path in files if path not in steps], steps


def load_runs(
    files: Sequence[Path], results: Path = Path(), load: Callable[[Path], RunRecord] = load_cases
) -> tuple[list[Path], list[str], list[RunRecord]]:
    """The runs of these files, or of the newest of every machine under `results`: path, label, run.

    Where files of steps are named, the newest that measured those are meant. Files of other kinds
    are passed over. Raises UsageError where there are no runs, or a file
    cannot be read.
    """
    paths, steps = split_steps(files)
    paths = list(dict.fromkeys(paths))
    if not paths:
        paths = latest_runs(results, [functools.partial(is_of, steps=file) for file in steps])
    if not paths:
        of = f" of {' or '.join(map(str, steps))}" if steps else ""
        raise UsageError(f"no run files{of} under {results}: measure with `run`, or name files")
    paths, runs = load_each(paths, load)
    return paths, run_labels(runs, paths), runs
