"""The A/A control: base against base, measured among the pairs, shows whether to trust a run."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from ..records.gate_report import PairRecord
from ..stats.estimates import Floats
from .reduction import rows
from .signflip import LEAST_SPREAD

CONTROL_ALPHA = 0.002
"""How often chance alone makes the control fail, over all columns, were pairs normally distributed.
METHODOLOGY.md has how often it did in replays."""


def control_moved(pairs: Sequence[PairRecord]) -> str | None:
    """Why the A/A control makes this run invalid; None where it does not.

    Student's t of the control pairs' mean, with the spread of the other pairs, must stay below what
    chance passes CONTROL_ALPHA of the time in any column of any series.
    """
    main, control = rows(pairs, control=False), rows(pairs, control=True)
    if not len(control):
        return "no A/A control pair was measured"
    t = control_statistic(main, control)
    if t is None:
        return None
    limit = float(special.stdtrit(len(main) - 1, 1 - CONTROL_ALPHA / 2 / main[0].size))
    if t <= limit:
        return None
    return (
        f"the A/A control (base against base) differs by {t:.1f} standard errors in one series; "
        f"chance explains up to {limit:.1f}"
    )


def control_statistic(main: Floats, control: Floats) -> float | None:
    """The control's largest distance from zero, in standard errors; None where it is unknown.

    Both arrays are pairs by COLUMNS by series. A column's spread counts as at least half the
    median of its statistic's.
    """
    known = ~(np.isnan(main).any(axis=(0, 1)) | np.isnan(control).any(axis=(0, 1)))
    if len(main) < 2 or not known.any():
        return None
    spread = main[:, :, known].std(axis=0, ddof=1)
    spread = np.maximum(spread, np.median(spread, axis=1, keepdims=True) / 2)
    spread = np.maximum(spread, LEAST_SPREAD)
    t = np.abs(control[:, :, known].mean(axis=0)) / spread * math.sqrt(len(control))
    return float(t.max())
