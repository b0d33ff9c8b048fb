"""Where the code lies, and which subject a worker loaded: a hash over its code."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).parents[1]
"""This instrument's own package: `bench` in a source tree, `sumnet_bench` where installed."""
ROOT = PACKAGE.parent
"""The folder that holds this instrument: a source tree, or the site-packages it is installed in."""


def modules_in(folder: Path) -> list[Path]:
    """A package's Python files; not an editor's hidden ones, nor links that lead nowhere."""
    found = folder.rglob("*.py")
    return sorted(file for file in found if file.is_file() and not file.name.startswith("."))


def steps_hash(folder: Path, file: str, modules: Iterable[ModuleType]) -> str:
    """The same over a steps file and those of the modules that lie in its folder's tree."""
    paths = {Path(name) for m in modules if (name := getattr(m, "__file__", None)) is not None}
    inside = {folder / file, *(path for path in paths if path.is_relative_to(folder))}
    return _hash({path.relative_to(folder).as_posix(): path for path in inside if path.is_file()})


def subject_hash(folder: Path) -> str:
    """A short hash over a package's Python files, their names and contents."""
    return _hash({file.relative_to(folder).as_posix(): file for file in modules_in(folder)})


def _hash(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name].read_bytes() + b"\0")
    return digest.hexdigest()[:16]
