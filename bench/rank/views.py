"""The fastest configurations, and where one device overtakes another, as text."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import check_allowed
from bench.matrix.axes import AXES
from bench.matrix.case import THROUGHPUT, WHOLE
from bench.rank.analysis import CHOICES, Crossover, Ranking, crossovers, rank
from bench.records.loading import load_runs
from bench.records.run_file import RunRecord
from bench.report.tables import (
    FORMATS,
    Row,
    bound_by,
    machine_notes,
    mark_lines,
    prose,
    render,
    time_cell,
)
from bench.report.terminal import Worth
from bench.stats.frame import STATISTICS, tidy
from bench.units import interval, rate

WORTH: Worth = (("samples/s",), ("bound",), ("equal", "of"), ("next", "slower by"))


def rank_files(
    files: Sequence[Path],
    results: Path,
    by: str | None,
    statistic: str,
    style: str,
    width: int | None = None,
) -> str:
    """The ranking of run files. Raises UsageError for a value that is not allowed."""
    chosen = CHOICES if by is None else tuple(part.strip() for part in by.split(","))
    for option, values, allowed in (
        ("by", chosen, CHOICES),
        ("statistic", (statistic,), STATISTICS),
        ("format", (style,), FORMATS),
    ):
        for value in values:
            check_allowed(option, value, allowed)
    _, labels, runs = load_runs(files, results)
    return ranking_text(runs, labels, chosen, statistic, style, width)


def ranking_text(
    runs: Sequence[RunRecord],
    labels: Sequence[str],
    by: tuple[str, ...] = CHOICES,
    statistic: str = "quiet",
    style: str = "github",
    width: int | None = None,
) -> str:
    """A row for each task, its fastest configuration first; then the crossovers."""
    frame = tidy(runs, labels)
    rankings = rank(frame, by, statistic)
    asked = [name for name in by if frame[name].nunique() > 1]
    bounds = bool(frame["host_bound"].notna().any())
    rows = [_row(ranking, asked, statistic, bounds) for ranking in rankings]
    table = render(rows, style, WORTH, width)
    if style in ("tsv", "csv"):
        return table
    below = [
        "next: how much longer the best configuration takes that is slower beyond doubt; equal: "
        "others that may be as fast, within the intervals.",
        *(["A step bound by the host ranks the host, not the device."] if bounds else []),
        *(_crossover_text(found) for found in crossovers(frame, statistic)),
        *mark_lines(frame[frame["series"].isin((WHOLE, THROUGHPUT))], statistic),
        *machine_notes(runs, labels),
    ]
    return "\n".join([table, *prose(below, style)])


def _row(ranking: Ranking, asked: Sequence[str], statistic: str, bounds: bool) -> Row:
    first = ranking.table.iloc[0]
    step = first[f"{statistic}_ns"]
    row: Row = {
        **{str(name): ranking.task[name] for name in _told(ranking.task)},
        "fastest": _name(first, asked),
        "step ± 95%": time_cell(first, statistic),
        "samples/s": rate(first["batch"] / step * 1e9),
        **({"bound": bound_by(first["host_bound"])} if bounds else {}),
        "equal": len(ranking.table) - len(ranking.slower) - 1,
        "of": len(ranking.table),
    }
    if ranking.slower.empty:
        return row | {"next": "-", "slower by": "-"}
    beaten = ranking.slower.iloc[0]
    return row | {
        "next": _name(beaten, asked),
        "slower by": interval(f"{beaten['ratio']:.2f}x", beaten["ratio_half"]),
    }


def _told(task: dict[Hashable, Any]) -> list[Hashable]:
    """The parts of a task that are worth a column: the batch, and what is not as ever."""
    always = ("batch", "optimizer", "hidden")
    return sorted(
        (n for n in task if n in always or n in CHOICES),
        key=lambda name: always.index(str(name)) if name in always else len(always),
    )


def _name(row: "pd.Series[Any]", asked: Sequence[str]) -> str:
    """A configuration by what there is to choose; what is torch's own choice goes unsaid."""
    parts = [
        f"{AXES[name].prefix if name in AXES else ''}{row[name]}"
        for name in asked
        if name not in AXES or row[name] != AXES[name].default or name in ("device", "dtype")
    ]
    return " ".join(f"{part}" for part in parts) or "default"


def _crossover_text(found: Crossover) -> str:
    task = ", ".join(f"{name} {value}" for name, value in found.task.items())
    first, second = found.places
    between = f"{found.batches[0]} to {found.batches[1]}"
    if found.faster_below is None:
        return f"{task}: {first} and {second} are as fast at every batch measured, {between}."
    if found.batch is None:
        slower = second if found.faster_below == first else first
        return (
            f"{task}: {found.faster_below} is faster than {slower} wherever intervals tell them "
            f"apart, among batches of {between}."
        )
    return (
        f"{task}: {found.faster_above} overtakes {found.faster_below} at a batch of about "
        f"{found.batch:,.0f}."
    )
