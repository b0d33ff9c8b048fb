"""How far rounding may take a training run: what is assumed, and the units of each dtype."""

import math
from collections.abc import Iterable

import torch

from ...matrix.case import Case
from ...matrix.precision import PRECISIONS

SHAKEN = 6
"""Runs that are shaken."""
ROUNDINGS = 16
"""Operations that round, one after another, behind each gradient."""
FACTOR = 8.0
"""A case may stray by this much more than the shaken runs did at most."""
TF32_UNIT = 2.0**-11
LEAST_UNIT = 2.0**-24
"""torch keeps an optimizer's rates and counts in float32 whatever the weights are."""
CANCELLED_UNIT = 1000 * LEAST_UNIT
"""Of a correction such as 1 - 0.999^t, where that too is computed in float32."""


def products_unit(case: Case) -> float:
    """The unit of rounding of the case's products, relative."""
    precision = PRECISIONS[case.dtype]
    if precision.float32_products == "tf32":
        return TF32_UNIT
    return float(torch.finfo(getattr(torch, precision.products)).eps / 2)


def update_unit(case: Case) -> float:
    """The unit of rounding of an optimizer's corrections, which a plain step has in float64."""
    kernel = case.compilation.step or case.implementation in ("fused", "capturable")
    return CANCELLED_UNIT if kernel else LEAST_UNIT


def finite_sizes(deviations: Iterable[float]) -> list[float]:
    """A run that the dtype lets overflow says nothing of how far others may stray."""
    return [abs(value) for value in deviations if math.isfinite(value)] or [0.0]
