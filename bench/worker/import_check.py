"""Whether a side imports its own code, and not what both sides would share."""

import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from ..matrix.default_step import PACKAGE as DEFAULT_PACKAGE
from ..protocol.subject import INSTALLED, PACKAGE, origin_of

FINDER = "__editable__"
"""How setuptools begins the names of modules that find an editable installation's."""
SOURCES = (".", "src", "python", "lib")
"""Where a tree keeps its packages, by the layouts that are in use."""


def shared_code(folder: Path, checkout: Path) -> str | None:
    """What was imported of the project from a place that both sides share; None if nothing was.

    That is from its checkout, from an installation out of that, or from a release of what the
    side's tree holds. `folder` is where that tree lies, with the side's environment beside it.
    """
    loaded = {n: file for n, file in _loaded() if not _is_in(file, folder.parent)}
    found = (
        dict(_in(checkout, loaded))
        or dict(_installed_from(checkout, loaded))
        or dict(_released(folder, loaded))
    )
    if not found:
        return None
    name, place = min(found.items())
    return (
        f"{name} is imported from {place}, which is the same for both sides, and not from the "
        'side\'s own tree: --build "pip install ." gives each side its own'
    )


def _in(checkout: Path, loaded: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Modules that lie in the checkout itself, as those of an editable installation do."""
    environments = Path(sys.prefix), Path(sys.base_prefix)
    for name, file in loaded.items():
        if (
            _is_in(file, checkout)
            and not any(_is_in(file, environment) for environment in environments)
            and not any(part in INSTALLED for part in Path(file).parts)
        ):
            yield name, file


def _installed_from(checkout: Path, loaded: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Modules of distributions that were installed out of the checkout."""
    for distribution in metadata.distributions():
        if (origin := origin_of(distribution)) is None or not origin.is_relative_to(checkout):
            continue
        tops = {Path(file).parts[0].partition(".")[0] for file in distribution.files or ()}
        place = Path(str(distribution.locate_file("")))
        for name, file in loaded.items():
            if _top(name) in tops and _is_in(file, place):
                yield name, file


def _released(folder: Path, loaded: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Modules that the tree holds too, but that came from an installed release.

    Whole names are compared: a namespace package may have parts in both.
    """
    sources = [source for name in SOURCES if (source := folder / name).is_dir()]
    tops = {path.stem for source in sources for path in source.iterdir()}
    for name, file in loaded.items():
        if _top(name) in tops and any(part in INSTALLED for part in Path(file).parts):
            places = [source / name.replace(".", "/") for source in sources]
            files = [(place.with_suffix(".py"), place / "__init__.py") for place in places]
            if any(path.is_file() for pair in files for path in pair):
                yield name, file


def _loaded() -> Iterator[tuple[str, str]]:
    """Modules and their files; not those of this suite, which may lie in the checkout.

    The worker's own are known by their place, for its main module goes by several names.
    """
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or _is_in(file, PACKAGE):
            continue
        if _top(name) != DEFAULT_PACKAGE and not name.startswith(FINDER):
            yield name, file


def _top(name: str) -> str:
    return name.partition(".")[0]


def _is_in(file: str, folder: Path) -> bool:
    return file == str(folder) or file.startswith(f"{folder}{os.sep}")
