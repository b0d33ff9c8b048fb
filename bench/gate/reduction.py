"""From a pair's blocks to one row of numbers, three log-ratios for each series."""

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from bench.protocol.messages import KINDS, QUANTILES, Block
from bench.records.gate_report import PairRecord
from bench.runner.pairs import BlockPair, ProcessPair
from bench.stats.estimates import Floats

COLUMNS = ("usual", "mean", "slow")
"""A pair's log-ratios of a series: of the lower quartile step, of the mean step, of slow steps."""
QUARTILE = QUANTILES.index(25)
TRIMMED = 0.25
"""Of a pair's turns at either end: the midmean, as sturdy as a median against neighbours and less
noisy. METHODOLOGY.md has the alternatives."""
MIN_BLOCK_PAIRS = 8
"""With fewer a pair says nothing of a series."""


def reduce_pair(
    pair: ProcessPair, series: Sequence[tuple[str, str]], started_at: float
) -> PairRecord:
    """The pair's row of a report whose columns are `series` (comparison and series)."""
    record = PairRecord(
        control=pair.control,
        at_s=round(pair.at - started_at, 3),
        startup_s=round(pair.startup_s, 3),
        wall_s=round(pair.wall_s, 3),
        usual=[],
        mean=[],
        slow=[],
        base_ns=[],
    )
    for comparison, name in series:
        kind = next(kind for kind, names in KINDS.items() if name in names)
        block_pairs = pair.block_pairs.get(comparison, {}).get(kind, [])
        usual, mean, slow = (_ratio(block_pairs, summary, name) for summary in SUMMARIES)
        record.usual.append(usual)
        record.mean.append(mean)
        record.slow.append(slow)
        base = [_usual(turn.base, name) for turn in block_pairs]
        record.base_ns.append(None if usual is None else round(statistics.median(base)))
    return record


def _usual(block: Block, name: str) -> int:
    return block.quantiles_ns[name][QUARTILE]


def _mean(block: Block, name: str) -> int:
    return block.means_ns[name]


def _slow(block: Block, name: str) -> int:
    return block.upper_tail_ns[name]


SUMMARIES = (_usual, _mean, _slow)
"""What stands for a block's samples of a series, nanoseconds; in the order of COLUMNS."""


def _ratio(
    block_pairs: Sequence[BlockPair], summary: Callable[[Block, str], int], name: str
) -> float | None:
    """The midmean over turns of log(head / base); None where there are too few."""
    if len(block_pairs) < MIN_BLOCK_PAIRS:
        return None
    ratios = [math.log(summary(turn.head, name) / summary(turn.base, name)) for turn in block_pairs]
    return round(float(stats.trim_mean(ratios, TRIMMED)), 6)


def rows(pairs: Sequence[PairRecord], *, control: bool) -> Floats:
    """Those pairs as an array: pairs by COLUMNS by series; NaN where there is nothing."""
    chosen = [(p.usual, p.mean, p.slow) for p in pairs if p.control == control]
    width = len(pairs[0].usual) if pairs else 0
    return np.array(chosen, float).reshape(len(chosen), len(COLUMNS), width)
