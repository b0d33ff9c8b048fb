"""What calibrations share: bounds of error rates, and injected slowdowns."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from ..matrix.case import WHOLE
from .estimates import CONFIDENCE, Floats


def at_most(count: int, trials: int) -> float:
    """The one-sided upper bound of a share, with CONFIDENCE (Clopper and Pearson 1934)."""
    upper = stats.binomtest(count, trials, alternative="less").proportion_ci(CONFIDENCE, "exact")
    return float(upper.high)


def share_between(count: int, trials: int) -> tuple[float, float]:
    """The two-sided interval of a share, with CONFIDENCE (Clopper and Pearson 1934)."""
    interval = stats.binomtest(count, trials).proportion_ci(CONFIDENCE, "exact")
    return float(interval.low), float(interval.high)


def slowed_parts(series: Sequence[tuple[str, str]], times: Sequence[float], phase: str) -> Floats:
    """The share of its own time by which each series (case and name) slows with one phase.

    1 for the phase, the phase's share of the whole step for the step, 0 for all else.
    """
    time_of = dict(zip(series, times, strict=True))
    return np.array(
        [
            time_of.get((case, phase), 0.0) / time if name in (phase, WHOLE) else 0.0
            for (case, name), time in zip(series, times, strict=True)
        ]
    )
