"""The run history of one machine: its runs, found and in the order in which they were measured."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ..errors import UsageError
from ..machine.fingerprint import fingerprint
from ..records.loading import is_of, load_runs
from ..records.run_file import RunRecord
from ..records.store import RUN_FILES

ONE_MACHINE = "trend is the history of one machine"


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
    first = next(iter(folders))
    own = first if len(folders) == 1 else results / fingerprint().label
    if own not in folders:
        raise UsageError(
            f"{ONE_MACHINE}, and {results} has those of {len(folders)}: "
            f"{', '.join(folder.name for folder in folders)}, and none of this machine; name "
            f"files, or one of them as --results {first}"
        )
    return folders[own]


def load_history(files: Sequence[Path], steps: Sequence[Path] = ()) -> dict[str, RunRecord]:
    """Label to run, in the order in which they were measured; of some files of steps, where such
    are named.

    Raises UsageError for files that hold no such runs, or those of several machines.
    """
    loaded = list(zip(*load_runs(files), strict=True))
    if steps:
        loaded = [found for found in loaded if any(is_of(found[2], file) for file in steps)]
        if not loaded:
            raise UsageError(f"no run of {' or '.join(map(str, steps))} among these")
    machines: dict[str, list[str]] = {}
    for path, _, run in loaded:
        if not run.sessions:
            raise UsageError(f"{path} was begun and never measured anything: leave it out")
        machines.setdefault(run.machine.label, []).append(str(path))
    if len(machines) > 1:
        whose = "; ".join(f"{name}: {', '.join(theirs)}" for name, theirs in machines.items())
        raise UsageError(f"{ONE_MACHINE}, and these are of several: {whose}")
    in_order = sorted(loaded, key=lambda found: (found[2].sessions[0].started_at, found[0]))
    return {label: run for _, label, run in in_order}


def moment(run: RunRecord) -> str:
    """When a run began, UTC, to the minute."""
    return f"{datetime.fromtimestamp(run.sessions[0].started_at, UTC):%Y-%m-%d %H:%M}"
