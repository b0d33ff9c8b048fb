"""How far runs of one plan differ beyond what their replicates show: measured, or assumed."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..records.run_file import Drift

MIN_FREEDOM = 2
"""Three runs of one plan: with two, one bad minute would be all that is known."""

PRIOR_FREEDOM = 1
"""The assumed variance counts as one further run. Intervals from three simulated runs then hold 90%
or more of further runs up to twice the assumed drift, and narrow where there is less."""

Means = Mapping[tuple[str, str], tuple[float, float]]
"""Case and series to the mean of its replicates' log times and the variance of that mean."""


def estimated_drift(groups: Sequence[Sequence[Means]], assumed: Drift) -> Drift | None:
    """The drift among runs, from groups of runs of one code; None where they are too few.

    A variance known from a few runs alone is hardly known, so that it is moderated by the assumed
    one, which counts as PRIOR_FREEDOM further degrees of freedom.

    A run's log times are taken as those of its group, plus an offset that all its series share,
    plus one of each series, plus what its replicates explain. The offsets' variance is that of the
    runs' medians over series; a series' own is what is left in the median series, less what
    replicates explain: one disturbed series is no evidence about the others. The degrees of
    freedom of their sum are Satterthwaite's (1946, "An approximate distribution of estimates of
    variance components"); the series of one case, which overlap, count as one. Runs that lack most
    of their group's series are left out.
    """
    freedom, shared, left_freedom, count = 0, 0.0, 0, 0
    left: list[float] = []
    explained: list[float] = []
    for group in groups:
        most = max(map(len, group), default=0)
        runs = [run for run in group if 2 * len(run) > most]
        series = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
        if len(runs) < 2 or not series:
            continue
        means = np.array([[run[name][0] for name in series] for run in runs])
        explained += [run[name][1] for run, name in itertools.product(runs, series)]
        centred = means - means.mean(axis=0)
        offsets = np.median(centred, axis=1)
        own = len(runs) - 1
        shared += float(((offsets - offsets.mean()) ** 2).sum())
        # The median of chi-squared over its degrees of freedom (Wilson and Hilferty 1931).
        typical = (1 - 2 / (9 * own)) ** 3
        left += list(((centred - offsets[:, np.newaxis]) ** 2).sum(axis=0) / own / typical)
        freedom += own
        left_freedom += own * max(len({case for case, _ in series}) - 1, 1)
        count += len(runs)
    if freedom < MIN_FREEDOM:
        return None
    of_run = shared / freedom
    of_series = float(np.median(left))
    unexplained = max(of_series - float(np.median(explained)), 0.0)
    variance = of_run + unexplained
    spread = of_run**2 / freedom + (of_series**2 / left_freedom if unexplained else 0.0)
    prior = PRIOR_FREEDOM * assumed.deviation**2
    moderated = (freedom * variance + prior) / (freedom + PRIOR_FREEDOM)
    own_freedom = max(variance**2 / spread if spread else 0.0, freedom)
    return Drift(math.sqrt(moderated), own_freedom + PRIOR_FREEDOM, count)
