"""Base against base, measured in between: whether a run can be trusted."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from bench.gate.reduction import rows
from bench.gate.signflip import LEAST_SPREAD
from bench.records.gate_report import PairRecord
from bench.stats.estimates import Floats

CONTROL_ALPHA = 0.002
"""How often chance alone moves the control, over all columns, were pairs normally distributed.
METHODOLOGY.md has how often it did in replays."""


def control_moved(pairs: Sequence[PairRecord]) -> str | None:
    """Why base against base says that this run cannot be trusted; None where it says nothing.

    Student's t of the control pairs' mean, with the spread of the other pairs, must stay below what
    chance passes CONTROL_ALPHA of the time in any column of any series.
    """
    main, control = rows(pairs, control=False), rows(pairs, control=True)
    if not len(control):
        return "no pair of base against base was measured"
    t = control_statistic(main, control)
    if t is None:
        return None
    limit = float(special.stdtrit(len(main) - 1, 1 - CONTROL_ALPHA / 2 / main[0].size))
    if t <= limit:
        return None
    return (
        f"base against base, measured in between, differs by {t:.1f} standard errors in one "
        f"series; chance explains up to {limit:.1f}"
    )


def control_statistic(main: Floats, control: Floats) -> float | None:
    """The largest distance of the control's columns from nothing, in standard errors.

    Pairs by COLUMNS by series, both. A column spreads at least half as much as its kind does.
    """
    if len(main) < 2:
        return None
    there = ~(np.isnan(main).any(axis=(0, 1)) | np.isnan(control).any(axis=(0, 1)))
    if not there.any():
        return None
    spread = main[:, :, there].std(axis=0, ddof=1)
    spread = np.maximum(spread, np.median(spread, axis=1, keepdims=True) / 2)
    spread = np.maximum(spread, LEAST_SPREAD)
    t = np.abs(control[:, :, there].mean(axis=0)) / spread * math.sqrt(len(control))
    return float(t.max())
