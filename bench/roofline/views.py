"""What machines were measured to reach, and how far cases are from it, as Views."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from ..errors import UsageError
from ..matrix.case import WHOLE
from ..matrix.ceiling import COPY, MATMUL, TRIAD
from ..records.run_file import RunRecord
from ..report import notes
from ..report.view import Row, Table, View, Worth, records
from ..stats.frame import varying
from ..units import duration, factor, memory, rate, share
from .advice import limits_advice
from .ceilings import Rates, Setting, ceiling_frame
from .limits import COMPILED, COUNTED, TERMS

ABOUT = (
    "limit: the least time the step can take on this machine, the largest of launching its "
    "operators (overhead), moving their operands (bandwidth) and computing their FLOP (compute), "
    "each shown as a share of the measured time. x limit: measured time over limit. fused limit: "
    "the same if each phase were one operator with the least traffic."
)
WORTH: Worth = (
    *(("FLOP/B",), ("fused limit", "x fused limit"), TERMS),
    *((name,) for name in ("limit", "flags", "bound by", "x limit")),
)
SETTING = ("run", "device", "threads")
"""Columns of the tables of ceilings, where they differ."""


def limits_view(limits: pd.DataFrame, series: str, known: dict[Setting, Rates]) -> View:
    """The limits of one series, and what to do about them; records have every series.

    `limits` is a limit_frame, and `known` the rates it is computed from. Raises UsageError where no
    case has the series.
    """
    chosen = limits[limits["series"] == series]
    if chosen.empty:
        raise UsageError(
            f"--phase: no limits are known for {series}: limits are of the whole step and of its "
            f"phases, here {', '.join(dict.fromkeys(limits['series']))}"
        )
    names = varying(chosen) or ["case"]
    flagged = chosen["flags"].map(bool).any()
    rows: list[Row] = [
        {**{name: row[name] for name in names}, **_cells(row)}
        | ({"flags": ", ".join(row["flags"])} if flagged else {})
        for _, row in chosen.iterrows()
    ]
    reasons = chosen[chosen["reason"].notna()].groupby("reason", sort=False)["case"]
    below = [
        *limits_advice(chosen),
        ABOUT,
        *_bases(chosen),
        *notes.flags(chosen),
        *(f"No limit: {reason}: {', '.join(cases)}." for reason, cases in reasons),
        *_ceiling_lines(known),
    ]
    return View([Table(rows, WORTH)], below, records(limits))


def _bases(chosen: pd.DataFrame) -> list[str]:
    """What to know of limits that no cost model is behind."""
    counted, compiled = (
        dict.fromkeys(chosen[chosen["basis"].isin(bases)]["case"])
        for bases in ((COUNTED, COMPILED), (COMPILED,))
    )
    lines = []
    if counted:
        lines.append(
            "No cost model, so that FLOP are those of matrix products and convolutions, bytes "
            "those of each eager operator's operands, both as counted in a step, and there is no "
            f"fused limit: {', '.join(counted)}."
        )
    if compiled:
        lines.append(
            "The bytes of what torch.compile compiled are not known, and left out of the limit: "
            f"{', '.join(compiled)}."
        )
    return lines


def _cells(row: "pd.Series[Any]") -> Row:
    measured = row["measured_ns"]
    marks = () if pd.isna(measured) else row["marks"]
    time = notes.marked(duration(measured), marks, "quiet")
    return {
        "step" if row["series"] == WHOLE else row["series"]: (
            time if row["status"] == "ok" else row["status"]
        ),
        "limit": duration(row["limit_ns"]),
        "bound by": "-" if pd.isna(row["bound"]) else row["bound"],
        "x limit": factor(row["headroom"]),
        **{term: share(row[f"{term}_ns"] / measured) for term in TERMS},
        "fused limit": duration(row["fused_ns"]),
        "x fused limit": factor(row["fused_headroom"]),
        "FLOP/B": f"{row['flops'] / row['bytes']:.2g}" if row["bytes"] > 0 else "-",
    }


def _ceiling_lines(known: dict[Setting, Rates]) -> list[str]:
    """The ceilings that limits are computed from; settings that share them share a line."""
    shared: dict[int, tuple[Rates, list[str]]] = {}
    several = len({label for label, _, _ in known}) > 1
    for (label, device, threads), found in known.items():
        where = f"{device} with {threads} thread{'s' if threads > 1 else ''}"
        _, settings = shared.setdefault(id(found), (found, []))
        settings.append(f"{label} {where}" if several else where)
    return [f"Ceilings, {', '.join(where)}: {_rates(found)}." for found, where in shared.values()]


def _rates(rates: Rates) -> str:
    ends = [*rates.bandwidths[:1], *rates.bandwidths[-1:]]
    moved = ", ".join(f"{rate(value)}B/s at {memory(size)}" for size, value in ends)
    peaks = ", ".join(f"{name} {rate(value)}FLOP/s" for name, value in rates.peaks.items())
    launch = f", one launch {duration(rates.launch_ns)}" if rates.launch_ns else ""
    return (
        f"copy or triad {moved}; matmul {peaks}; one operator {duration(rates.op_ns)}, one node "
        f"{duration(rates.node_ns)}{launch}"
    )


def ceilings_view(runs: Sequence[RunRecord], labels: Sequence[str]) -> View:
    """Bandwidths, matrix products and costs; records have every ceiling."""
    frame = ceiling_frame(runs, labels)
    setting = [name for name in SETTING if frame[name].nunique() > 1]
    copies, matmuls = frame["what"].isin((COPY, TRIAD)), frame["what"] == MATMUL
    bandwidths = frame[copies].assign(heading=lambda table: table["what"])
    products = frame[matmuls].assign(heading=lambda table: table["size"].map("n = {:.0f}".format))
    costs = [
        {name: entry[name] for name in setting}
        | {"cost": entry["what"], "best": _value(entry), "how": entry["how"] or ""}
        for _, entry in frame[~copies & ~matmuls].iterrows()
    ]
    tables = [
        _across(bandwidths, [*setting, "size"], "working set", memory),
        _across(products, [*setting, "dtype"], "matmul", str),
        Table(costs, [("how",)]),
    ]
    return View([table for table in tables if table.rows], _ceiling_notes(frame), records(frame))


def _across(
    frame: pd.DataFrame, index: list[str], heading: str, text: Callable[[Any], str]
) -> Table:
    """A row for each combination of `index`, its last under `heading`; across, the rates."""
    across = list(dict.fromkeys(frame["heading"]))
    rows: dict[tuple[Any, ...], Row] = {}
    for _, entry in frame.iterrows():
        key = tuple(entry[name] for name in index)
        first = dict(zip([*index[:-1], heading], [*key[:-1], text(key[-1])], strict=True))
        row = rows.setdefault(key, first | dict.fromkeys(across, ""))
        row[entry["heading"]] = _value(entry)
    return Table(list(rows.values()), [(name,) for name in reversed(across[1:])])


def _value(entry: "pd.Series[Any]") -> str:
    if entry["status"] != "ok":
        return str(entry["status"])
    if pd.isna(entry["cost_ns"]):
        return "-"
    if pd.isna(entry["unit"]):
        return duration(entry["cost_ns"])
    return f"{rate(entry['rate'])}{entry['unit']}/s"


def _ceiling_notes(frame: pd.DataFrame) -> list[str]:
    known = frame[frame["cost_ns"].notna()]
    lines = []
    if not known.empty:
        lines.append(
            "Each is the best of its replicates, by their quiet times; the median spread between "
            f"replicates is {share(known['spread'].median())}."
        )
    for what in (COPY, TRIAD, MATMUL):
        how = known[known["what"] == what]["how"]
        if not how.empty:
            lines.append(f"{what}: {how.iloc[0]}.")
    reasons = frame[frame["cost_ns"].isna()].groupby("reason")["ceiling"]
    return [*lines, *(f"No figure: {reason}: {', '.join(ids)}." for reason, ids in reasons)]
