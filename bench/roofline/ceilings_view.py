"""What machines were measured to reach, as tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import UsageError, check_allowed
from bench.matrix.ceiling import COPY, MATMUL, TRIAD
from bench.records.loading import load_runs
from bench.records.run_file import RunRecord
from bench.records.store import load_run
from bench.report.tables import FORMATS, Row, machine_notes, prose, render
from bench.report.terminal import Worth
from bench.roofline.ceilings import Rates, ceiling_frame
from bench.units import duration, memory, rate, share

PLACE = ("run", "device", "threads")
HEADINGS = ("all arrays", "dtype", "what")
"""Of the column that says what was measured."""


def ceilings_files(files: Sequence[Path], style: str, width: int | None = None) -> str:
    """The ceilings in run files. Raises UsageError where none has any."""
    check_allowed("format", style, FORMATS)
    _, labels, runs = load_runs(files, load=load_run)
    if not any(run.ceilings for run in runs):
        raise UsageError("no ceilings in these files: measure them with `ceilings`")
    text = ceilings_text(runs, labels, style, width)
    if style in ("csv", "tsv"):
        return text
    return "\n".join([text, *prose(machine_notes(runs, labels), style)])


def ceilings_text(
    runs: Sequence[RunRecord],
    labels: Sequence[str],
    style: str = "github",
    width: int | None = None,
) -> str:
    """Bandwidths, products and costs, and what is to know of them."""
    frame = ceiling_frame(runs, labels)
    if style == "csv":
        return render(
            [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")], style
        )
    place = [name for name in PLACE if frame[name].nunique() > 1]
    tables = (_bandwidths(frame, place), _products(frame, place), _costs(frame, place))
    parts = [render(rows, style, _worth(rows), width) for rows in tables if rows]
    if style == "tsv":
        return "\n\n".join(parts)
    return "\n\n".join(parts) + "\n" + "\n".join(prose(_notes(frame), style))


def _worth(rows: Sequence[Row]) -> Worth:
    """How a cost was measured; of rates, those after the first, the last first."""
    across = [name for name in rows[0] if name not in (*PLACE, *HEADINGS)]
    return [(name,) for name in reversed(across[1:])]


def _bandwidths(frame: pd.DataFrame, place: list[str]) -> list[Row]:
    chosen = frame[frame["what"].isin((COPY, TRIAD))]
    return _across(chosen, [*place, "size"], "what", lambda size: memory(float(size)), "all arrays")


def _products(frame: pd.DataFrame, place: list[str]) -> list[Row]:
    chosen = frame[frame["what"] == MATMUL]
    chosen = chosen.assign(width=[f"rows {size:.0f}" for size in chosen["size"]])
    return _across(chosen, [*place, "dtype"], "width", str, "dtype")


def _across(
    frame: pd.DataFrame, index: list[str], columns: str, told: Any, heading: str
) -> list[Row]:
    """One row for each combination of `index`, its last told under `heading`; rates across."""
    found: dict[tuple[Any, ...], Row] = {}
    for _, entry in frame.iterrows():
        key = tuple(entry[name] for name in index)
        first = dict(zip(index[:-1], key, strict=False)) | {heading: told(key[-1])}
        found.setdefault(key, first)[entry[columns]] = _value(entry)
    return list(found.values())


def _costs(frame: pd.DataFrame, place: list[str]) -> list[Row]:
    chosen = frame[~frame["what"].isin((COPY, TRIAD, MATMUL))]
    return [
        {**{name: entry[name] for name in place}, "what": entry["what"], "best": _value(entry)}
        | {"how": entry["how"] or ""}
        for _, entry in chosen.iterrows()
    ]


def _value(entry: "pd.Series[Any]") -> str:
    if entry["status"] != "ok":
        return str(entry["status"])
    if pd.isna(entry["cost_ns"]):
        return "-"
    if pd.isna(entry["unit"]):
        return duration(entry["cost_ns"])
    return f"{rate(entry['rate'])}{entry['unit']}/s"


def _notes(frame: pd.DataFrame) -> list[str]:
    known = frame[frame["cost_ns"].notna()]
    lines = []
    if not known.empty:
        lines.append(
            "Each is the best of its replicates, its time taken as quiet times are. Fastest and "
            f"slowest differ by {share(known['spread'].median())} in the median."
        )
    for what in (COPY, TRIAD, MATMUL):
        how = known[known["what"] == what]["how"]
        if not how.empty:
            lines.append(f"{what}: {how.iloc[0]}.")
    missing = frame[frame["cost_ns"].isna()]
    for reason, group in missing.groupby("reason"):
        lines.append(f"No figure: {reason}: {', '.join(group['ceiling'])}.")
    return lines


def rates_line(rates: Rates) -> str:
    """The ceilings that limits stand on, in a line."""
    bandwidths = [*rates.bandwidths[:1], *rates.bandwidths[-1:]]
    moved = ", ".join(f"{rate(value)}B/s at {memory(size)}" for size, value in bandwidths)
    peaks = ", ".join(f"{name} {rate(value)}FLOP/s" for name, value in rates.peaks.items())
    launch = f", one launch {duration(rates.launch_ns)}" if rates.launch_ns else ""
    return (
        f"copy or triad {moved}; products {peaks}; one operator {duration(rates.op_ns)}, one node "
        f"{duration(rates.node_ns)}{launch}"
    )
