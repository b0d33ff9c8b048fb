"""How far runs of one plan differ beyond what their replicates show: measured, or assumed."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from bench.records.schema import Drift

MIN_FREEDOM = 2
"""Three runs of one plan: with two, one bad minute would be all that is known."""

Means = Mapping[tuple[str, str], tuple[float, float]]
"""Case and series to the mean of its replicates' log times and the variance of that mean."""


def estimated_drift(groups: Sequence[Sequence[Means]]) -> Drift | None:
    """The drift among runs, from groups of runs of one code; None where they are too few.

    A run's log times are taken as those of its group, plus an offset that all its series share,
    plus one of each series, plus what its replicates explain. The offset's variance is that of the
    runs' means; a series' is what is left of it less what replicates explain. The degrees of
    freedom of their sum are Satterthwaite's (1946, "An approximate distribution of estimates of
    variance components"); the series of one case, which overlap, count as one. Runs that lack most
    of their group's series are left out.
    """
    freedom, shared, left, left_freedom, count = 0, 0.0, 0.0, 0, 0
    explained: list[float] = []
    for group in groups:
        most = max(map(len, group), default=0)
        runs = [run for run in group if 2 * len(run) > most]
        series = set.intersection(*(set(run) for run in runs)) if runs else set()
        if len(runs) < 2 or not series:
            continue
        means = np.array([[run[name][0] for name in series] for run in runs])
        explained += [run[name][1] for run, name in itertools.product(runs, series)]
        centred = means - means.mean(axis=0)
        offsets = centred.mean(axis=1)
        shared += float((offsets**2).sum())
        left += float(((centred - offsets[:, np.newaxis]) ** 2).sum()) / max(len(series) - 1, 1)
        freedom += len(runs) - 1
        left_freedom += (len(runs) - 1) * max(len({case for case, _ in series}) - 1, 1)
        count += len(runs)
    if freedom < MIN_FREEDOM:
        return None
    of_run = shared / freedom
    of_series = left / freedom
    unexplained = max(of_series - float(np.mean(explained)), 0.0)
    variance = of_run + unexplained
    spread = of_run**2 / freedom + (of_series**2 / left_freedom if unexplained else 0.0)
    return Drift(math.sqrt(variance), variance**2 / spread if spread else float(freedom), count)
