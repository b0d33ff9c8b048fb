"""The comparison: times with phases and ratios, or one axis against another; compile costs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UsageError
from ..matrix.case import DISPATCH, LATENCY, THROUGHPUT, WHOLE
from ..records.run_file import RunRecord
from ..report import notes
from ..report.view import Row, Table, View, Worth, records
from ..stats.frame import QUIET, RUN, STATISTICS, dimensions, phases_in, sizes_in, tidy, varying
from ..units import duration, memory, rate
from .analysis import Ratios, ratios
from .compile_costs import NEVER, NO_EAGER_CASE, compile_frame

ASYNCHRONOUS = (
    "On an asynchronous device, quiet, typical and the phases are device time. host dispatch: host "
    "time to launch a step; device busy: kernel time of a step, by the profiler; latency: one step "
    "with a synchronize; samples/s: of many steps with one synchronize. Where bound is host, the "
    "times are of the host's launches, not of the device."
)
ABOUT_PEAKS = (
    "peak memory: the most that training takes, above the net and its data: gradients, the "
    "optimizer's state, and what a step allocates."
)
RATIO = (
    "± of a ratio is its 95% confidence interval; the prediction interval for the ratio of another "
    "two runs is 1.4 times as wide."
)
COMPILE_WORTH: Worth = (
    ("eager step", "compiled step"),
    ("break-even steps (cold)",),
    ("first step (warm)", "break-even steps (warm)"),
    ("vs eager",),
)
ABOUT_COMPILING = (
    "Compile cost: the first step in a new process with empty caches (cold) and with the caches "
    "that it left (warm). break-even steps: after so many, compiling has saved its cost; unclear: "
    "the interval of the ratio includes 1."
)


def comparison_view(
    runs: Sequence[RunRecord],
    labels: Sequence[str],
    *,
    by: str | None = None,
    reference: str | None = None,
    rows: str | None = None,
    columns: str | None = None,
    series: str = WHOLE,
    statistic: str = QUIET,
) -> View:
    """The comparison of runs, by run where there are several, else of nothing but `by`.

    `rows` or `columns`, dimensions, ask for a table of one series instead of that of phases. Runs
    with compile times add a table of them. Raises UsageError for a series that no case has, and for
    a `reference` that is not among the values of `by`.
    """
    frame = tidy(runs, labels)
    by = by or (RUN if len(runs) > 1 or reference else None)
    for flag, name in (("--by", by), ("--rows", rows), ("--columns", columns)):
        if name is not None and name not in (known := dimensions(frame)):
            raise UsageError(
                f"{flag}: {name!r} is no axis of these cases; there are: {', '.join(known)}"
            )
    if series not in set(frame["series"]):
        raise UsageError(f"--phase: no case has {series} times")
    comparison = ratios(frame, by, reference, series, statistic) if by else None
    if rows or columns:
        across = columns or next(n for n in (by, RUN, "optimizer") if n and n != rows)
        down = rows or next(n for n in (*sizes_in(frame), *varying(frame), RUN) if n != across)
        shown, marks_of = frame[frame["series"] == series], statistic
        table = pivot_table(shown, down, across, statistic)
    else:
        shown, marks_of = frame, QUIET
        table = phase_table(frame, comparison, statistic)
    compiled = _compile_view(runs, labels, frame) if by in (None, RUN, "compile") else View(())
    return View(
        [table, *compiled.tables],
        [
            *_about_ratios(comparison),
            *_about_times(frame),
            *compiled.notes,
            *notes.marks(shown, marks_of),
            *notes.drift(frame),
            *notes.verification(runs),
            *notes.machines(runs, labels),
        ],
        _records(frame, comparison),
    )


def phase_table(frame: pd.DataFrame, comparison: Ratios | None, statistic: str) -> Table:
    """A row for each case of each run: whole step, phases, throughput, ratio.

    A case without evidence has its status where the time would be.
    """
    names = varying(frame) or ["case"]
    if comparison is not None and comparison.by in names:  # last, so that rows read as groups
        names = [*(name for name in names if name != comparison.by), comparison.by]
    keys = zip(frame["run"], frame["case"], frame["series"], strict=True)
    times = dict(zip(keys, frame[f"{statistic}_ns"], strict=True))
    ratio_cells, phases = _ratio_cells(comparison), phases_in(frame)
    flagged, energy = frame["flags"].map(bool).any(), frame["joules"].notna().any()
    counted = frame["peak_bytes"].notna().any()
    asynchronous = _asynchronous(frame)
    rows: list[Row] = []
    for entry in _in_order(frame, comparison):
        key = (entry["run"], entry["case"])
        row: Row = {name: entry[name] for name in names}
        row |= {f"{name} ± 95%": notes.time_cell(entry, name) for name in STATISTICS}
        if comparison is not None:
            row[f"vs {comparison.by} {comparison.reference}"] = ratio_cells.get(key, "-")
        row |= {phase: duration(times.get((*key, phase), np.nan)) for phase in phases}
        if asynchronous:
            row |= {
                "host dispatch": duration(times.get((*key, DISPATCH), np.nan)),
                "device busy": duration(entry["busy_ns"]),
                "latency": duration(times.get((*key, LATENCY), np.nan)),
                "bound": notes.bound_by(entry["host_bound"]),
            }
        step = times.get((*key, THROUGHPUT), entry[f"{statistic}_ns"])
        row["samples/s"] = rate(entry["samples"] / step * 1e9)
        if counted:
            row["peak memory"] = memory(entry["peak_bytes"])
        if flagged:
            row["flags"] = ", ".join(entry["flags"])
        if energy:
            row["J/M samples"] = "-" if pd.isna(entry["joules"]) else f"{entry['joules']:.3g}"
        rows.append(row)
    others = tuple(f"{name} ± 95%" for name in STATISTICS if name != statistic)
    worth = (
        others,
        tuple(phases),
        ("host dispatch", "device busy", "latency"),
        ("peak memory",),
        ("J/M samples",),
        ("samples/s",),
        ("bound",),
        ("flags",),
    )
    return Table(rows, worth)


def _in_order(frame: pd.DataFrame, comparison: Ratios | None) -> list["pd.Series[Any]"]:
    """One entry per run and case, with what is compared side by side."""
    whole = frame[frame["series"] == WHOLE]
    keys = (
        ["run", "case"]
        if comparison is None
        else [n for n in dimensions(frame) if n != comparison.by]
    )
    return [entry for _, same in whole.groupby(keys, sort=False) for _, entry in same.iterrows()]


def _ratio_cells(comparison: Ratios | None) -> dict[tuple[str, str], str]:
    """Run and case to the ratio and its interval."""
    if comparison is None:
        return {}
    columns = (comparison.table[name] for name in ("run", "case", "ratio", "ratio_half"))
    return {
        (run, case): "1"
        if (ratio, half) == (1, 0)  # the reference itself
        else notes.ratio_cell(ratio, half)
        for run, case, ratio, half in zip(*columns, strict=True)
    }


def pivot_table(frame: pd.DataFrame, down: str, across: str, statistic: str) -> Table:
    """Times of a frame of one series, one axis down and one across; other differences are rows."""
    index = [down, *(name for name in varying(frame) if name not in (down, across))]
    heads = [_head(across, value) for value in dict.fromkeys(frame[across])]
    rows: dict[tuple[Any, ...], Row] = {}
    for _, entry in frame.iterrows():
        key = tuple(entry[name] for name in index)
        row = rows.setdefault(key, dict(zip(index, key, strict=True)) | dict.fromkeys(heads, ""))
        row[_head(across, entry[across])] = notes.time_cell(entry, statistic)
    return Table(list(rows.values()), [(head,) for head in reversed(heads[1:])])


def _head(axis: str, value: object) -> str:
    """What stands above a value of an axis; some cases have no such axis."""
    return f"no {axis}" if value == "" else f"{axis} {value}"


def _records(frame: pd.DataFrame, comparison: Ratios | None) -> list[Row]:
    """Everything the frame knows, a row for each run, case and series, numbers as numbers."""
    table = frame.drop(columns=["quiet_half", "typical_half", "floors"])
    for name in STATISTICS:
        for bound, sign in (("low", -1), ("high", 1)):
            table[f"{name}_{bound}_ns"] = frame[f"{name}_ns"] * np.exp(sign * frame[f"{name}_half"])
    if comparison is not None:
        keys = ["run", "case", "series"]
        table = table.join(comparison.table.set_index(keys)[["ratio", "ratio_half"]], on=keys)
    return records(table)


def _about_ratios(comparison: Ratios | None) -> list[str]:
    """Geometric means, what ± of a ratio is, and what some of the compared lack."""
    if comparison is None:
        return []
    by, lines = comparison.by, [RATIO]
    means = [f"{v} {m:.3f}" for v, m in comparison.means.items() if v != comparison.reference]
    if means:
        lines.insert(
            0,
            f"Geometric mean of the ratio to {by} {comparison.reference}, over the "
            f"{comparison.common} cases in common: {', '.join(means)}.",
        )
    if not comparison.means:
        lines.append(f"No geometric mean: no case has a {comparison.statistic} time at every {by}.")
    lines += [
        f"{by} {value} lacks: {'; '.join(keys)}." for value, keys in comparison.missing.items()
    ]
    return lines


def _about_times(frame: pd.DataFrame) -> list[str]:
    """What times mean on an asynchronous device, flags, and what is missing and why."""
    untimed = [
        (notes.untimed(row), row)
        for _, row in frame.iterrows()
        if row["status"] != "ok" or pd.isna(row["quiet_ns"])
    ]
    return [
        *([ASYNCHRONOUS] if _asynchronous(frame) else []),
        *notes.flags(frame[frame["series"] == WHOLE]),
        *([ABOUT_PEAKS] if frame["peak_bytes"].notna().any() else []),
        *(
            f"Peak memory unknown: {reason}."
            for reason in dict.fromkeys(frame["peak_reason"].dropna())
        ),
        *(
            f"Energy unavailable: {reason}."
            for reason in dict.fromkeys(frame["energy_reason"].dropna())
        ),
        *(
            f"Energy unchecked: {reason}."
            for reason in dict.fromkeys(frame["energy_unchecked"].dropna())
        ),
        *(
            f"{reason}: {', '.join(names)}."
            for reason, names in notes.by_reason(frame, untimed).items()
        ),
    ]


def _asynchronous(frame: pd.DataFrame) -> bool:
    """Whether something was timed on a device whose host runs ahead of it."""
    return bool(((frame["series"] == THROUGHPUT) & (frame["status"] == "ok")).any())


def _compile_view(runs: Sequence[RunRecord], labels: Sequence[str], frame: pd.DataFrame) -> View:
    """One table, and why figures are missing; empty where no compile time was asked for."""
    compiled = compile_frame(runs, labels, frame)
    if compiled.empty:
        return View(())
    entries = [entry for _, entry in compiled.iterrows()]
    names = [*dict.fromkeys([*varying(compiled, dimensions(frame)), "compile"])]
    rows: list[Row] = [
        {
            **{name: entry[name] for name in names},
            "first step (cold)": duration(entry["cold_s"] * 1e9),
            "first step (warm)": duration(entry["warm_s"] * 1e9),
            "eager step": duration(entry["eager_ns"]),
            "compiled step": duration(entry["steady_ns"]),
            "vs eager": notes.ratio_cell(entry["ratio"], entry["ratio_half"]),
            "break-even steps (cold)": _break_even(entry, "cold"),
            "break-even steps (warm)": _break_even(entry, "warm"),
        }
        for entry in entries
    ]
    below = [f"{e['case']} in {e['run']}: {e['reason']}." for e in entries if e["reason"]]
    alone = dict.fromkeys(e["case"] for e in entries if e["missing"] == NO_EAGER_CASE)
    if alone:
        below.append(
            f"{NO_EAGER_CASE}: the run has not measured the same case with compile off: "
            f"{', '.join(alone)}."
        )
    return View([Table(rows, COMPILE_WORTH, [ABOUT_COMPILING])], below)


def _break_even(entry: "pd.Series[Any]", caches: str) -> str:
    """How many steps, or why that is not known."""
    if entry["missing"]:
        return str(entry["missing"])
    if math.isnan(entry[f"{caches}_s"]):
        return "-"
    count = entry[f"{caches}_steps"]
    if math.isnan(count):
        return "unclear"
    return "never" if count == NEVER else f"{count:,.0f}"
