"""The sign-flip max-T test: which of many correlated series are slower, as one family."""

import itertools
import math

import numpy as np

from ..stats.estimates import Floats

EXACT_PAIRS = 14
"""Up to so many pairs every pattern of signs is tried."""
PATTERNS = 20_000
"""Else so many random ones: a p of 0.2% is then known to 0.03%."""
LEAST_SPREAD = 1e-6
"""Of a logarithm. A series whose pairs agree better than this is taken to spread so."""


def sign_patterns(pairs: int, patterns: int = PATTERNS) -> Floats:
    """Rows of signs, one for each pair; the first leaves all as it is. Drawn from a fixed seed."""
    if pairs <= EXACT_PAIRS:
        return np.array(list(itertools.product((1.0, -1.0), repeat=pairs)))
    drawn: Floats = np.random.default_rng(0).choice((1.0, -1.0), size=(patterns, pairs))
    drawn[0] = 1.0
    return drawn


def statistics_under(patterns: Floats, rows: Floats) -> Floats:
    """Student's t of every column of `rows` (pairs by series) under every pattern of signs.

    Signs leave a column's sum of squares alone, so its variance follows from its mean.
    """
    pairs = len(rows)
    means = patterns @ rows / pairs
    squares = (rows**2).mean(axis=0)
    spread = np.sqrt(np.maximum(squares - means**2, LEAST_SPREAD**2) / (pairs - 1))
    t: Floats = means / spread
    return t


def adjusted_p(t: Floats) -> Floats:
    """One-sided family-wise p of each series, from statistics_under; step-down.

    Under the null hypothesis a pair's row is as likely with all its signs turned, so the observed
    statistics are one draw among the patterns'. A series' p is how often the largest statistic of
    those not yet rejected reaches its own, and no less than that of any larger one (Westfall and
    Young 1993, "Resampling-based multiple testing", algorithm 2.8 with sign flips).
    """
    order = np.argsort(-t[0])
    largest = np.maximum.accumulate(t[:, order[::-1]], axis=1)[:, ::-1]
    reached = (largest >= t[0, order] - 1e-12).mean(axis=0)
    p = np.empty(len(order))
    p[order] = np.maximum.accumulate(reached)
    return p


def critical_t(t: Floats, alpha: float) -> float:
    """What the largest statistic of all series passes in a share `alpha` of the patterns.

    Infinite where there are too few patterns for so small a share.
    """
    if alpha * len(t) < 1:
        return math.inf
    return float(np.quantile(t.max(axis=1), 1 - alpha, method="higher"))
