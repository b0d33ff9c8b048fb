"""Where the code lies, and which subject a worker loaded: a hash over its code."""

import hashlib
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
"""This instrument's own package: `bench` in a source tree, `sumnet_bench` where installed."""
ROOT = PACKAGE.parent
"""The folder that holds this instrument: a source tree, or the site-packages it is installed in."""


def modules_in(folder: Path) -> list[Path]:
    """A package's Python files; not an editor's hidden ones, nor links that lead nowhere."""
    found = folder.rglob("*.py")
    return sorted(file for file in found if file.is_file() and not file.name.startswith("."))


def subject_hash(folder: Path) -> str:
    """A short hash over a package's Python files, their names and contents."""
    digest = hashlib.sha256()
    for file in modules_in(folder):
        name = file.relative_to(folder).as_posix().encode()
        digest.update(name + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
