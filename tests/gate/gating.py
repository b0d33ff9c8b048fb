"""Pairs of the gate made from known effects, for tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.matrix.case import Case
from bench.matrix.comparison import Comparison
from bench.records.gate_report import GateReport, PairRecord, Rules, SideRecord
from tests import synthetic
from tests.cases import sumnet

Floats = NDArray[np.float64]

BASE_NS = 100_000


def record(
    lower_quartile: Sequence[float | None],
    mean: Sequence[float | None] | None = None,
    upper_tail: Sequence[float | None] | None = None,
    **changes: Any,
) -> PairRecord:
    """One pair's row; what is not given differs as what stands before it."""
    base: list[int | None] = [None if value is None else BASE_NS for value in lower_quartile]
    fields: dict[str, Any] = {"control": False, "at_s": 0.0, "startup_s": 1.0, "wall_s": 10.0}
    mean = lower_quartile if mean is None else mean
    upper_tail = mean if upper_tail is None else upper_tail
    fields |= {"lower_quartile": list(lower_quartile), "mean": list(mean)}
    fields |= {"upper_tail": list(upper_tail), "base_ns": base}
    return PairRecord(**(fields | changes))


def records(
    lower_quartile: Floats,
    mean: Floats | None = None,
    upper_tail: Floats | None = None,
    *,
    control: bool = False,
) -> list[PairRecord]:
    """Pairs by series to rows, likewise."""
    mean = lower_quartile if mean is None else mean
    upper_tail = mean if upper_tail is None else upper_tail
    return [
        record(*(row.tolist() for row in of_pair), control=control)
        for of_pair in zip(lower_quartile, mean, upper_tail, strict=True)
    ]


def still(pairs: int, spread: float) -> Floats:
    """A column of no effect: normal quantiles in a fixed order."""
    quantiles = stats.norm.ppf((np.arange(pairs) + 0.5) / pairs)
    return spread * np.random.default_rng(7).permutation(quantiles)


def columns(pairs: int, *effects: float, spread: float = 0.002) -> Floats:
    """Pairs by series: each series differs by its effect, and all spread by so much."""
    block_pairs = [np.roll(still(pairs, spread), place) for place in range(len(effects))]
    return np.array(effects) + np.column_stack(block_pairs)


def correlated(
    draw: np.random.Generator, pairs: int, width: int, spread: float = 0.005, heavy: bool = False
) -> Floats:
    """Rows of no effect whose series have most in common, as a pair's processes give them."""
    common = draw.standard_normal((pairs, 1))
    own = draw.standard_normal((pairs, width))
    rows: Floats = spread * (common + 0.5 * own)
    return rows * np.abs(draw.standard_t(2, size=(pairs, 1))) if heavy else rows


CASES = tuple(sumnet(batch=batch) for batch in (2, 64))


def report(
    pairs: Sequence[PairRecord] = (),
    cases: Sequence[Case] = CASES,
    comparisons: Sequence[Comparison] | None = None,
    **changes: Any,
) -> GateReport:
    """An A/A report, of comparisons or of cases that meet themselves."""
    comparisons = [Comparison(case, case) for case in cases] if comparisons is None else comparisons
    side = SideRecord("base", "commit 0123456789", "a" * 16, "3.11.9", "2.13.0", 1)
    fields: dict[str, Any] = {
        "machine": synthetic.machine(),
        "started_at": synthetic.EPOCH,
        "sides": [side, SideRecord("head", "working tree", "a" * 16, "3.11.9", "2.13.0", 1)],
        "rules": Rules(),
        "budget_s": 280.0,
        "environment": "steady",
        "seed": 0,
        "comparisons": list(comparisons),
        "series": [(c.id, s) for c in comparisons for s in c.series],
        "pairs": list(pairs),
    }
    return GateReport(**(fields | changes))
