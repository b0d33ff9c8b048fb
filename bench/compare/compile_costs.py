"""Whether compiling pays: what it costs once, and what it saves on every step after."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import pandas as pd

from ..records.run_file import CaseRecord, RunRecord
from ..stats.estimates import ratio_half
from ..stats.frame import axes_in, steps

NEVER = math.inf
UNCLEAR = math.nan
NO_EAGER_CASE = "no eager case"


def compile_frame(
    runs: Sequence[RunRecord], labels: Sequence[str], frame: pd.DataFrame
) -> pd.DataFrame:
    """A row for each compiled case whose compile times were measured, beside its eager twin.

    Columns: run, case, the axes, cold_s and warm_s (the first step with empty and with full caches,
    seconds), reason (why one is missing, or nothing), steady_ns and eager_ns (quiet times of a
    step, as ranks have it, nanoseconds), ratio and ratio_half (steady over eager), missing (which
    of the two has no time and why, or nothing), cold_steps and warm_steps: see `break_even`.
    """
    timed = steps(frame, "quiet")
    keys = zip(timed["run"], timed["case"], strict=True)
    known = dict(zip(keys, zip(timed["quiet_ns"], timed["quiet_half"], strict=True), strict=True))
    rows: list[dict[str, Any]] = []
    for run, label in zip(runs, labels, strict=True):
        records = {record.id: record for record in run.cases}
        for record in run.cases:
            if record.compile_times is None:
                continue
            cold, warm = record.compile_times.cold, record.compile_times.warm
            eager_id = msgspec.structs.replace(record.case, compile="off").id
            steady_ns, steady_half = known.get((label, record.id), (math.nan, math.nan))
            eager_ns, eager_half = known.get((label, eager_id), (math.nan, math.nan))
            half = ratio_half(steady_half, eager_half)
            cold_s, warm_s = (
                math.nan if t is None else t.first_step_ns / 1e9 for t in (cold, warm)
            )
            rows.append(
                {
                    "run": label,
                    "case": record.id,
                    **{name: record.case.axes.get(name, "") for name in axes_in(frame)},
                    "cold_s": cold_s,
                    "warm_s": warm_s,
                    "reason": record.compile_times.reason or "",
                    "steady_ns": steady_ns,
                    "eager_ns": eager_ns,
                    "ratio": steady_ns / eager_ns,
                    "ratio_half": half,
                    "missing": _missing(record, steady_ns, records.get(eager_id), eager_ns),
                    "cold_steps": break_even(cold_s, steady_ns, eager_ns, half),
                    "warm_steps": break_even(warm_s, steady_ns, eager_ns, half),
                }
            )
    return pd.DataFrame(rows)


def _missing(
    compiled: CaseRecord, steady_ns: float, eager: CaseRecord | None, eager_ns: float
) -> str:
    if eager is None:
        return NO_EAGER_CASE
    for name, record, time_ns in (("eager", eager, eager_ns), ("compiled", compiled, steady_ns)):
        if record.status != "ok":
            return f"{name} case {record.status}"
        if math.isnan(time_ns):
            return f"no {name} time"
    return ""


def break_even(compile_s: float, steady_ns: float, eager_ns: float, ratio_half: float) -> float:
    """Steps until compiling has saved the time it took: at least one, NEVER, or UNCLEAR.

    UNCLEAR where a time is unknown (NaN), or the ratio of the two steps, whose half-width is a
    logarithm, could be 1 within its interval. NEVER where the compiled step is not faster.
    """
    effect = math.log(steady_ns / eager_ns)
    if math.isnan(compile_s) or not abs(effect) > ratio_half:  # nor where either of these is NaN
        return UNCLEAR
    return NEVER if effect > 0 else max(1.0, compile_s * 1e9 / (eager_ns - steady_ns))
