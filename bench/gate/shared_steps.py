"""One steps file for both sides, so that a change of the benchmark is no change of the code."""

import ast
import contextlib
import filecmp
import shutil
import warnings
from pathlib import Path

from ..errors import MachineError, UsageError

STEPS_FROM = ("head", "base")
"""Whose steps file both sides load; the first unless asked otherwise."""
DECORATOR = "training_step"
UNPARSABLE = (MemoryError, OSError, RecursionError, SyntaxError, ValueError)


def share_steps(giver: Path, taker: Path, steps: str) -> tuple[bool, set[str]]:
    """Give a laid tree the steps file of another.

    Whether it had a different one, or none, and the steps that only that one declares.

    Files that it lacks in that file's folder come along, such as a new helper. Files that it has
    stay its own: they may be what is compared. Nothing comes along where the folder is the
    repository's top or part of a package, which is code under test. Raises UsageError where a link
    leads out of the tree, MachineError where a file cannot be copied.
    """
    source, target = giver / steps, taker / steps
    differs = not target.is_file() or not filecmp.cmp(source, target, shallow=False)
    own: set[str] = set()
    if differs:
        own = _declared(target) - _declared(source)
        _copy(source, target, taker)
    if not _is_code(giver, source.parent):
        for path in source.parent.rglob("*"):
            place = target.parent / path.relative_to(source.parent)
            if (path.is_symlink() or path.is_file()) and not (place.exists() or place.is_symlink()):
                _copy(path, place, taker)
    return differs, own


def _declared(file: Path) -> set[str]:
    """The names of the functions that a file decorates as steps, without running it."""
    found: set[str] = set()
    with warnings.catch_warnings(), contextlib.suppress(*UNPARSABLE):  # which loading it will tell
        warnings.simplefilter("ignore")
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.FunctionDef):
                calls = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
                names = {getattr(call, "id", getattr(call, "attr", None)) for call in calls}
                found |= {node.name} if DECORATOR in names else set()
    return found


def _is_code(root: Path, folder: Path) -> bool:
    above = [parent for parent in (folder, *folder.parents) if parent.is_relative_to(root)]
    return folder == root or any((parent / "__init__.py").exists() for parent in above)


def _copy(source: Path, target: Path, tree: Path) -> None:
    folder = target.parent
    if not folder.resolve().is_relative_to(tree):
        raise UsageError(
            f"{folder.relative_to(tree)} is a link out of the repository on one side, and the "
            f"other's {target.relative_to(tree)} would be written there: make it a folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    except OSError as error:
        raise MachineError(f"cannot copy {source}: {error.strerror}") from None
