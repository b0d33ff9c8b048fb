"""`rank`: the fastest configuration at each batch size."""

from collections.abc import Sequence
from pathlib import Path

from bench.options import CHOICES
from bench.rank.views import ranking_view
from bench.records.loading import load_runs
from bench.report.view import View


def rank(files: Sequence[Path], results: Path, *, by: Sequence[str] | None, statistic: str) -> View:
    """The ranking of run files, by default the newest of every machine under `results`.

    `by` are some of CHOICES, by default all. Raises UsageError where there is nothing to rank.
    """
    _, labels, runs = load_runs(files, results)
    return ranking_view(runs, labels, tuple(by or CHOICES), statistic)
