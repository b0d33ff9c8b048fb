"""What compiling costs and saves, as a table."""

import math
from collections.abc import Sequence

import pandas as pd

from bench.analysis.compare import varying
from bench.analysis.compiling import NEVER, compile_frame
from bench.records.schema import RunRecord
from bench.report.tables import Row, prose, render
from bench.report.terminal import Worth
from bench.report.units import duration, percent

WORTH: Worth = (
    ("eager step", "compiled step"),
    ("pays after, cold",),
    ("first step, warm", "pays after, warm"),
    ("vs eager",),
)


def compile_text(
    runs: Sequence[RunRecord],
    labels: Sequence[str],
    frame: pd.DataFrame,
    style: str,
    width: int | None = None,
) -> list[str]:
    """The table and the lines under it; nothing where no compile time was asked for."""
    compiled = compile_frame(runs, labels, frame)
    if compiled.empty:
        return []
    names = [*dict.fromkeys([*varying(compiled), "compile"])]
    rows: list[Row] = [
        {
            **{name: row[name] for name in names},
            "first step, cold": duration(row["cold_s"] * 1e9),
            "first step, warm": duration(row["warm_s"] * 1e9),
            "eager step": duration(row["eager_ns"]),
            "compiled step": duration(row["steady_ns"]),
            "vs eager": "-"
            if math.isnan(row["ratio"])
            else f"{row['ratio']:.3f} ± {percent(row['ratio_half'])}",
            "pays after, cold": _steps(row["cold_steps"]),
            "pays after, warm": _steps(row["warm_steps"]),
        }
        for _, row in compiled.iterrows()
    ]
    told = (
        "What compiling costs: the first step in a process of its own, with empty caches (cold) "
        "and with what they held then (warm); and the steps after which that is saved. unclear: "
        "the two steps are too close to tell."
    )
    reasons = [
        f"{row['case']} in {row['run']}: {row['reason']}."
        for _, row in compiled.iterrows()
        if row["reason"]
    ]
    return [*prose([told], style), "", render(rows, style, WORTH, width), *prose(reasons, style)]


def _steps(count: float) -> str:
    if math.isnan(count):
        return "unclear"
    return "never" if count == NEVER else f"{count:,.0f} steps"
