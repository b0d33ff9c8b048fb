"""One steps file for both sides, so that a change of the benchmark is no change of the code."""

import filecmp
import shutil
from pathlib import Path

from ..errors import MachineError

STEPS_FROM = ("head", "base")
"""Whose steps file both sides load; the first unless asked otherwise."""


def share_steps(giver: Path, taker: Path, steps: str) -> bool:
    """Give a laid tree the steps file of another; whether it had a different one, or none.

    Files that it lacks in that file's folder come along, such as a new helper. Files that it has
    stay its own: they may be what is compared. Nothing comes along where the folder is the
    repository's top or part of a package, which is code under test. Raises MachineError.
    """
    source, target = giver / steps, taker / steps
    differs = not target.is_file() or not filecmp.cmp(source, target, shallow=False)
    if differs:
        _copy(source, target)
    if not _is_code(giver, source.parent):
        for path in source.parent.rglob("*"):
            place = target.parent / path.relative_to(source.parent)
            if (path.is_symlink() or path.is_file()) and not (place.exists() or place.is_symlink()):
                _copy(path, place)
    return differs


def _is_code(root: Path, folder: Path) -> bool:
    above = [parent for parent in (folder, *folder.parents) if parent.is_relative_to(root)]
    return folder == root or any((parent / "__init__.py").exists() for parent in above)


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    except OSError as error:
        raise MachineError(f"cannot copy {source}: {error.strerror}") from None
