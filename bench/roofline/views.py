"""How far cases are from what their machine can do, as a table and a chart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import UsageError, check_allowed
from bench.matrix.case import WHOLE
from bench.records.loading import load_runs
from bench.records.store import load_run
from bench.report.charts import check_chart, save_chart
from bench.report.tables import (
    FORMATS,
    Row,
    flag_lines,
    machine_notes,
    mark_lines,
    marked,
    prose,
    records,
    render,
)
from bench.report.terminal import Worth
from bench.roofline.advice import limits_advice
from bench.roofline.ceilings import Rates, Setting, ceiling_frame, rates
from bench.roofline.ceilings_view import rates_line
from bench.roofline.chart import roofline
from bench.roofline.limits import LIMITED, TERMS, limit_frame
from bench.stats.frame import tidy, varying
from bench.units import duration, factor, memory, share

ABOUT = (
    "limit: the least time the step can take here, the largest of what its operators cost to give "
    "out (overhead), their operands to move (bandwidth) and their FLOP to compute (compute), each "
    "shown as its part of the measured time. fused limit: the same were each phase one operator "
    "with the least traffic."
)

WORTH: Worth = (
    ("FLOP/B",),
    ("fused limit", "over fused"),
    TERMS,
    ("limit",),
    ("flags",),
    ("bound",),
    ("over limit",),
)


def print_limits(
    files: Sequence[Path],
    results: Path,
    series: str,
    style: str,
    charts: Sequence[Path],
    width: int | None = None,
) -> None:
    """Print the limits of the cases in run files, then write charts of them.

    Raises UsageError for an option that is not allowed and files that cannot be read or drawn.
    """
    check_allowed("phase", series, LIMITED)
    check_allowed("format", style, FORMATS)
    if charts and series != WHOLE:
        raise UsageError(f"--roofline draws whole steps: drop --phase {series}")
    for path in charts:
        check_chart(path)
    _, labels, runs = load_runs(files, results, load_run)
    if not any(run.cases for run in runs):
        raise UsageError("these files hold ceilings alone: name a run that measured cases too")
    known = rates(runs, labels, ceiling_frame(runs, labels))
    frame = tidy(runs, labels)
    limits = limit_frame(runs, labels, frame, known)
    if style == "csv":
        told = limits.assign(
            flags=limits["flags"].map(", ".join), marks=limits["marks"].map(", ".join)
        )
        print(render(records(told), style))
    else:
        print(limits_text(limits, series, style, width))
    if style not in ("csv", "tsv"):
        marks = mark_lines(frame[frame["series"] == series])
        below = [*marks, *_ceiling_lines(known), *machine_notes(runs, labels)]
        print("\n".join(prose(below, style)))
    for path in charts:
        save_chart(roofline(limits, _roofs(known)), path)


def limits_text(
    limits: pd.DataFrame, series: str, style: str = "github", width: int | None = None
) -> str:
    """The table of one series, what to do about it, and why some have no limit."""
    chosen = limits[limits["series"] == series]
    if chosen.empty:
        raise UsageError(f"--phase: no case here is timed by {series}")
    names = varying(chosen) or ["case"]
    flagged = chosen["flags"].map(bool).any()
    rows: list[Row] = [
        {**{name: row[name] for name in names}, **_cells(row)}
        | ({"flags": ", ".join(row["flags"])} if flagged else {})
        for _, row in chosen.iterrows()
    ]
    text = render(rows, style, WORTH, width)
    if style == "tsv":
        return text
    lines = [*limits_advice(chosen), ABOUT, *flag_lines(chosen), *_reasons(chosen)]
    return "\n".join([text, *prose(lines, style)])


def _cells(row: "pd.Series[Any]") -> Row:
    heading = "step" if row["series"] == WHOLE else row["series"]
    measured = row["measured_ns"]
    marks = () if pd.isna(measured) else row["marks"]
    time = marked(duration(measured), marks, "quiet")
    return {
        heading: time if row["status"] == "ok" else row["status"],
        "limit": duration(row["limit_ns"]),
        "bound": "-" if pd.isna(row["bound"]) else row["bound"],
        "over limit": factor(row["headroom"]),
        **{term: share(row[f"{term}_ns"] / measured) for term in TERMS},
        "fused limit": duration(row["fused_ns"]),
        "over fused": factor(row["fused_headroom"]),
        "FLOP/B": "-" if pd.isna(row["flops"]) else f"{row['flops'] / row['bytes']:.2g}",
    }


def _reasons(chosen: pd.DataFrame) -> list[str]:
    missing = chosen[chosen["reason"].notna()]
    return [
        f"No limit: {reason}: {', '.join(group['case'])}."
        for reason, group in missing.groupby("reason", sort=False)
    ]


def _ceiling_lines(known: dict[Setting, Rates]) -> list[str]:
    """Of each place; runs that share their ceilings share a line."""
    of: dict[int, tuple[Rates, list[str]]] = {}
    several = len({label for label, _, _ in known}) > 1
    for (label, device, threads), found in known.items():
        place = f"{device} with {threads} thread{'s' if threads > 1 else ''}"
        _, where = of.setdefault(id(found), (found, []))
        where.append(f"{label} {place}" if several else place)
    return [f"Ceilings, {', '.join(where)}: {rates_line(found)}." for found, where in of.values()]


def _roofs(known: dict[Setting, Rates]) -> pd.DataFrame:
    """A row for each roof, as the chart has them: the smallest and the largest working set's
    bandwidth, and the peak of each dtype."""
    rows: list[dict[str, Any]] = []
    for (label, device, threads), found in known.items():
        at = {"run": label, "device": device, "threads": threads}
        for size, value in (found.bandwidths[0], found.bandwidths[-1]):
            name = f"bandwidth, {memory(size)}"
            rows.append({**at, "kind": "bandwidth", "name": name, "value": value})
        for dtype, value in found.peaks.items():
            rows.append({**at, "kind": "compute", "name": f"matmul {dtype}", "value": value})
    return pd.DataFrame(rows, columns=["run", "device", "threads", "kind", "name", "value"])
