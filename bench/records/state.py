"""What this user's machine has shown before, kept outside the results: it is no result to share.

One file for each machine's identity, in the user's state folder; SUMNET_STATE names another. It
only serves quiet times: where it cannot be read or written the run warns and goes on.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import platformdirs
from filelock import FileLock

from ..errors import MachineError, UsageError
from ..machine.circumstances import SOFTWARE, circumstances
from .reading import NOT_JSON, read_json
from .run_file import RunRecord
from .store import write_atomically

STATE = "SUMNET_STATE"
RECENT = 20
"""Runs whose floors are kept, besides the lowest ever: those of the machine's present states."""

Floors = dict[str, list[Annotated[int, msgspec.Meta(gt=0)]]]
"""Key of a floor to the floors of earlier runs, nanoseconds: the lowest, then the newest last."""


def state_folder() -> Path:
    """Where local state is kept."""
    named = os.environ.get(STATE)
    return Path(named) if named else platformdirs.user_state_path("sumnet-bench", appauthor=False)


def remember_floors(run: RunRecord, own: Mapping[str, int]) -> tuple[Floors, str | None]:
    """What earlier runs of this machine and software showed, for the keys of `own`.

    `own`, this run's floors, is remembered for later runs. Second, a warning where nothing was read
    or kept. Readings compare only within a version of the reference loops and of the software that
    runs them, so each has floors of its own.
    """
    path = state_folder() / "floors" / f"{run.machine.identity}.json"
    software = ", ".join(" ".join(item) for item in circumstances(run, SOFTWARE).items())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(path) + ".lock"):
            known, trouble = _read(path)
            floors = known.setdefault(software, {})
            earlier = {name: floors.get(name, []) for name in own}
            for name, floor in own.items():
                before = earlier[name]
                floors[name] = [min([*before, floor]), *[*before[1:], floor][-RECENT:]]
            write_atomically(path, msgspec.json.format(msgspec.json.encode(known), indent=1))
    except (OSError, NotImplementedError, UsageError, MachineError) as error:
        # A file system without locks is no OSError to filelock.
        reason = getattr(error, "strerror", None) or error
        return {}, f"no floors of earlier runs in {path.parent}: {reason}"
    return earlier, trouble


def _read(path: Path) -> tuple[dict[str, Floors], str | None]:
    """Software to its floors; and a warning where a damaged file was set aside."""
    if not path.exists():
        return {}, None
    try:
        return msgspec.json.decode(read_json(path), type=dict[str, Floors]), None
    except NOT_JSON as error:
        path.replace(path.with_suffix(".damaged"))
        return {}, f"{path} was damaged ({error}) and is started again; it is kept as .damaged"
