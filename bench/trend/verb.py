"""The verb `trend`: one machine's run history as a View, and as charts."""

from collections.abc import Sequence
from pathlib import Path

from ..records.loading import split_steps
from ..report.charts import check_chart, save_chart
from ..report.view import View
from .analysis import trends
from .chart import trend_chart
from .history import load_history, moment, run_files
from .views import trend_view


def trend(
    files: Sequence[Path], results: Path, *, phase: str, statistic: str, charts: Sequence[Path]
) -> View:
    """The history of the runs in these files, else of those under `results`, written to `charts`.

    Raises UsageError for files that cannot be read or drawn, and for runs of several machines.
    """
    for path in charts:
        check_chart(path)
    named, steps = split_steps(files)
    history = load_history(named or run_files(results), steps)
    found = trends(history, phase, statistic)
    if charts:
        chart = trend_chart(found, {label: moment(run) for label, run in history.items()})
        for path in charts:
            save_chart(chart, path)
    return trend_view(history, found, statistic)
