"""The verbs `compare --limits` and `ceilings` of run files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import UsageError
from ..matrix.case import WHOLE
from ..records.loading import load_runs
from ..records.store import load_run
from ..report import notes
from ..report.charts import check_chart, save_chart
from ..report.view import View
from ..stats.frame import tidy
from .ceilings import ceiling_frame, rates
from .chart import roof_table, roofline
from .limits import limit_frame
from .views import ceilings_view, limits_view


def limits(files: Sequence[Path], results: Path, *, phase: str, charts: Sequence[Path]) -> View:
    """The limits of the runs in these files, else of those under `results`, drawn in `charts`.

    Raises UsageError for a phase without limits, and files that cannot be read or drawn.
    """
    if charts and phase != WHOLE:
        raise UsageError(f"--roofline draws whole steps: drop --phase {phase}")
    for path in charts:
        check_chart(path)
    _, labels, runs = load_runs(files, results, load_run)
    if not any(run.cases for run in runs):
        raise UsageError("these files hold ceilings alone: name a run that measured cases too")
    known = rates(runs, labels, ceiling_frame(runs, labels))
    frame = tidy(runs, labels)
    table = limit_frame(runs, labels, frame, known)
    view = limits_view(table, phase, known)
    for path in charts:
        save_chart(roofline(table, roof_table(known)), path)
    below = [*notes.marks(frame[frame["series"] == phase]), *notes.machines(runs, labels)]
    return replace(view, notes=[*view.notes, *below])


def ceilings(files: Sequence[Path]) -> View:
    """The ceilings in run files. Raises UsageError where none has any."""
    _, labels, runs = load_runs(files, load=load_run)
    if not any(run.ceilings for run in runs):
        raise UsageError("no ceilings in these files: measure them with `ceilings`")
    view = ceilings_view(runs, labels)
    return replace(view, notes=[*view.notes, *notes.machines(runs, labels)])
