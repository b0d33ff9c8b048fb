"""How far runs of one plan differ beyond what their replicates show: measured, or assumed."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from bench.records.schema import Drift

MIN_FREEDOM = 2
"""Three runs of one plan: with two, one bad minute would be all that is known."""

Means = Mapping[object, tuple[float, float]]
"""Series to the mean of its replicates' log times and the variance of that mean."""


def estimated_drift(groups: Sequence[Sequence[Means]]) -> Drift | None:
    """The drift among runs, from groups of runs of one code; None where they are too few.

    A run's log times are taken as those of its group, plus an offset that all its series share,
    plus one of each series, plus what its replicates explain. The offset's variance is that of the
    runs' means; a series' is what is left of it less what replicates explain. The degrees of
    freedom of their sum are Satterthwaite's (1946, "An approximate distribution of estimates of
    variance components").
    """
    freedom, shared, own, own_freedom, explained = 0, 0.0, 0.0, 0, []
    count = 0
    for group in groups:
        series = set.intersection(*(set(run) for run in group)) if group else set()
        if len(group) < 2 or not series:
            continue
        means = np.array([[run[name][0] for name in series] for run in group])
        explained += [run[name][1] for run, name in itertools.product(group, series)]
        centred = means - means.mean(axis=0)
        offsets = centred.mean(axis=1)
        left = centred - offsets[:, np.newaxis]
        shared += float((offsets**2).sum())
        own += float((left**2).sum())
        freedom += len(group) - 1
        own_freedom += (len(group) - 1) * (len(series) - 1)
        count += len(group)
    if freedom < MIN_FREEDOM:
        return None
    of_run = shared / freedom
    of_series = max(own / own_freedom - float(np.mean(explained)), 0.0) if own_freedom else 0.0
    variance = of_run + of_series
    spread = of_run**2 / freedom + (of_series**2 / own_freedom if own_freedom else 0.0)
    return Drift(math.sqrt(variance), variance**2 / spread if spread else float(freedom), count)
