"""The levels of each case's times over the runs of one machine, and where they changed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from ruptures.base import BaseCost
from ruptures.detection import Pelt
from scipy import special

from ..errors import UsageError
from ..machine.circumstances import exchanged
from ..records.run_file import RunRecord
from ..stats.estimates import CONFIDENCE, SIGMAS, Floats
from ..stats.frame import BUSY, FEW, QUIET, tidy

MIN_LEVEL = 2
"""Runs that a level needs: a single slow run may be the machine's bad hour."""
MIN_RUNS = 2 * MIN_LEVEL
"""With fewer times a history is too short for a change point."""
NO_LEVEL = -1
HISTORY = ("environment", "reference loop", "state", "hardware")
"""Columns whose values each have a history: times of two do not compare."""


@dataclass(frozen=True, eq=False)
class Trend:
    """The history of one case, within what HISTORY names.

    `table` has the rows of the tidy frame, in the order in which they were measured, and columns
    reference loop (its version), state (how much slower the machine was than at its best), hardware
    (what the case ran on, where runs call several devices the same; else empty), time_ns and half
    (of the statistic asked for), level (a number from 0 on, or NO_LEVEL), level_ns and level_half
    (NaN where there is none), and lone (a time on no level). The first run after a change of level
    has changed_since (the last run on the level before), change (the level after over the level
    before) and change_half (of its 95% confidence interval, a logarithm).
    """

    case: str
    table: pd.DataFrame

    @property
    def changes(self) -> pd.DataFrame:
        """The rows of the first run after each change."""
        return self.table.dropna(subset=["change"])

    @property
    def timed(self) -> pd.DataFrame:
        """The runs that have a time."""
        return self.table.dropna(subset=["time_ns"])

    @property
    def long_enough(self) -> bool:
        return len(self.timed) >= MIN_RUNS

    @property
    def no_level(self) -> bool:
        """Whether it is long enough, and no two runs in a row agree."""
        return self.long_enough and bool(self.timed["lone"].all())


class _Weighted(BaseCost):  # type: ignore[misc]
    """The weighted sum of squares around the weighted mean: the chi-squared of one level.

    Signal: a column of values and one of their weights, 1 over their variance.
    """

    model = "weighted l2"
    min_size = 1

    def fit(self, signal: Floats) -> "_Weighted":
        self.signal = signal
        value, weight = signal.T
        terms = np.stack([weight, weight * value, weight * value**2])
        self.sums = np.pad(terms.cumsum(axis=1), ((0, 0), (1, 0))).T.tolist()
        return self

    def error(self, start: int, end: int) -> float:
        low, high = self.sums[start], self.sums[end]
        weight, first, second = (after - before for before, after in zip(low, high, strict=True))
        return float(second - first**2 / weight)


def penalty(places: int) -> float:
    """What a change point must lower chi-squared by, to be accepted at one of so many places.

    Where nothing changed, a split at a given place lowers it as a chi-squared of one degree of
    freedom does. By Bonferroni's inequality, a split is then accepted at any of the places in at
    most 1 - CONFIDENCE of tables.
    """
    return float(special.chdtri(1, (1 - CONFIDENCE) / places))


def levels(logs: Floats, halves: Floats, penalty: float) -> NDArray[np.int_]:
    """The number of the level that each log time is on, or NO_LEVEL.

    PELT (Killick, Fearnhead and Eckley 2012) finds the levels that fit best where each change has
    to lower chi-squared by the penalty. The noise is the records': a half-width is SIGMAS
    standard deviations of the difference between two runs, drift included. PELT may find segments
    of any length, for which it is exact; those shorter than MIN_LEVEL are set aside and the rest is
    searched again, as one bad run would pull its neighbour onto a level of its own.
    """
    found = np.full(len(logs), NO_LEVEL)
    deviations = halves / (SIGMAS * np.sqrt(2))
    kept = np.arange(len(logs))
    while len(kept) >= MIN_LEVEL:
        centred = logs[kept] - logs[kept].mean()
        signal = np.column_stack([centred, deviations[kept] ** -2.0])
        search = Pelt(custom_cost=_Weighted(), min_size=1, jump=1)
        sizes = np.diff([0, *search.fit_predict(signal, penalty)])
        lasting = np.repeat(sizes >= MIN_LEVEL, sizes)
        if lasting.all():
            found[kept] = np.repeat(np.arange(len(sizes)), sizes)
            break
        kept = kept[lasting]
    return found


