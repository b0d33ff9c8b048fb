"""What a project and a person ask of the gate: its rules, and the time it may take."""

import fnmatch
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ..devices.readings import reading
from ..errors import UsageError
from ..matrix.comparison import Comparison
from ..options import PYPROJECT, TABLE, Option, options_of
from ..records.gate_report import Rules
from ..units import check_within_margin

FILE = "pyproject.toml"
BUDGET_S = 280.0
"""Seconds for pairs: with start and report a run stays below five minutes."""
KEYS = {option.name: option for option in options_of(PYPROJECT)}


@dataclass(frozen=True)
class Settings:
    """The rules of one run of the gate, and its budget."""

    rules: Rules = field(default_factory=Rules)
    budget_s: float = BUDGET_S

    def but(self, given: Mapping[str, Any]) -> "Settings":
        """These settings, with the values of those of KEYS that are given and not None."""
        changes = {key: given[key] for key in KEYS if given.get(key) is not None}
        budget_s = changes.pop("budget", self.budget_s)
        return Settings(msgspec.structs.replace(self.rules, **changes), budget_s)


def read_settings(folder: Path) -> Settings:
    """What `[tool.sumnet-bench]` of a project's pyproject.toml asks; defaults where it is silent.

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
    settings = Settings().but(given)
    _check_margin(settings.rules, where)
    return settings


def overridden(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """The settings with the values of options that are given instead; None leaves one as it is.

    A threshold replaces the general one; patterns keep their own. Raises UsageError for one that
    does not go with the rest.
    """
    changed = settings.but(given)
    if options := [f"--{key}" for key in ("margin", "threshold") if given.get(key) is not None]:
        _check_margin(changed.rules, " and ".join(options))
    return changed


def unmatched(settings: Settings, comparisons: Iterable[Comparison]) -> list[str]:
    """Patterns of thresholds that fit none of the comparisons: among all, typing errors."""
    ids = [comparison.id for comparison in comparisons]
    return [pattern for pattern in settings.rules.thresholds if not fnmatch.filter(ids, pattern)]


def _table(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:  # which names the line
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


def _check_margin(rules: Rules, where: str) -> None:
    """Raise UsageError for a threshold, or one of a pattern's own, above the margin."""
    own = {f'thresholds."{pattern}"': share for pattern, share in rules.thresholds.items()}
    check_within_margin(where, rules.margin, {"threshold": rules.threshold, **own})
