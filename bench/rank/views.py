"""The fastest configurations, and where one device overtakes another."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..matrix.axes import AXES
from ..matrix.case import THROUGHPUT, WHOLE
from ..matrix.default_step import DEFAULT
from ..options import CHOICES
from ..records.run_file import RunRecord
from ..report import notes
from ..report.view import Row, Table, View, Worth
from ..stats.frame import QUIET, RUN, tidy
from ..units import interval, rate
from .analysis import Crossover, Ranking, crossovers, rankings

WORTH: Worth = (("samples/s",), ("bound",), ("tied", "configurations"), ("next", "slower by"))
ABOUT = (
    "tied: configurations whose ratio to the fastest has a 95% interval that includes 1; next: the "
    "fastest of those that are slower beyond it."
)
HOST_BOUND = "Where bound is host, the ranking is of the host's launches, not of the device."


def ranking_view(
    runs: Sequence[RunRecord],
    labels: Sequence[str],
    by: Sequence[str] = CHOICES,
    statistic: str = QUIET,
) -> View:
    """A row for each task, its fastest configuration first; then the crossovers.

    Raises UsageError where there is nothing to rank.
    """
    frame = tidy(runs, labels)
    ranked = rankings(frame, by, statistic)
    choices = [name for name in by if frame[name].nunique() > 1]
    bounds = bool(frame["host_bound"].notna().any())
    tasks = _task_columns(ranked)
    rows = [_row(ranking, tasks, choices, statistic, bounds) for ranking in ranked]
    below = [
        ABOUT,
        *([HOST_BOUND] if bounds else []),
        *map(_crossover_note, crossovers(frame, statistic)),
        *notes.marks(frame[frame["series"].isin((WHOLE, THROUGHPUT))], statistic),
        *notes.machines(runs, labels),
    ]
    return View([Table(rows, WORTH)], below, rows)


def _row(
    ranking: Ranking, tasks: Sequence[str], choices: Sequence[str], statistic: str, bounds: bool
) -> Row:
    """`tasks`: which of a task's values have a column; `choices`: which of a choice are named."""
    first = ranking.table.iloc[0]
    row: Row = {
        **{name: ranking.task[name] for name in tasks},
        "fastest": _name(first, choices),
        "step ± 95%": notes.time_cell(first, statistic),
        "samples/s": rate(first["samples"] / first[f"{statistic}_ns"] * 1e9),
        **({"bound": notes.bound_by(first["host_bound"])} if bounds else {}),
        "tied": len(ranking.table) - len(ranking.slower) - 1,
        "configurations": len(ranking.table),
        "next": "-",
        "slower by": "-",
    }
    if not ranking.slower.empty:
        second = ranking.slower.iloc[0]
        row["next"] = _name(second, choices)
        row["slower by"] = interval(f"{second['ratio']:.2f}x", second["ratio_half"])
    return row


def _task_columns(ranked: Sequence[Ranking]) -> list[str]:
    """The batch, the optimizer and the rest of the task, then what there was no choice of."""
    task = ranked[0].task
    first = [name for name in ("batch", "optimizer") if name in task]
    rest = [str(n) for n in task if n not in (*first, RUN, *CHOICES)]
    if all(ranking.task["workload"] == DEFAULT.name for ranking in ranked):
        rest.remove("workload")
    return [*first, *rest, *(str(name) for name in task if name in CHOICES)]


def _name(row: "pd.Series[Any]", choices: Sequence[str]) -> str:
    """A configuration by what there is to choose; most defaults go without saying."""
    parts = [
        f"{AXES[name].prefix if name in AXES else ''}{row[name]}"
        for name in choices
        if name not in AXES or row[name] != AXES[name].default or name in ("device", "dtype")
    ]
    return " ".join(parts) or "default"


def _crossover_note(found: Crossover) -> str:
    told = {n: v for n, v in found.task.items() if v != "" and (n, v) != ("workload", DEFAULT.name)}
    task = ", ".join(f"{name} {value}" for name, value in told.items())
    first, second = found.places
    between = f"from {found.batches[0]} to {found.batches[1]}"
    if found.faster_below is None:
        return f"{task}: {first} and {second} are tied at every batch measured, {between}."
    if found.batch is None:
        slower = second if found.faster_below == first else first
        return (
            f"{task}: {found.faster_below} is faster than {slower} at every batch {between} where "
            "their intervals differ."
        )
    return (
        f"{task}: {found.faster_above} overtakes {found.faster_below} at a batch of about "
        f"{found.batch:,.0f}."
    )
