"""From a pair's blocks to one row of numbers, three log-ratios for each series."""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
from scipy import stats

from ..protocol.messages import QUANTILES, Block, kind_of_series
from ..records.gate_report import PairRecord, Statistic
from ..runner.pairs import BlockPair, ProcessPair
from ..stats.estimates import Floats

COLUMNS: tuple[Statistic, ...] = get_args(Statistic)
"""A pair's log-ratios of a series."""
QUARTILE = QUANTILES.index(25)
TRIMMED = 0.25
"""Of a pair's block pairs at either end: the midmean, as robust as a median against neighbours and
less noisy. METHODOLOGY.md has the alternatives."""
MIN_BLOCK_PAIRS = 8
"""With fewer a pair has no number for a series."""


def _lower_quartile(block: Block, name: str) -> int:
    return block.quantiles_ns[name][QUARTILE]


SUMMARIES: tuple[Callable[[Block, str], int], ...] = (
    _lower_quartile,
    lambda block, name: block.means_ns[name],
    lambda block, name: block.upper_tail_ns[name],
)
"""A block's statistics of a series, nanoseconds, in the order of COLUMNS."""


def reduce_pair(
    pair: ProcessPair, series: Sequence[tuple[str, str]], started_at: float
) -> PairRecord:
    """The pair's row of a report whose columns are `series` (comparison and series)."""
    record = PairRecord(
        control=pair.control,
        at_s=round(pair.at - started_at, 3),
        startup_s=round(pair.startup_s, 3),
        wall_s=round(pair.wall_s, 3),
        lower_quartile=[],
        mean=[],
        upper_tail=[],
        base_ns=[],
        peak_bytes=pair.peak_bytes,
    )
    for comparison, name in series:
        kind = kind_of_series(name)
        block_pairs = pair.block_pairs.get(comparison, {}).get(kind, [])
        enough = len(block_pairs) >= MIN_BLOCK_PAIRS
        for column, summary in zip(record.columns, SUMMARIES, strict=True):
            column.append(_log_ratio(block_pairs, summary, name) if enough else None)
        base = (_lower_quartile(each.base, name) for each in block_pairs)
        record.base_ns.append(round(statistics.median(base)) if enough else None)
    return record


def _log_ratio(
    block_pairs: Sequence[BlockPair], summary: Callable[[Block, str], int], name: str
) -> float:
    """The midmean over block pairs of log(head / base)."""
    ratios = [math.log(summary(each.head, name) / summary(each.base, name)) for each in block_pairs]
    return round(float(stats.trim_mean(ratios, TRIMMED)), 6)


def rows(pairs: Sequence[PairRecord], *, control: bool) -> Floats:
    """Those pairs as an array: pairs by COLUMNS by series; NaN for an absent number."""
    chosen = [pair.columns for pair in pairs if pair.control == control]
    width = len(pairs[0].mean) if pairs else 0
    return np.array(chosen, float).reshape(len(chosen), len(COLUMNS), width)
