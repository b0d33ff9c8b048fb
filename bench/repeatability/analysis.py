"""How well identical runs agree: the check on every interval the suite prints."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.errors import UsageError
from bench.machine.circumstances import MACHINE, SOFTWARE, differences
from bench.matrix.case import PHASES, WHOLE
from bench.records.run_file import RunRecord
from bench.stats.frame import tidy

IDENTICAL = (*MACHINE, "cases", "replicates", "environment", *SOFTWARE, "code")
"""Circumstances that runs share whose agreement says something of the machine."""


@dataclass(frozen=True)
class Agreement:
    """Of the series of one batch size, over all runs. Spreads are max / min - 1."""

    batch: int
    series: int
    missing: int
    """Times that a run does not have."""
    median_spread: float
    worst_spread: float
    covered: float
    """Share of ordered pairs of runs in which one's interval holds the other's time."""
    half_width: float
    """The median interval's, a logarithm."""


def check_identical(runs: Sequence[RunRecord]) -> None:
    """Raise UsageError unless these are two or more runs of the same cases in the same place."""
    if len(runs) < 2:
        raise UsageError("repeatability takes two or more run files of one plan")
    for run in runs:
        if differing := differences(runs[0], run, IDENTICAL):
            raise UsageError(
                f"these runs are not identical: they differ in their {next(iter(differing))}"
            )


def as_printed(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """The frame of what each run printed, from the floors that were known when it was written."""
    return pd.concat([tidy([run], [str(number)]) for number, run in enumerate(runs)])


def agreement(frame: pd.DataFrame, statistic: str) -> list[Agreement]:
    """One entry a batch size."""
    return [
        _agreement(int(str(batch)), of_batch, f"{statistic}_ns", f"{statistic}_half")
        for batch, of_batch in frame.groupby("batch")
    ]


def _agreement(batch: int, frame: pd.DataFrame, time: str, half: str) -> Agreement:
    spreads: list[float] = []
    covered: list[bool] = []
    for _, of_series in frame.groupby(["case", "series"]):
        known = of_series[[time, half]].dropna()
        if len(known) > 1:
            spreads.append(known[time].max() / known[time].min() - 1)
        for (one, width), (other, _) in itertools.permutations(known.to_numpy(), 2):
            covered.append(bool(abs(np.log(other / one)) <= width))
    return Agreement(
        batch=batch,
        series=len(spreads),
        missing=int(frame[time].isna().sum()),
        median_spread=float(np.median(spreads)) if spreads else np.nan,
        worst_spread=max(spreads, default=np.nan),
        covered=float(np.mean(covered)) if covered else np.nan,
        half_width=float(frame[half].median()),
    )


def phases_over_whole(frame: pd.DataFrame, statistic: str) -> float:
    """Forward + backward + step over the whole step timed without marks: the median over cases.

    NaN where no case has phases.
    """
    times = frame.pivot(index=["run", "case"], columns="series", values=f"{statistic}_ns")
    times = times.reindex(columns=[*PHASES, WHOLE])
    return float((times[list(PHASES)].sum(axis=1, skipna=False) / times[WHOLE]).median())


def share_in_blocks(runs: Sequence[RunRecord]) -> float:
    """Share of the wall time, worker start-up apart, that was spent inside blocks of cases."""
    sessions = [session for run in runs for session in run.sessions]
    wall = sum(session.ended_at - session.started_at - session.startup_s for session in sessions)
    return sum(session.block_s for session in sessions) / wall
