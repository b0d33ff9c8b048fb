"""The sign-flip max-T test: exact where it can be, and never wrong more often than it says."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.gate.signflip import (
    EXACT_PAIRS,
    adjusted_p,
    critical_t,
    sign_patterns,
    statistics_under,
)
from tests.gate.gating import Floats, correlated

PATTERNS = 2000
SEEDS = st.integers(0, 2**32 - 1)


def p_of(rows: Floats, patterns: int = PATTERNS) -> Floats:
    return adjusted_p(statistics_under(sign_patterns(len(rows), patterns), rows))


def some_rows(seed: int, pairs: int = 6, width: int = 5) -> Floats:
    """Some series slower, some faster, most neither."""
    draw = np.random.default_rng(seed)
    effects = draw.choice([0.0, 0.0, 0.01, -0.01], size=width)
    return correlated(draw, pairs, width) + effects


# Patterns


def test_few_pairs_have_every_pattern_once() -> None:
    for pairs in (1, 4, 9):
        patterns = sign_patterns(pairs)
        assert patterns[0].tolist() == [1.0] * pairs
        assert sorted(map(tuple, patterns)) == sorted(itertools.product((-1.0, 1.0), repeat=pairs))


def test_many_pairs_have_random_patterns_that_are_always_the_same() -> None:
    pairs = EXACT_PAIRS + 1
    patterns = sign_patterns(pairs, 500)
    assert patterns.shape == (500, pairs)
    assert patterns[0].tolist() == [1.0] * pairs
    assert set(np.unique(patterns)) == {-1.0, 1.0}
    assert np.abs(patterns.mean(axis=0)).max() < 0.2
    assert (patterns == sign_patterns(pairs, 500)).all()


# Statistics


def test_statistics_are_students() -> None:
    rows = some_rows(0)
    patterns = sign_patterns(len(rows))
    t = statistics_under(patterns, rows)
    for place in (0, 5, 63):
        expected = stats.ttest_1samp(patterns[place][:, None] * rows, 0.0).statistic
        assert t[place] == pytest.approx(expected)


def test_series_whose_pairs_all_agree_has_a_finite_statistic() -> None:
    t = statistics_under(sign_patterns(4), np.column_stack([np.zeros(4), np.full(4, 0.01)]))
    assert np.isfinite(t).all()
    assert t[0, 0] == 0.0
    assert t[0, 1] > 1000


# Exactness

BY_HAND = [
    ([1, 2], 1 / 4),
    ([2, -1], 2 / 4),
    ([-1, 2], 2 / 4),
    ([-1, -2], 4 / 4),
    ([1, 2, 4], 1 / 8),
    ([-1, 2, 4], 2 / 8),
    ([1, -2, 4], 3 / 8),
    ([1, 2, -4], 5 / 8),
    ([1, 1, -1], 4 / 8),
    ([0, 1, 2], 2 / 8),
]
"""What pairs show, and in how many patterns of signs their sum is as large or larger."""


@pytest.mark.parametrize(("values", "p"), BY_HAND)
def test_one_series_has_the_p_that_is_counted_by_hand(values: list[float], p: float) -> None:
    assert p_of(np.array(values, float)[:, None]) == pytest.approx([p])


@pytest.mark.parametrize("pairs", range(2, EXACT_PAIRS))
def test_least_p_is_one_pattern_of_all(pairs: int) -> None:
    rows = 1 + 0.01 * np.arange(3 * pairs).reshape(pairs, 3)
    assert p_of(rows) == pytest.approx([2.0**-pairs] * 3)


@given(SEEDS)
def test_p_is_that_of_the_closed_test_by_brute_force(seed: int) -> None:
    """A series is rejected where every set of series that holds it is."""
    rows = some_rows(seed, pairs=5, width=4)
    t = statistics_under(sign_patterns(5), rows)

    def of_all(chosen: tuple[int, ...]) -> float:
        largest = t[:, chosen].max(axis=1)
        return float((largest >= largest[0] - 1e-12).mean())

    sets = [s for size in range(1, 5) for s in itertools.combinations(range(4), size)]
    expected = [max(of_all(chosen) for chosen in sets if place in chosen) for place in range(4)]
    assert adjusted_p(t) == pytest.approx(expected)


@given(SEEDS)
def test_step_down_is_no_stricter_than_single_step_and_no_laxer_than_none(seed: int) -> None:
    t = statistics_under(sign_patterns(6), some_rows(seed))
    largest = t.max(axis=1)
    p = adjusted_p(t)
    for place, own in enumerate(t[0]):
        single = (largest >= own - 1e-12).mean()
        alone = (t[:, place] >= own - 1e-12).mean()
        assert alone <= p[place] + 1e-12
        assert p[place] <= single + 1e-12


@given(SEEDS)
def test_larger_statistic_has_no_larger_p(seed: int) -> None:
    t = statistics_under(sign_patterns(6), some_rows(seed))
    p = adjusted_p(t)[np.argsort(-t[0])]
    assert (np.diff(p) >= 0).all()
    assert (p > 0).all() and (p <= 1).all()


@given(SEEDS, st.permutations(range(5)))
def test_order_of_series_does_not_matter(seed: int, order: list[int]) -> None:
    rows = some_rows(seed)
    assert p_of(rows[:, order]) == pytest.approx(p_of(rows)[order])


@given(SEEDS, st.lists(st.floats(0.5, 20), min_size=5, max_size=5))
def test_scale_of_a_series_does_not_matter(seed: int, scales: list[float]) -> None:
    rows = some_rows(seed)
    assert p_of(rows * np.array(scales)) == pytest.approx(p_of(rows))


@given(SEEDS)
def test_order_of_pairs_does_not_matter_where_all_patterns_are_tried(seed: int) -> None:
    rows = some_rows(seed)
    assert p_of(rows[::-1]) == pytest.approx(p_of(rows))


# How often it errs


def normal(draw: np.random.Generator, pairs: int, width: int) -> Floats:
    return correlated(draw, pairs, width)


def heavy(draw: np.random.Generator, pairs: int, width: int) -> Floats:
    return correlated(draw, pairs, width, heavy=True)


def uneven(draw: np.random.Generator, pairs: int, width: int) -> Floats:
    """Series that spread a hundredfold differently, in pairs of which one in ten is far off."""
    off = np.where(draw.random((pairs, 1)) < 0.1, 20.0, 1.0)
    return correlated(draw, pairs, width) * off * np.geomspace(0.1, 10, width)


@pytest.mark.parametrize("width", [24, 48])
@pytest.mark.parametrize("pairs", [9, 16])
@pytest.mark.parametrize("drawn", [normal, heavy, uneven])
def test_series_without_effect_are_called_no_more_often_than_alpha(
    drawn: Callable[[np.random.Generator, int, int], Floats], pairs: int, width: int
) -> None:
    runs, alpha = 300, 0.05
    draw = np.random.default_rng([pairs, width])
    least = np.array([p_of(drawn(draw, pairs, width), 500).min() for _ in range(runs)])
    false = int((least <= alpha).sum())
    assert false <= stats.binom.ppf(0.999, runs, alpha)
    assert false >= stats.binom.ppf(0.001, runs, alpha), "nor is it needlessly shy"


def test_true_slowdowns_do_not_make_the_others_be_called() -> None:
    runs, alpha, false = 300, 0.05, 0
    draw = np.random.default_rng(0)
    slow = np.where(np.arange(24) < 12, 0.05, 0.0)
    for _ in range(runs):
        p = p_of(correlated(draw, 9, 24) + slow)
        false += bool((p[12:] <= alpha).any())
    assert false <= stats.binom.ppf(0.999, runs, alpha)


def test_slowdown_of_several_standard_deviations_is_found() -> None:
    draw = np.random.default_rng(1)
    found = 0
    for _ in range(50):
        rows = correlated(draw, 9, 24, spread=0.005)
        rows[:, 3] += 0.03
        found += p_of(rows)[3] <= 0.01
    assert found >= 45


def test_nine_pairs_are_the_fewest_that_can_detect_at_a_fifth_of_one_per_cent() -> None:
    assert p_of(np.ones((8, 1)) + 0.01 * np.arange(8)[:, None])[0] > 0.002
    assert p_of(np.ones((9, 1)) + 0.01 * np.arange(9)[:, None])[0] <= 0.002


# The critical value


@given(SEEDS)
def test_statistic_above_the_critical_value_is_detected_and_none_below(seed: int) -> None:
    rows = some_rows(seed, pairs=8)
    t = statistics_under(sign_patterns(8), rows)
    largest = t.max(axis=1)
    for alpha in (0.01, 0.05, 0.25):
        critical = critical_t(t, alpha)
        assert (largest > critical).mean() <= alpha
        if t[0].max() > critical + 1e-9:
            assert adjusted_p(t).min() <= alpha + 1 / len(t)


def test_critical_value_grows_as_alpha_shrinks_and_with_more_series() -> None:
    rows = correlated(np.random.default_rng(2), 9, 24)
    t = statistics_under(sign_patterns(9), rows)
    assert critical_t(t, 0.002) > critical_t(t, 0.05) > critical_t(t[:, :1], 0.05) > 0
