"""`repeatability`: how well identical runs agree on a machine."""

from collections.abc import Sequence
from pathlib import Path

from ..records.loading import load_each
from ..records.store import load_cases
from ..report.view import View
from .analysis import check_identical
from .views import repeatability_view


def repeatability(files: Sequence[Path]) -> View:
    """The agreement of run files. Raises UsageError unless they are of one plan and machine."""
    _, runs = load_each(files, load_cases)
    check_identical(runs)
    return repeatability_view(runs)
