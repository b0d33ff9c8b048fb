"""Whether a side imports its own code, and not what both sides would share."""

import configparser
import functools
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from ..matrix.default_step import PACKAGE as DEFAULT_PACKAGE
from ..protocol.subject import PACKAGE, origin_of, was_installed

FINDER = "__editable__"
"""How setuptools begins the names of modules that find an editable installation's."""
SETUP_NAME = re.compile(r"""\bname\s*=\s*["']([\w.-]+)["']""")


def shared_code(folder: Path, file: str, checkout: Path) -> str | None:
    """What was imported of the project from a place that is not the side's own; None if nothing.

    That is from its checkout, from an installation out of that, from an installed release of the
    project, or from the other side. `folder` is where the side's own tree lies, and `file` declares
    the steps in it.
    """
    own = folder, folder.with_name(f"{folder.name}-python"), folder.with_name("python")
    loaded = {name: path for name, path in _loaded() if not any(_is_in(path, o) for o in own)}
    names = _project_names(folder, file)
    found = dict(_in((checkout, folder.parent), loaded)) or dict(
        _installed_from(checkout, names, loaded)
    )
    if not found:
        return None
    name, place = min(found.items())
    return (
        f"{name} is imported from {place}, which is the same for both sides, and not from the "
        'side\'s own tree: --build "pip install ." gives each side its own'
    )


def _in(places: tuple[Path, ...], loaded: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Modules that lie in these places, as those of an editable installation do in the checkout.

    Not those of an interpreter that is kept there.
    """
    prefixes = {Path(sys.prefix), Path(sys.base_prefix)}
    for name, file in loaded.items():
        for place in places:
            environments = [p for p in prefixes if p != place and p.is_relative_to(place)]
            if (
                (_is_in(file, place) or _is_in(_real(file), place))
                and not any(_is_in(file, environment) for environment in environments)
                and not was_installed(Path(file))
            ):
                yield name, file


def _installed_from(
    checkout: Path, names: set[str], loaded: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Modules of distributions that were installed out of the checkout, or have these names."""
    for distribution in metadata.distributions():
        origin = origin_of(distribution)
        is_of_checkout = origin is not None and origin.resolve().is_relative_to(checkout)
        if not is_of_checkout and _normal(distribution.metadata["Name"] or "") not in names:
            continue
        tops = {Path(file).parts[0].partition(".")[0] for file in distribution.files or ()}
        place = Path(str(distribution.locate_file("")))
        for name, file in loaded.items():
            if name.partition(".")[0] in tops and _is_in(file, place):
                yield name, file


@functools.cache
def _project_names(folder: Path, file: str) -> set[str]:
    """The names of the projects around a steps file, as installers know them."""
    inside = [place for place in (folder / file).parents if place.is_relative_to(folder)]
    return {_normal(name) for place in inside for name in _names_in(place) if name}


def _names_in(folder: Path) -> Iterator[str]:
    """What the files of a project's folder call it; nothing where they cannot be read."""
    try:
        document = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        yield str(document.get("project", {}).get("name", ""))
        yield str(document.get("tool", {}).get("poetry", {}).get("name", ""))
    except (OSError, ValueError, AttributeError, RecursionError):
        pass
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(folder / "setup.cfg", encoding="utf-8")
        yield settings.get("metadata", "name", fallback="")
        yield from SETUP_NAME.findall((folder / "setup.py").read_text(encoding="utf-8"))
    except (OSError, ValueError, configparser.Error):
        pass


def _normal(name: str) -> str:
    """As PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _loaded() -> Iterator[tuple[str, str]]:
    """Modules and their files; not those of this suite, which may lie in the checkout.

    The worker's own are known by their place, for its main module goes by several names.
    """
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or file[:1] != os.sep or _is_in(file, PACKAGE):
            continue  # a relative one is no file: torch gives some to what it makes up
        if name.partition(".")[0] != DEFAULT_PACKAGE and not name.startswith(FINDER):
            yield name, file


_real = functools.cache(os.path.realpath)


def _is_in(file: str, folder: Path) -> bool:
    return file == str(folder) or file.startswith(f"{folder}{os.sep}")
