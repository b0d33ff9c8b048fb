"""What a project and a person ask of the gate: its rules, and the time it may take."""

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ..matrix.comparison import Comparison
from ..options import TABLE
from ..project import KEYS, project_settings
from ..records.gate_report import Rules
from ..units import check_within_margin

RULES = tuple(key for key in KEYS if key != "steps")
"""The keys that are the gate's."""
BUDGET_S = 280.0
"""Seconds for pairs: with start and report a run stays below five minutes."""


@dataclass(frozen=True)
class Settings:
    """The rules of one run of the gate, and its budget."""

    rules: Rules = field(default_factory=Rules)
    budget_s: float = BUDGET_S

    def but(self, given: Mapping[str, Any]) -> "Settings":
        """These settings, with the values of those of RULES that are given and not None."""
        changes = {key: given[key] for key in RULES if given.get(key) is not None}
        budget_s = changes.pop("budget", self.budget_s)
        return Settings(msgspec.structs.replace(self.rules, **changes), budget_s)


def read_settings(folder: Path) -> Settings:
    """What `[tool.sumnet-bench]` of a project asks of the gate; defaults where it is silent.

    Raises UsageError where it cannot be read, or asks for something that is not there.
    """
    path, values = project_settings(folder)
    settings = Settings().but(values)
    _check_margin(settings.rules, f"{path}: [{TABLE}]")
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


def _check_margin(rules: Rules, where: str) -> None:
    """Raise UsageError for a threshold, or one of a pattern's own, above the margin."""
    own = {f'thresholds."{pattern}"': share for pattern, share in rules.thresholds.items()}
    check_within_margin(where, rules.margin, {"threshold": rules.threshold, **own})
