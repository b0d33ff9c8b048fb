"""Where the code lies, and which subject a worker loaded: a hash over its code."""

import hashlib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlparse

import msgspec

PACKAGE = Path(__file__).parents[1]
"""This instrument's own package: `bench` in a source tree, `sumnet_bench` where installed."""
INSTALLED = ("site-packages", "dist-packages")
"""Folders of what an installer put into an environment, which may lie in a project's own."""
ROOT = PACKAGE.parent
"""The folder that holds this instrument: a source tree, or the site-packages it is installed in."""


def modules_in(folder: Path) -> list[Path]:
    """A package's Python files; not an editor's hidden ones, nor links that lead nowhere."""
    found = folder.rglob("*.py")
    return sorted(file for file in found if file.is_file() and not file.name.startswith("."))


def subject_hash(folder: Path) -> str:
    """A short hash over a package's Python files, their names and contents."""
    return files_hash(folder, modules_in(folder))


def was_installed(file: Path) -> bool:
    """Whether an installer put a file where it is."""
    return any(part in INSTALLED for part in file.parts)


def origin_of(distribution: metadata.Distribution) -> Path | None:
    """The local file or folder that a distribution was installed out of, as PEP 610 has it."""
    text = distribution.read_text("direct_url.json")
    if text is None:
        return None
    try:
        url = urlparse(msgspec.json.decode(text)["url"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return None
    return Path(unquote(url.path)) if url.scheme == "file" else None


def steps_hash(
    folder: Path, file: str, modules: Iterable[ModuleType], environment: Path | None = None
) -> str:
    """The same over a steps file and those of the modules that belong to its project.

    `environment` is one that only the project is installed in.
    """
    paths = {Path(name) for m in modules if (name := getattr(m, "__file__", None)) is not None}
    own = {path for path in paths if path.is_relative_to(folder) and not was_installed(path)}
    loaded = files_hash(folder, {folder / file, *own})
    if environment is None:
        return loaded
    installed = [path for path in paths if path.is_relative_to(environment)]
    return loaded[:8] + files_hash(environment, installed)[:8]


def files_hash(folder: Path, files: Iterable[Path]) -> str:
    """The same over these files, as far as they are there, by their paths from a folder."""
    digest = hashlib.sha256()
    for name, path in sorted((file.relative_to(folder).as_posix(), file) for file in files):
        if path.is_file():
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
