"""What compiling costs and saves, as a table."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.compare.compile_costs import NEVER, NO_EAGER_CASE, compile_frame
from bench.records.run_file import RunRecord
from bench.report.tables import Row, prose, render
from bench.report.terminal import Worth
from bench.stats.frame import varying
from bench.units import duration, percent

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
            "pays after, cold": _pays(row, "cold"),
            "pays after, warm": _pays(row, "warm"),
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
    alone = [row["case"] for _, row in compiled.iterrows() if row["missing"] == NO_EAGER_CASE]
    if alone:
        reasons.append(
            f"{NO_EAGER_CASE}: its run did not measure the same case with compile off: "
            f"{', '.join(dict.fromkeys(alone))}."
        )
    return [*prose([told], style), "", render(rows, style, WORTH, width), *prose(reasons, style)]


def _pays(row: "pd.Series[Any]", caches: str) -> str:
    """After how many steps, or why that is not known."""
    if row["missing"]:
        return str(row["missing"])
    if math.isnan(row[f"{caches}_s"]):
        return "-"
    count = row[f"{caches}_steps"]
    if math.isnan(count):
        return "unclear"
    return "never" if count == NEVER else f"{count:,.0f} steps"
