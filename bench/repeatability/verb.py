"""`repeatability`: how well identical runs agree on a machine."""

from collections.abc import Sequence
from pathlib import Path

from bench.records.loading import load_each
from bench.records.store import load_cases
from bench.repeatability.analysis import check_identical
from bench.repeatability.views import repeatability_view
from bench.report.view import View


def repeatability(files: Sequence[Path]) -> View:
    """The agreement of run files. Raises UsageError unless they are of one plan and machine."""
    _, runs = load_each(files, load_cases)
    check_identical(runs)
    return repeatability_view(runs)
