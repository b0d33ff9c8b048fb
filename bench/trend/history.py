"""The runs of one machine, found and put in the order in which they were measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.errors import UsageError
from bench.machine.fingerprint import fingerprint
from bench.records.loading import load_each, run_labels
from bench.records.run_file import RunRecord
from bench.records.store import RUN_FILES, load_cases


@dataclass(frozen=True)
class Story:
    """The runs of one machine in the order in which they were measured, and their labels."""

    labels: list[str]
    runs: list[RunRecord]

    def run(self, label: str) -> RunRecord:
        return self.runs[self.labels.index(label)]


def run_files(results: Path) -> list[Path]:
    """Every run file of one machine under `results`, which may be the machine's own folder.

    Of several machines it is this one. Raises UsageError where there is none, or this is not among
    them.
    """
    folders: dict[Path, list[Path]] = {}
    for path in sorted([*results.glob(RUN_FILES), *results.glob(f"*/{RUN_FILES}")]):
        folders.setdefault(path.parent, []).append(path)
    if not folders:
        raise UsageError(f"no run files under {results}: measure with `run`, or name files")
    if len(folders) == 1:
        return next(iter(folders.values()))
    mine = folders.get(results / fingerprint().label)
    if mine is None:
        names = ", ".join(folder.name for folder in folders)
        raise UsageError(
            f"trend is the history of one machine, and {results} has those of {len(folders)}: "
            f"{names}, and none of this machine; name files, or one of them as --results "
            f"{next(iter(folders))}"
        )
    return mine


def load_story(paths: Sequence[Path]) -> Story:
    """The runs in these files. Raises UsageError where they are no runs or of several machines."""
    loaded = list(zip(*load_each(paths, load_cases), strict=True))
    machines: dict[str, list[str]] = {}
    for path, run in loaded:
        if not run.sessions:
            raise UsageError(f"{path} was begun and never measured anything: leave it out")
        machines.setdefault(run.machine.label, []).append(str(path))
    if len(machines) > 1:
        whose = "; ".join(f"{name}: {', '.join(theirs)}" for name, theirs in machines.items())
        raise UsageError(f"trend is the history of one machine, and these are of several: {whose}")
    in_order = sorted(loaded, key=lambda found: (found[1].sessions[0].started_at, found[0]))
    ordered, runs = [path for path, _ in in_order], [run for _, run in in_order]
    return Story(run_labels(runs, ordered), runs)


def moment(run: RunRecord) -> str:
    """When a run began, UTC, to the minute."""
    return f"{datetime.fromtimestamp(run.sessions[0].started_at, UTC):%Y-%m-%d %H:%M}"
