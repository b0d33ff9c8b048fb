"""Verdicts on two stored runs of one machine.

The gate measures its two sides in turn and has interim looks. Here there are two runs, one after
the other, between which the machine may have drifted: the words are the gate's, the test is not.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, special

from ..errors import UsageError
from ..machine.circumstances import PLACE, differences
from ..records.run_file import RunRecord
from ..records.verdicts import (
    EQUIVALENT,
    IMPROVED,
    INCONCLUSIVE,
    INVALID,
    REGRESSED,
    VERDICTS,
    Verdict,
    worst,
)
from ..stats.estimates import MIN_REPLICATES, POWER_SIGMAS, SIGMAS, Floats, ratio_half
from ..stats.frame import BUSY, FEW, axes_in

ALPHA = 0.01
"""How often A/A runs may have a series called regressed, over all series of both runs; and as often
improved. The gate's."""
LEAST_ERROR = 1e-9
"""Of a series without any spread, so that nothing is divided by zero."""
EQUIVALENCE = float(special.ndtri(0.95)) / SIGMAS
"""Of a half-width: two one-sided tests at 5%, an interval of 90%."""


@dataclass(frozen=True)
class StoredRules:
    """What makes a verdict. Shares: 0.05 is five per cent."""

    margin: float = 0.05
    """Two times that differ by less are equivalent. Runs differ by 2% though nothing else does, so
    that a margin of 3%, the gate's, would leave a third of A/A series undecided."""
    threshold: float = 0.03
    """A detected difference smaller than this is not called. Hardly less can be detected."""


def check_comparable(base: RunRecord, head: RunRecord) -> None:
    """Raise UsageError unless the code and the time are all that must differ between two runs."""
    for what, values in differences((base, head), PLACE).items():
        raise UsageError(
            f"--verdicts takes two runs of one machine and software: these differ in their "
            f"{what} ({', '.join(values)})"
        )


def judge(frame: pd.DataFrame, base: str, head: str, rules: StoredRules) -> pd.DataFrame:
    """A row for each case and series of either run, the worst first.

    Columns: those of `evidence`, bound (see `bounds`), detectable (the minimum detectable slowdown
    at a power of 80%, a logarithm) and verdict; reason is why a row is invalid or inconclusive, or
    a remark.
    """
    table = evidence(frame, base, head)
    effect, half = table["effect"].to_numpy(), table["half"].to_numpy()
    bound = bounds(half, table["drift"].max())
    table["bound"], table["verdict"] = bound, words(effect, half, bound, rules)
    least = np.maximum(bound, math.log1p(rules.threshold))
    table["detectable"] = least + POWER_SIGMAS / SIGMAS * half
    table["reason"] = [_reason(row, rules) for _, row in table.iterrows()]
    order = np.lexsort((-np.abs(effect), table["verdict"].map(VERDICTS.index), ~table["counts"]))
    return table.iloc[order].reset_index(drop=True)


def outcome_of(table: pd.DataFrame) -> Verdict:
    """The worst verdict of those that count; invalid where none does."""
    return worst(table.loc[table["counts"], "verdict"])


def evidence(frame: pd.DataFrame, base: str, head: str) -> pd.DataFrame:
    """What two runs of a tidy frame show of every case and series that either has.

    Columns: case, the axes, series, base_ns and head_ns (quiet times), effect (the logarithm of
    head over base), half (of its 95% interval), drift (the standard deviation in it of what all
    series of two runs differ by), reason (why there is no effect, or empty) and counts (False where
    neither run could have it: the machine's doing, and no verdict on the code).

    There is no effect where a run has too few replicates that got quiet, or where the two do not
    refer to the same speed of the machine.
    """
    sides = {
        run: {(row["case"], row["series"]): row for row in of_run.to_dict("records")}
        for run, of_run in ((run, frame[frame["run"] == run]) for run in (base, head))
    }
    rows: list[dict[str, Any]] = []
    for key in dict.fromkeys([*sides[base], *sides[head]]):
        found = {run: side[key] for run, side in sides.items() if key in side}
        known = next(iter(found.values()))
        reasons = [_why_unusable(run, found.get(run)) for run in sides]
        if not any(reasons):
            reasons = [_why_apart(*found.values())]
        times = [found[run]["quiet_ns"] if run in found else np.nan for run in sides]
        comparable = not any(reasons)
        halves = [row["quiet_half"] for row in found.values()]
        rows.append(
            {
                "case": known["case"],
                **{name: known[name] for name in axes_in(frame)},
                "series": known["series"],
                "base_ns": times[0],
                "head_ns": times[1],
                "effect": float(np.log(times[1] / times[0])) if comparable else np.nan,
                "half": ratio_half(*halves) if comparable else np.nan,
                "drift": max(row["quiet_drift"] for row in found.values()) * math.sqrt(2),
                "reason": "; ".join(dict.fromkeys(filter(None, reasons))),
                "counts": len(found) < 2 or not all(map(_unavailable, found.values())),
            }
        )
    return pd.DataFrame(rows)


