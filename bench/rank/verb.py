"""`rank`: the fastest configuration at each batch size."""

from collections.abc import Sequence
from pathlib import Path

from ..options import CHOICES
from ..records.loading import load_runs
from ..report.view import View
from .views import ranking_view


def rank(files: Sequence[Path], results: Path, *, by: Sequence[str] | None, statistic: str) -> View:
    """The ranking of run files, by default the newest of every machine under `results`.

    `by` are some of CHOICES, by default all. Raises UsageError where there is nothing to rank.
    """
    _, labels, runs = load_runs(files, results)
    return ranking_view(runs, labels, tuple(by or CHOICES), statistic)
