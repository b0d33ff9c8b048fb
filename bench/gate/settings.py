"""What a project and a person ask of the gate: its rules, and the time it may take."""

import fnmatch
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from bench.devices.readings import reading
from bench.errors import UsageError
from bench.matrix.comparison import Comparison
from bench.records.gate_report import Rules
from bench.units import SHARES, check_within_margin, number_from, share_from

FILE = "pyproject.toml"
TABLE = "tool.sumnet-bench"
BUDGET_S = 280.0
"""Seconds for pairs: with start and report a run stays below five minutes."""
BUDGET_LEAST_S, BUDGET_MOST_S = 10, 86_400
KEYS = (*SHARES, "budget", "thresholds")


@dataclass(frozen=True)
class Settings:
    """The rules of one run of the gate, and its budget."""

    rules: Rules = field(default_factory=Rules)
    budget_s: float = BUDGET_S


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
    table = _table(path)
    where = f"{path}: [{TABLE}]"
    _refuse_unknown(table, where)
    changes: dict[str, Any] = {
        key: share_from(f"{where} {key}", table[key], key) for key in SHARES if key in table
    }
    if "thresholds" in table:
        changes["thresholds"] = _thresholds(table["thresholds"], f"{path}: [{TABLE}.thresholds]")
    rules = msgspec.structs.replace(Rules(), **changes)
    _check_margin(rules, where)
    budget_s = _budget(f"{where} budget", table["budget"]) if "budget" in table else BUDGET_S
    return Settings(rules, budget_s)


def overridden(
    settings: Settings,
    margin: str | None = None,
    alpha: str | None = None,
    threshold: str | None = None,
    budget: str | None = None,
) -> Settings:
    """The settings with what the command line asks instead; None leaves one as it is.

    A threshold replaces the general one; patterns keep their own. Raises UsageError for an option
    that is out of range, or does not go with the rest.
    """
    given = {"margin": margin, "alpha": alpha, "threshold": threshold}
    changes = {
        key: share_from(f"--{key}", text, key) for key, text in given.items() if text is not None
    }
    rules = msgspec.structs.replace(settings.rules, **changes)
    blamed = [f"--{key}" for key in ("margin", "threshold") if key in changes]
    if blamed:
        _check_margin(rules, " and ".join(blamed))
    if budget is None:
        return replace(settings, rules=rules)
    return Settings(rules, _budget("--budget", budget))


def unmatched(settings: Settings, comparisons: Iterable[Comparison]) -> list[str]:
    """Patterns of thresholds that fit none of the comparisons: among all, typing errors."""
    ids = [comparison.id for comparison in comparisons]
    return [
        pattern
        for pattern in settings.rules.thresholds
        if not any(fnmatch.fnmatch(name, pattern) for name in ids)
    ]


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


def _refuse_unknown(table: Mapping[str, Any], where: str) -> None:
    for key, value in table.items():
        if key not in KEYS:
            raise UsageError(
                f"{where} {key} = {value!r}: there is no such key; allowed: {', '.join(KEYS)}"
            )


def _thresholds(table: Any, where: str) -> dict[str, float]:
    if not isinstance(table, dict):
        raise UsageError(
            f'{where}: {table!r} is not a table; write one line for each pattern, "cpu/*" = "2%"'
        )
    for pattern, value in table.items():
        if not pattern or isinstance(value, dict):  # a dot outside quotes begins a table
            raise UsageError(
                f"{where} {pattern} = {value!r}: a pattern of case ids in quotes is wanted, and "
                'its share: "cpu/float32/*" = "2%"'
            )
    return {
        pattern: share_from(f'{where} "{pattern}"', value, "threshold")
        for pattern, value in table.items()
    }


def _check_margin(rules: Rules, where: str) -> None:
    """Raise UsageError for a threshold, or one of a pattern's own, above the margin."""
    own = {f'thresholds."{pattern}"': share for pattern, share in rules.thresholds.items()}
    check_within_margin(where, rules.margin, {"threshold": rules.threshold, **own})


def _budget(where: str, value: Any) -> float:
    return number_from(where, value, BUDGET_LEAST_S, BUDGET_MOST_S, "seconds")
