"""Whether compiling pays: what it costs once, and what it saves on every step after."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.matrix.axes import AXES
from bench.matrix.case import WHOLE
from bench.records.schema import CompileTimes, RunRecord

NEVER = math.inf
UNCLEAR = math.nan


def compile_frame(
    runs: Sequence[RunRecord], labels: Sequence[str], frame: pd.DataFrame
) -> pd.DataFrame:
    """A row for each compiled case whose compile times were measured, beside its eager twin.

    Columns: run, case, the axes, cold_s and warm_s (the first step with empty and with full caches,
    seconds), reason (why one is missing), steady_ns and eager_ns (quiet times of the whole step,
    nanoseconds), ratio and ratio_half (steady over eager), cold_steps and warm_steps (the steps
    after which compiling has paid: NEVER where a step is not faster, NaN where that is not known).
    """
    whole = frame[frame["series"] == WHOLE]
    rows: list[dict[str, Any]] = []
    for run, label in zip(runs, labels, strict=True):
        of_run = whole[whole["run"] == label]
        for case in run.cases:
            if case.compile_times is not None:
                rows.append({"run": label, **_row(case.id, case.compile_times, of_run)})
    return pd.DataFrame(rows)


def _row(case: str, times: CompileTimes, whole: pd.DataFrame) -> dict[str, Any]:
    steady = whole[whole["case"] == case].iloc[0]
    eager = _eager_twin(steady, whole)
    row: dict[str, Any] = {
        "case": case,
        **{name: steady[name] for name in AXES},
        "cold_s": math.nan if times.cold is None else times.cold.first_step_ns / 1e9,
        "warm_s": math.nan if times.warm is None else times.warm.first_step_ns / 1e9,
        "reason": times.reason,
        "steady_ns": steady["quiet_ns"],
        "eager_ns": math.nan if eager is None else eager["quiet_ns"],
        "ratio": math.nan,
        "ratio_half": math.nan,
    }
    if eager is not None:
        row["ratio"] = steady["quiet_ns"] / eager["quiet_ns"]
        row["ratio_half"] = float(np.hypot(steady["quiet_half"], eager["quiet_half"]))
    for name in ("cold", "warm"):
        row[f"{name}_steps"] = break_even(row[f"{name}_s"], row)
    return row


def _eager_twin(steady: "pd.Series[Any]", whole: pd.DataFrame) -> "pd.Series[Any] | None":
    same = [name for name in AXES if name != "compile"]
    twins = whole[(whole[same] == steady[same]).all(axis=1) & (whole["compile"] == "off")]
    return None if twins.empty else twins.iloc[0]


def break_even(compile_s: float, row: dict[str, Any]) -> float:
    """Steps until compiling has saved the time it took: at least one, NEVER, or UNCLEAR.

    UNCLEAR where either time is unknown, or their ratio could be 1 within its interval.
    """
    if math.isnan(compile_s) or math.isnan(row["ratio"]):
        return UNCLEAR
    if abs(math.log(row["ratio"])) <= row["ratio_half"]:
        return UNCLEAR
    if row["ratio"] > 1:
        return NEVER
    return max(1.0, compile_s * 1e9 / float(row["eager_ns"] - row["steady_ns"]))
