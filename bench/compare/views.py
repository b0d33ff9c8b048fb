"""A whole comparison as text: the table, then what a reader of it must know."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.compare.analysis import compare
from bench.compare.compile_costs_view import compile_text
from bench.errors import UsageError, check_allowed
from bench.matrix.case import SERIES, WHOLE
from bench.records.loading import load_runs
from bench.records.run_file import RunRecord
from bench.report.tables import (
    FORMATS,
    drift_lines,
    machine_notes,
    mark_lines,
    notes,
    numeric_rows,
    phase_rows,
    phase_worth,
    pivot_rows,
    pivot_worth,
    prose,
    render,
)
from bench.stats.frame import DIMENSIONS, RUN, STATISTICS, tidy, varying


@dataclass(frozen=True)
class Request:
    """How to lay a comparison out; the fields are the options of `compare`."""

    by: str | None = None
    reference: str | None = None
    rows: str | None = None
    columns: str | None = None
    series: str = WHOLE
    statistic: str = "quiet"
    style: str = "github"
    width: int | None = None
    """Columns of the terminal that it is printed on."""

    def check(self) -> None:
        """Raise UsageError for a value that is not allowed."""
        for option, value, allowed in (
            ("by", self.by, DIMENSIONS),
            ("rows", self.rows, DIMENSIONS),
            ("columns", self.columns, DIMENSIONS),
            ("phase", self.series, SERIES),
            ("statistic", self.statistic, STATISTICS),
            ("format", self.style, FORMATS),
        ):
            if value is not None:
                check_allowed(option, value, allowed)
        if self.rows is not None and self.rows == self.columns:
            raise UsageError(f"--rows and --columns are both {self.rows}")


def compare_files(files: Sequence[Path], results: Path, request: Request) -> str:
    """The comparison of run files, by default the newest of every machine under `results`."""
    request.check()
    paths, labels, runs = load_runs(files, results)
    for path, label in zip(paths, labels, strict=True):
        if request.reference in (str(path), path.name, path.stem):  # a file names its run
            request = replace(request, reference=label)
    return comparison_text(runs, labels, request)


def comparison_text(
    runs: Sequence[RunRecord], labels: Sequence[str], request: Request | None = None
) -> str:
    """The comparison; csv and tsv carry the table alone. Raises UsageError for a bad reference."""
    asked = request or Request()
    frame = tidy(runs, labels)
    by = asked.by or (RUN if len(runs) > 1 or asked.reference else None)
    comparison = compare(frame, by, asked.reference, asked.series, asked.statistic) if by else None
    if asked.style == "csv":
        return render(numeric_rows(frame, comparison), asked.style)
    if asked.rows or asked.columns:
        columns = asked.columns or next(n for n in (by, RUN, "batch") if n and n != asked.rows)
        rows = asked.rows or next(n for n in ("batch", *varying(frame), RUN) if n != columns)
        table = pivot_rows(frame, rows, columns, asked.series, asked.statistic)
        worth = pivot_worth(table, columns)
        shown, marks_of = frame[frame["series"] == asked.series], asked.statistic
    else:
        table = phase_rows(frame, comparison, asked.statistic)
        worth = phase_worth(asked.statistic)
        shown, marks_of = frame, "quiet"
    text = render(table, asked.style, worth, asked.width) if table else "Nothing was measured."
    if by in (None, RUN, "compile") and asked.style != "tsv":
        compiled = compile_text(runs, labels, frame, asked.style, asked.width)
        text = "\n".join([text, *compiled])
    below = notes(frame, comparison, asked.statistic)
    below += mark_lines(shown, marks_of) + drift_lines(frame) + machine_notes(runs, labels)
    if asked.style == "tsv":
        return text
    return "\n".join([text, *prose(below, asked.style)])