def trends(history: Mapping[str, RunRecord], series: str, statistic: str) -> list[Trend]:
    """One for each case within each of HISTORY; `history` is a load_history.

    Raises UsageError where no case has the series.
    """
    # Pooled, a change of level would count as drift, and hide itself.
    frame = tidy(list(history.values()), list(history), pooled=False)
    chosen = frame[frame["series"] == series].copy()
    if chosen.empty:
        raise UsageError(f"--phase: no case here is timed by {series}")
    versions = {label: run.reference_loop_version for label, run in history.items()}
    chosen["reference loop"] = chosen["run"].map(versions)
    chosen["half"] = chosen[f"{statistic}_half"]
    usable = chosen["half"].notna()
    if statistic == QUIET:
        usable &= chosen["marks"].map(lambda marks: not {FEW, BUSY} & set(marks))
    chosen["time_ns"] = chosen[f"{statistic}_ns"].where(usable)
    chosen["state"] = _states(chosen) if statistic == QUIET else ""
    chosen["hardware"] = _hardware(history, chosen)
    histories = [
        (str(case), table)
        for _, kind in chosen.groupby(list(HISTORY), sort=False)
        for case, table in kind.groupby("case", sort=False)
    ]
    counts = [int(table["time_ns"].notna().sum()) for _, table in histories]
    places = sum(count - 1 for count in counts if count >= MIN_RUNS)
    return [_trend(case, table, places) for case, table in histories]


def history_name(environment: str, version: int, *others: str) -> str:
    """A history by its values of HISTORY."""
    return ", ".join(
        [f"{environment} environment", f"reference loop {version}", *filter(None, others)]
    )


def _hardware(history: Mapping[str, RunRecord], chosen: pd.DataFrame) -> list[str]:
    """What each row's case ran on, where runs call several devices the same; else empty."""
    if not exchanged(run.devices for run in history.values()):
        return [""] * len(chosen)
    places = zip(chosen["run"], chosen["device"], strict=True)
    devices = ((name, history[run].devices.get(name)) for run, name in places)
    return [device.label if device else str(name) for name, device in devices]


def _states(chosen: pd.DataFrame) -> "pd.Series[str]":
    """The machine's speed state in each quiet time; empty where that is its best.

    A case without a block has that of the others of its run.
    """
    measured = chosen["replicates"] > 0
    words = chosen["slower"].map("{:.2g}x slower".format).where(chosen["slower"] > 1, "")
    of_run = words[measured].groupby(chosen["run"]).first()
    return words.where(measured, chosen["run"].map(of_run).fillna(""))


def _trend(case: str, table: pd.DataFrame, places: int) -> Trend:
    """`places`: at which a change could be found, in all histories together."""
    table = table.reset_index(drop=True).assign(
        level=NO_LEVEL, level_ns=np.nan, level_half=np.nan, lone=False
    )
    timed = table.index[table["time_ns"].notna()]
    if len(timed) >= MIN_RUNS:
        logs = np.log(table.loc[timed, "time_ns"].to_numpy(float))
        halves = table.loc[timed, "half"].to_numpy(float)
        found = levels(logs, halves, penalty(places))
        weights = halves**-2.0
        table.loc[timed, "level"] = found
        table.loc[timed, "lone"] = found == NO_LEVEL
        for level in range(found.max() + 1):
            on = found == level
            mean = np.average(logs[on], weights=weights[on])
            table.loc[timed[on], "level_ns"] = np.exp(mean)
            # Half-widths are of the difference of two runs; a level is one mean of several.
            table.loc[timed[on], "level_half"] = (2 * weights[on].sum()) ** -0.5
    after = table[table["level"] != NO_LEVEL]
    before = after[["run", "level", "level_ns", "level_half"]].shift()
    changes = pd.DataFrame(
        {
            "changed_since": before["run"],
            "change": after["level_ns"] / before["level_ns"],
            "change_half": np.hypot(after["level_half"], before["level_half"]),
        }
    )
    return Trend(case, table.join(changes[after["level"] > before["level"]]))
