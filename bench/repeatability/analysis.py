"""How well identical runs agree: the check on every interval that is printed."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UsageError
from ..machine.circumstances import DEVICES, MACHINE, SOFTWARE, differences
from ..matrix.case import WHOLE, is_phase
from ..records.run_file import RunRecord
from ..stats.frame import sizes_in, tidy

IDENTICAL = (*MACHINE, *DEVICES, "cases", "replicates", "environment", *SOFTWARE, "code")
"""Circumstances that runs must share for their agreement to be the machine's."""


def check_identical(runs: Sequence[RunRecord]) -> None:
    """Raise UsageError unless these are two or more runs of the same cases in the same place."""
    if len(runs) < 2:
        raise UsageError("repeatability takes two or more run files of one plan")
    for what in differences(runs, IDENTICAL):
        raise UsageError(f"these runs are not identical: they differ in their {what}")


def as_printed(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """The frame of what each run printed, from the floors that were known when it was written."""
    return pd.concat([tidy([run], [str(number)]) for number, run in enumerate(runs)])


def sizes_of(frame: pd.DataFrame) -> list[str]:
    """The columns that tell sizes apart: the step's name where there are several, or no sizes."""
    sizes = sizes_in(frame)
    return sizes if sizes and frame["workload"].nunique() == 1 else ["workload", *sizes]


def agreement(frame: pd.DataFrame, statistic: str) -> pd.DataFrame:
    """A row for each size of each step, such as each batch, over all runs of the frame.

    Columns: `sizes_of` the frame, series (how many have two times or more), missing (times that a
    run does not have), median_spread and worst_spread (max / min - 1, over the series), covered
    (share of ordered pairs of runs in which one's interval includes the other's time) and
    half_width (the median interval's, a logarithm). NaN where no series has two times.
    """
    time, half = f"{statistic}_ns", f"{statistic}_half"
    rows: list[dict[str, Any]] = []
    sizes = sizes_of(frame)
    for size, of_size in frame.groupby(sizes, sort=False):
        spreads: list[float] = []
        covered: list[bool] = []
        for _, of_series in of_size.groupby(["case", "series"]):
            known = of_series[[time, half]].dropna()
            if len(known) > 1:
                spreads.append(known[time].max() / known[time].min() - 1)
            for (one, width), (other, _) in itertools.permutations(known.to_numpy(), 2):
                covered.append(bool(abs(np.log(other / one)) <= width))
        rows.append(
            {
                **dict(zip(sizes, size, strict=True)),
                "series": len(spreads),
                "missing": of_size[time].isna().sum(),
                "median_spread": pd.Series(spreads, dtype=float).median(),
                "worst_spread": max(spreads, default=np.nan),
                "covered": pd.Series(covered, dtype=float).mean(),
                "half_width": of_size[half].median(),
            }
        )
    return pd.DataFrame(rows)


def phases_over_whole(frame: pd.DataFrame, statistic: str) -> float:
    """All phases together over the whole step timed without marks: the median over cases.

    NaN where no case has phases.
    """
    times = frame.set_index(["run", "case"])[f"{statistic}_ns"]
    in_phases = frame["series"].map(is_phase).to_numpy()
    whole = times[(frame["series"] == WHOLE).to_numpy()]
    together = times[in_phases].groupby(level=[0, 1]).agg(lambda of_case: of_case.sum(skipna=False))
    return float((together / whole).median())


def share_in_blocks(runs: Sequence[RunRecord]) -> float:
    """Share of the wall time, worker start-up apart, that was spent inside blocks of cases.

    NaN where no time passed, as the wall clock has it.
    """
    sessions = [session for run in runs for session in run.sessions]
    wall = sum(session.ended_at - session.started_at - session.startup_s for session in sessions)
    return sum(session.block_s for session in sessions) / wall if wall > 0 else np.nan
