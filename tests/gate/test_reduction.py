"""From the block pairs of a pair to one log-ratio for each series."""

import math

import numpy as np
import pytest

from bench.gate.reduction import MIN_BLOCK_PAIRS, reduce_pair, rows
from bench.matrix.case import (
    THROUGHPUT,
    WHOLE,
)
from bench.matrix.step import PHASES
from bench.protocol.messages import (
    PHASES_KIND,
    THROUGHPUT_KIND,
    WHOLE_KIND,
    Block,
    Hello,
    series_of,
)
from bench.records.gate_report import PairRecord
from bench.runner.pairs import BlockPair, ProcessPair
from tests.cases import sumnet
from tests.gate.gating import record
from tests.synthetic import FACTS

COMPARISON = sumnet().id
HELLO = Hello(FACTS, "3.11.9", "0" * 16, 1, [0])


def block(kind: str, quartile: int, mean: int = 0, upper_tail: int = 0) -> Block:
    """Whose lower quartile is this, in every series; the other percentiles say something else."""
    names = series_of(kind, PHASES)
    row = [quartile - 7, quartile, quartile * 3, quartile * 9]
    means, tails = (dict.fromkeys(names, value or quartile) for value in (mean, upper_tail))
    return Block(COMPARISON, kind, 10, 1000, {}, dict.fromkeys(names, row), means, tails)


def block_pairs(kind: str, ratios: list[float], base_ns: int = 10_000) -> list[BlockPair]:
    return [
        BlockPair(block(kind, base_ns), block(kind, round(base_ns * ratio))) for ratio in ratios
    ]


def pair(found: dict[str, list[BlockPair]], **changes: object) -> ProcessPair:
    fields = {
        "control": False,
        "at": 1000.0,
        "hellos": (HELLO, HELLO),
        "block_pairs": {COMPARISON: found},
    }
    return ProcessPair(**(fields | changes))  # type: ignore[arg-type]


def lower_quartile(ratios: list[float]) -> float | None:
    row = reduce_pair(
        pair({WHOLE_KIND: block_pairs(WHOLE_KIND, ratios)}), [(COMPARISON, WHOLE)], 0.0
    )
    return row.lower_quartile[0]


def test_ratio_is_a_logarithm_of_head_over_base() -> None:
    assert lower_quartile([1.1] * 10) == pytest.approx(math.log(1.1), abs=1e-6)
    assert lower_quartile([0.5] * 10) == pytest.approx(-math.log(2), abs=1e-6)
    assert lower_quartile([1.0] * 10) == 0.0


def test_ratio_is_the_mean_of_the_middle_half_of_block_pairs() -> None:
    middle = [1.01, 1.02, 1.03, 1.06]
    expected = np.log(middle).mean()
    assert lower_quartile([0.2, 0.9, *middle, 1.5, 7.0]) == pytest.approx(expected, abs=1e-6)


def test_a_quarter_of_block_pairs_that_a_neighbour_met_does_not_show() -> None:
    assert lower_quartile([1.0] * 9 + [4.0] * 3) == lower_quartile([1.0] * 12) == 0.0
    assert lower_quartile([1.0] * 9 + [0.2] * 3) == 0.0


def test_columns_are_of_the_lower_quartile_the_mean_and_the_upper_tail() -> None:
    found = [
        BlockPair(block(WHOLE_KIND, 1000, 2000, 5000), block(WHOLE_KIND, 1100, 3000, 9000))
    ] * 10
    row = reduce_pair(pair({WHOLE_KIND: found}), [(COMPARISON, WHOLE)], 0.0)
    assert row.lower_quartile == pytest.approx([math.log(1.1)], abs=1e-6)
    assert row.mean == pytest.approx([math.log(1.5)], abs=1e-6)
    assert row.upper_tail == pytest.approx([math.log(1.8)], abs=1e-6)


def test_bases_time_is_the_median_of_its_lower_quartiles() -> None:
    found = [each for ns in range(100, 109) for each in block_pairs(WHOLE_KIND, [2.0], 1000 * ns)]
    row = reduce_pair(pair({WHOLE_KIND: found}), [(COMPARISON, WHOLE)], 0.0)
    assert row.base_ns == [104_000]


def test_each_series_is_read_from_its_own_kind_of_block() -> None:
    found = {
        PHASES_KIND: block_pairs(PHASES_KIND, [1.2] * 10, 3000),
        WHOLE_KIND: block_pairs(WHOLE_KIND, [1.1] * 10, 9000),
        THROUGHPUT_KIND: block_pairs(THROUGHPUT_KIND, [1.3] * 10, 5000),
    }
    series = [(COMPARISON, name) for name in (THROUGHPUT, *PHASES, WHOLE)]
    row = reduce_pair(pair(found), series, 0.0)
    ratios = [1.3, 1.2, 1.2, 1.2, 1.1]
    assert row.lower_quartile == pytest.approx(np.log(ratios), abs=1e-4)
    assert row.mean == row.upper_tail == row.lower_quartile
    assert row.base_ns == [5000, 3000, 3000, 3000, 9000]


@pytest.mark.parametrize("count", [0, 1, MIN_BLOCK_PAIRS - 1])
def test_too_few_block_pairs_give_no_number_of_their_series_alone(count: int) -> None:
    found = {
        PHASES_KIND: block_pairs(PHASES_KIND, [1.2] * count),
        WHOLE_KIND: block_pairs(WHOLE_KIND, [1.1] * MIN_BLOCK_PAIRS),
    }
    row = reduce_pair(pair(found), [(COMPARISON, "forward"), (COMPARISON, WHOLE)], 0.0)
    both = zip(row.lower_quartile, row.mean, row.upper_tail, row.base_ns, strict=True)
    assert [[value is None for value in columns] for columns in both] == [[True] * 4, [False] * 4]


def test_comparison_that_a_pair_lacks_has_no_numbers() -> None:
    row = reduce_pair(pair({}, block_pairs={}), [(COMPARISON, WHOLE), ("another", WHOLE)], 0.0)
    assert row.lower_quartile == row.mean == row.upper_tail == row.base_ns == [None, None]


def test_row_has_when_and_how_long_and_whether_it_is_a_control() -> None:
    done = pair({}, control=True, at=1002.3456, startup_s=1.23456, wall_s=7.65432)
    row = reduce_pair(done, [], 1000.0)
    assert (row.control, row.at_s, row.startup_s, row.wall_s) == (True, 2.346, 1.235, 7.654)


def test_rows_are_those_of_pairs_or_of_controls() -> None:
    pairs = [
        record([0.1, None], [0.3, 0.4], [0.5, None]),
        record([0.5, 0.6], control=True),
        record([0.7, 0.8], [0.9, None], [1.0, 1.1]),
    ]
    np.testing.assert_equal(
        rows(pairs, control=False),
        [
            [[0.1, np.nan], [0.3, 0.4], [0.5, np.nan]],
            [[0.7, 0.8], [0.9, np.nan], [1.0, 1.1]],
        ],
    )
    np.testing.assert_equal(rows(pairs, control=True), [[[0.5, 0.6]] * 3])


@pytest.mark.parametrize("pairs", [[], [record([0.1, 0.2])]])
def test_no_rows_are_none(pairs: list[PairRecord]) -> None:
    assert len(rows(pairs, control=True)) == 0
    assert rows(pairs, control=True).ndim == 3
