"""`compare`: times of runs side by side; with --verdicts, one of two judged by the other."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from ..records.loading import load_runs
from ..records.store import stored_runs
from ..records.verdicts import EXIT_STATUS
from ..report.view import View
from ..stats.frame import tidy
from ..units import check_within_margin
from .calibration import aa_runs, calibrate
from .verdicts import StoredRules, check_comparable, judge, outcome_of
from .verdicts_views import verdicts_view
from .views import comparison_view


def compare(
    files: Sequence[Path],
    results: Path,
    *,
    by: str | None,
    reference: str | None,
    rows: str | None,
    columns: str | None,
    phase: str,
    statistic: str,
) -> View:
    """The comparison of run files, by default the newest of every machine under `results`.

    A `reference` may be a file, which names its run. Raises UsageError for options that do not go
    together, and where there is nothing to compare.
    """
    if rows is not None and rows == columns:
        raise UsageError(f"--rows and --columns are both {rows}")
    paths, labels, runs = load_runs(files, results)
    for path, label in zip(paths, labels, strict=True):
        if reference in (str(path), path.name, path.stem):
            reference = label
    return comparison_view(
        runs,
        labels,
        by=by,
        reference=reference,
        rows=rows,
        columns=columns,
        series=phase,
        statistic=statistic,
    )


def verdicts(
    files: Sequence[Path],
    results: Path,
    *,
    margin: float | None = None,
    threshold: float | None = None,
) -> tuple[View, int]:
    """The verdicts on the second file against the first, and the exit status of their outcome.

    A/A runs of this machine under `results` show how often such verdicts err. Shares that are None
    have their defaults. Raises UsageError unless these are two runs of one machine and software
    that can be read, and for a threshold above the margin.
    """
    given = {"margin": margin, "threshold": threshold}
    rules = StoredRules(**{name: share for name, share in given.items() if share is not None})
    check_within_margin("--verdicts", rules.margin, {"threshold": rules.threshold})
    labels, runs = load_runs(files)[1:] if files else ([], [])
    if len(runs) != 2:
        raise UsageError(
            f"--verdicts takes two run files, the base's, then the head's; there are {len(runs)}"
        )
    base, head = runs
    check_comparable(base, head)
    frame = tidy(runs, labels)
    table = judge(frame, labels[0], labels[1], rules)
    stored, unread = stored_runs(results / head.machine.label)
    calibration = calibrate(aa_runs(stored, head), rules)
    view = verdicts_view(table, frame, runs, labels, rules, calibration, unread)
    return view, EXIT_STATUS[outcome_of(table)]