def bounds(half: Floats, drift: float) -> Floats:
    """How large each effect must be to be detected, a logarithm; NaN for NaN.

    `drift` is the standard deviation of what two runs differ by in all series.

    Simultaneous: of A/A runs any effect passes its bound upwards ALPHA of the time at most, and
    downwards as often. An effect is a drift that all series of the two runs share, and an error of
    its own. Each bound is the same number of the effect's standard errors, and that number is the
    quantile of the largest of such effects, as in Dunnett's comparisons with one control (1955),
    which share the control's error. Errors that are correlated, as those of a phase and its step
    are, make the largest smaller still (Slepian's inequality).
    """
    known = half[~np.isnan(half)]
    if not len(known):
        return half
    own = np.sqrt(np.maximum((known / SIGMAS) ** 2 - drift**2, LEAST_ERROR**2))
    error = np.hypot(own, drift)
    drifts = np.linspace(-6, 6, 401)[:, np.newaxis]
    weights = np.exp(-(drifts[:, 0] ** 2) / 2)
    weights /= weights.sum()

    def excess(errors: float) -> float:
        none_passes = special.log_ndtr((errors * error - drifts * drift) / own).sum(axis=1)
        return float(1 - weights @ np.exp(none_passes) - ALPHA)

    return half / SIGMAS * float(optimize.brentq(excess, 0.0, 12.0))


def words(
    effect: Floats, half: Floats, bound: Floats, rules: StoredRules
) -> "np.ndarray[Any, Any]":
    """The verdict of each effect, a logarithm; invalid where it is NaN."""
    large = (np.abs(effect) > bound) & (np.abs(effect) >= math.log1p(rules.threshold))
    return np.select(
        [
            np.isnan(effect),
            large & (effect > 0),
            large,
            np.abs(effect) + EQUIVALENCE * half <= math.log1p(rules.margin),
        ],
        [INVALID, REGRESSED, IMPROVED, EQUIVALENT],
        INCONCLUSIVE,
    )


def _unavailable(row: dict[Hashable, Any]) -> bool:
    """Whether the machine could not have it: the case, or phases that cannot be told apart."""
    return row["status"] in ("unsupported", "ok") and not pd.isna(row["reason"])


def _why_unusable(run: str, row: dict[Hashable, Any] | None) -> str | None:
    if row is None:
        return f"{run} does not have it"
    if row["status"] != "ok":
        return f"{row['status']} in {run}: {row['reason']}"
    if FEW in row["marks"]:
        return f"{run} has {row['replicates']} of the {MIN_REPLICATES} replicates a verdict needs"
    if BUSY in row["marks"]:
        return (
            f"{run}: the machine was busy, and came near its speed in {row['quiet_replicates']} "
            f"of {row['replicates']} replicates; a verdict needs {MIN_REPLICATES}"
        )
    why = "" if pd.isna(row["reason"]) else f": {row['reason']}"
    return None if pd.notna(row["quiet_ns"]) else f"{run} has no time{why}"


def _why_apart(base: dict[Hashable, Any], head: dict[Hashable, Any]) -> str | None:
    """Where a machine changed its speed between two runs, no difference is the code's."""
    logs = [math.log(head["floors"][name] / floor) for name, floor in base["floors"].items()]
    pace = math.exp(np.mean(logs))
    if pace == 1:
        return None
    way = "slower" if pace > 1 else "faster"
    return f"the machine itself was {max(pace, 1 / pace):.2f} times {way} during the head's run"


def _reason(row: "pd.Series[Any]", rules: StoredRules) -> str:
    effect, way = row["effect"], "slower" if row["effect"] > 0 else "faster"
    if row["verdict"] == INCONCLUSIVE:
        low, high = np.expm1(effect + EQUIVALENCE * row["half"] * np.array([-1, 1]))
        return f"90% interval {low:+.1%} to {high:+.1%}"
    if row["verdict"] == EQUIVALENT and abs(effect) > row["bound"]:
        return f"{way} by less than the threshold of {rules.threshold:.1%}"
    return str(row["reason"])
