"""Whether a side imports its own code, and not the checkout's that both sides would share."""

import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

import msgspec

from ..matrix.default_step import PACKAGE as DEFAULT_PACKAGE
from ..protocol.subject import PACKAGE

INSTALLED = ("site-packages", "dist-packages")


def shared_code(folder: Path, checkout: Path) -> str | None:
    """What was imported from the checkout or its installation in place of the side's; None if none.

    `folder` is where the side's own tree lies.
    """
    found = dict(_modules_in(checkout, folder)) | dict(_installed_from(checkout))
    if not found:
        return None
    name, place = min(found.items())
    return (
        f"{name} is imported from {place}, which is the same for both sides, and not from the "
        'side\'s own tree: --build "pip install ." gives each side its own'
    )


def _modules_in(checkout: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Modules that lie in the checkout itself, as those of an editable installation do."""
    for name, file in _loaded():
        if (
            _is_in(file, checkout)
            and not _is_in(file, folder)
            and not _is_in(file, Path(sys.prefix))
            and not any(part in INSTALLED for part in Path(file).parts)
        ):
            yield name, file


def _installed_from(checkout: Path) -> Iterator[tuple[str, str]]:
    """Modules of distributions that were installed out of the checkout."""
    for distribution in metadata.distributions():
        if (origin := _origin(distribution)) is None or not _is_in(origin, checkout):
            continue
        tops = {Path(file).parts[0].partition(".")[0] for file in distribution.files or ()}
        place = Path(str(distribution.locate_file("")))
        for name, file in _loaded():
            if name.split(".")[0] in tops and _is_in(file, place):
                yield name, file


def _origin(distribution: metadata.Distribution) -> str | None:
    """The folder that it was installed out of, as PEP 610 has it."""
    text = distribution.read_text("direct_url.json")
    if text is None:
        return None
    try:
        url = urlparse(msgspec.json.decode(text)["url"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
    return unquote(url.path) if url.scheme == "file" else None


def _loaded() -> Iterator[tuple[str, str]]:
    """Modules and their files; not those of this suite, which may lie in the checkout.

    The worker's own are known by their place, for its main module goes by several names.
    """
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or _is_in(file, PACKAGE):
            continue
        if name.split(".")[0] != DEFAULT_PACKAGE:
            yield name, file


def _is_in(file: str, folder: Path) -> bool:
    return file == str(folder) or file.startswith(f"{folder}{os.sep}")
