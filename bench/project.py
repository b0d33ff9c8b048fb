"""What a project asks in its pyproject.toml, in `[tool.sumnet-bench]`."""

import tomllib
from pathlib import Path
from typing import Any

from .devices.readings import reading
from .errors import UsageError
from .options import PYPROJECT, TABLE, Option, options_of

FILE = "pyproject.toml"
KEYS = {option.name: option for option in options_of(PYPROJECT)}


def project_settings(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file, and the values of its keys.

    The file is the folder's, or the nearest above it up to the top of its git checkout. Raises
    UsageError where it cannot be read, or asks for something that is not there.
    """
    path = folder / FILE
    above = [folder, *folder.absolute().parents]
    tops = [place for place, parent in enumerate(above) if reading((parent / ".git").exists)]
    for parent in above[: tops[0] + 1] if tops else ():
        if reading((parent / FILE).exists):
            path = parent / FILE
            break
    where = f"{path}: [{TABLE}]"
    given: dict[str, Any] = {}
    for key, value in _table(path).items():
        if key not in KEYS:
            raise UsageError(
                f"{where} {key} = {value!r}: there is no such key; allowed: {', '.join(KEYS)}"
            )
        given[key] = _read(KEYS[key], value, f"{where} {key}")
    return path, given


def configured_steps(folder: Path) -> Path | None:
    """The file of steps that the project names, or None. Raises UsageError."""
    path, values = project_settings(folder)
    return path.parent / values["steps"] if "steps" in values else None


def _table(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:  # of TOML that is none it names the line
        raise UsageError(f"{path} is not TOML: {error}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    inside: list[str] = []
    for key in TABLE.split("."):
        inside.append(key)
        document = document.get(key, {})
        if not isinstance(document, dict):
            name = ".".join(inside)
            raise UsageError(f"{path}: {name} = {document!r} is not a table; write [{name}]")
    return document


def _read(option: Option, value: Any, where: str) -> Any:
    """A key's value; that of `thresholds` is a table with one for each pattern."""
    assert option.read is not None  # no key is a flag
    if option.name != "thresholds":
        return option.read(where, value)
    wanted = 'one line for each pattern of case ids, in quotes, is wanted: "cpu/*" = "2%"'
    if not isinstance(value, dict):
        raise UsageError(f"{where}: {value!r} is not a table; {wanted}")
    for pattern, own in value.items():
        if not pattern or isinstance(own, dict):  # a dot outside quotes begins a table
            raise UsageError(f"{where} {pattern} = {own!r}: {wanted}")
    return {pattern: option.read(f'{where} "{pattern}"', own) for pattern, own in value.items()}
