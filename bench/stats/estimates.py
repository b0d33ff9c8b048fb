"""From blocks to estimates: quiet and typical times, and how far another run may land from them.

The replicate, one worker's blocks, is the unit: samples inside a process are not independent. Times
are handled as logarithms, because machine noise multiplies.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ..records.run_file import Drift

QUIET_TOLERANCE = 0.15
"""A block is quiet when the readings before it were within this of the floor."""
FLOOR_QUANTILE = 0.10
"""A run's own floor: its fastest tenth of readings."""
MIN_BLOCKS = 5
"""A worker with fewer blocks of a series is no replicate: it was lost or interrupted early."""
MIN_QUIET_BLOCKS = 3
"""A replicate with fewer quiet blocks did not get quiet."""
MIN_REPLICATES = 3
"""Of fewer, or fewer that got quiet, the figure is marked, and no verdict rests on it."""
CONFIDENCE = 0.95
DRIFT = {"quiet": 0.02, "typical": 0.05}
"""By how much two runs of one machine differ beyond what their replicates show, 95 times in 100.

A logarithm, and an assumption until a machine has enough runs of its own: it was measured on one
shared virtual machine with two Intel cores; METHODOLOGY.md has the runs.
"""
SIGMAS = float(special.ndtri((1 + CONFIDENCE) / 2))
"""Standard deviations in a half-width."""
POWER = 0.8
"""How often a minimum detectable effect (MDE) is detected."""
POWER_SIGMAS = float(special.ndtri(POWER))
"""Standard errors by which it must pass the critical value."""

Floats = NDArray[np.float64]


def assumed_drift(statistic: str) -> Drift:
    """The drift of a machine whose own runs are too few."""
    return Drift(DRIFT[statistic] / (SIGMAS * math.sqrt(2)))


@dataclass(frozen=True)
class Estimate:
    """A time and its prediction interval.

    Another run of the same plan on the same machine lands within `time_ns` times or over
    exp(`half_width`), 95 times in 100. NaN is the half-width of a single replicate.
    """

    time_ns: float
    half_width: float


def floor_of(readings: Sequence[int]) -> int:
    """The speed a reference loop reached when undisturbed, nanoseconds."""
    return round(float(np.quantile(readings, FLOOR_QUANTILE)))


def slowness(readings: Mapping[str, Sequence[int]], floors: Mapping[str, int]) -> Floats:
    """How many times slower than its best the machine was before each block.

    The geometric mean over the reference loops read there.
    """
    ratios = [np.asarray(values, float) / floors[name] for name, values in readings.items()]
    mean: Floats = np.exp(np.mean(np.log(ratios), axis=0))
    return mean


def quiet_blocks(slow: Floats) -> NDArray[np.bool_]:
    """Which blocks had the machine near its best just before them."""
    return slow <= 1 + QUIET_TOLERANCE


def quietest_blocks(slow: Floats) -> NDArray[np.bool_]:
    """The MIN_QUIET_BLOCKS before which the machine was nearest its best."""
    chosen = np.zeros(len(slow), bool)
    chosen[np.argsort(slow, kind="stable")[:MIN_QUIET_BLOCKS]] = True
    return chosen


def estimates(series: Sequence[Sequence[float]], drift: Drift) -> list[Estimate | None]:
    """One estimate per series from its replicates' times, nanoseconds; None for no replicate.

    The estimate is the geometric mean. The interval is a prediction interval for the geometric mean
    of as many new replicates in another run: its variance is twice that of the mean of n replicates
    plus drift's, s^2 / n + d^2, and its degrees of freedom are Satterthwaite's for that sum. With
    few replicates a series' own variance is poorly known, so it is moderated by those of the run's
    other series (Smyth 2004, "Linear models and empirical Bayes methods", section 6.2).
    """
    logs = [np.log(np.asarray(times, float)) for times in series]
    several = [values for values in logs if len(values) > 1]
    variances, freedom = moderated(
        np.array([values.var(ddof=1) for values in several]),
        np.array([len(values) - 1.0 for values in several]),
    )
    known = iter(zip(variances, freedom, strict=True))
    found: list[Estimate | None] = []
    for values in logs:
        half = math.nan
        if len(values) > 1:
            variance, own_freedom = next(known)
            half = _half_width(variance / len(values), own_freedom, drift)
        found.append(Estimate(float(np.exp(values.mean())), half) if len(values) else None)
    return found


def drift_half(drift: Drift) -> float:
    """What drift alone makes of an interval's half-width, a logarithm."""
    return _half_width(0.0, 1.0, drift)


def _half_width(variance: float, freedom: float, drift: Drift) -> float:
    """Of a prediction interval, from the variance of a mean and its degrees of freedom."""
    total = variance + drift.deviation**2
    if not total:
        return 0.0
    spread = variance**2 / freedom + drift.deviation**4 / drift.freedom
    quantile = special.stdtrit(total**2 / spread, (1 + CONFIDENCE) / 2) if spread else SIGMAS
    return float(quantile * math.sqrt(2 * total))


def ratio_half(half: Any, other: Any) -> Any:
    """The half-width of the 95% confidence interval of a ratio of two runs' times.

    Numbers or arrays, logarithms. A run's half-width is already that of the difference between two
    runs, so it is the root of the mean of both squares. (The ratio of another two runs lands
    within the root of two times as much.)
    """
    return np.hypot(half, other) / math.sqrt(2)


def moderated(variances: Floats, freedom: Floats) -> tuple[Floats, Floats]:
    """Variances shrunk towards their common prior, and their degrees of freedom, larger.

    The prior is fitted by the moments of the log variances (Smyth 2004, equations 6 to 9). A single
    series, or one without any variance, is left as it is.
    """
    usable = variances > 0
    if usable.sum() < 2:
        return variances, freedom
    half = freedom[usable] / 2
    centred = np.log(variances[usable]) - special.digamma(half) + np.log(half)
    excess = centred.var(ddof=1) - special.polygamma(1, half).mean()
    if excess <= 0:
        prior = np.exp(centred.mean())
        return np.full_like(variances, prior), np.full_like(freedom, float(freedom.sum()))
    prior_freedom = 2 * _inverse_trigamma(excess)
    prior = np.exp(centred.mean() + special.digamma(prior_freedom / 2) - np.log(prior_freedom / 2))
    shrunk = (prior_freedom * prior + freedom * variances) / (prior_freedom + freedom)
    return shrunk, np.minimum(freedom + prior_freedom, freedom.sum())


def _inverse_trigamma(value: float) -> float:
    """The x with trigamma(x) = value, by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = special.polygamma(1, x)
        step = trigamma * (1 - trigamma / value) / special.polygamma(2, x)
        x += step
        if -step < 1e-8 * x:
            break
    return float(x)


def geometric_mean(values: Sequence[float]) -> float:
    """1 for no values."""
    return float(np.exp(np.mean(np.log(values)))) if values else 1.0
