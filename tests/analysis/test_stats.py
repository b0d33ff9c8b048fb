"""Estimates: what is quiet, and how far another run may land."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.analysis.stats import (
    MIN_REPLICATES,
    Estimate,
    at_most,
    estimates,
    floor_of,
    moderated,
    quiet_blocks,
    slowness,
)

Floats = NDArray[np.float64]
SERIES = 24


def known(found: list[Estimate | None]) -> list[Estimate]:
    assert None not in found
    return [estimate for estimate in found if estimate is not None]


def test_floor_is_the_fastest_tenth_and_not_the_fastest_fluke() -> None:
    readings = [50, *range(100, 199)]
    assert 105 <= floor_of(readings) <= 112
    assert floor_of([100] * 20 + [900] * 80) == 100
    assert floor_of([77]) == 77


def test_slowness_is_one_at_the_floor_and_multiplies_from_there() -> None:
    slow = slowness({"dispatch": [100, 130, 200]}, {"dispatch": 100, "unheard": 1})
    assert slow.tolist() == pytest.approx([1.0, 1.3, 2.0])


def test_slowness_of_two_metronomes_is_their_geometric_mean() -> None:
    slow = slowness(
        {"dispatch": [100, 100, 150], "memory": [300, 1200, 300]}, {"dispatch": 100, "memory": 300}
    )
    assert slow.tolist() == pytest.approx([1.0, 2.0, math.sqrt(1.5)])


def test_quiet_block_is_one_near_the_best_speed() -> None:
    quiet = quiet_blocks(np.array([0.9, 1.0, 1.149, 1.151, 1.3]))
    assert quiet.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("replicates", range(MIN_REPLICATES))
def test_too_few_replicates_give_no_estimate(replicates: int) -> None:
    assert estimates([[100.0] * replicates], 0) == [None]


def test_series_without_estimate_keep_their_place() -> None:
    found = estimates([[], [100.0, 100.0, 100.0], [50.0, 60.0], [7.0, 7.0, 7.0]], 0)
    assert [None if e is None else round(e.time_ns) for e in found] == [None, 100, None, 7]
    assert estimates([], 0) == []


def test_estimate_is_the_geometric_mean_of_its_replicates() -> None:
    (estimate,) = known(estimates([[100.0, 200.0, 400.0]], 0))
    assert estimate.time_ns == pytest.approx(200.0)


def test_interval_of_a_lone_series_is_the_prediction_interval_of_a_new_mean() -> None:
    (estimate,) = known(estimates([[math.exp(v) for v in (0.9, 1.0, 1.1)]], 0))
    assert estimate.half_width == pytest.approx(4.302653 * 0.1 * math.sqrt(2 / 3), rel=1e-5)
    assert estimate.low_ns == pytest.approx(estimate.time_ns / math.exp(estimate.half_width))
    assert estimate.high_ns == pytest.approx(estimate.time_ns * math.exp(estimate.half_width))


def test_replicates_that_agree_exactly_have_no_width() -> None:
    (estimate,) = known(estimates([[100.0] * 3], 0))
    assert estimate.half_width == 0


def equal(chance: np.random.Generator) -> Floats:
    return np.full(SERIES, 0.02)


def unequal(chance: np.random.Generator) -> Floats:
    """Deviations whose squares differ from series to series, by a factor of ten or so."""
    return 0.02 * np.sqrt(4 / chance.chisquare(4, SERIES))


def lone(chance: np.random.Generator) -> Floats:
    return np.full(1, 0.02)


@pytest.mark.parametrize("replicates", [3, 5, 8])
@pytest.mark.parametrize(("deviations", "runs"), [(equal, 300), (unequal, 300), (lone, 3000)])
def test_ninety_five_of_a_hundred_new_runs_land_inside(
    deviations: Callable[[np.random.Generator], Floats], runs: int, replicates: int
) -> None:
    chance = np.random.default_rng(replicates)
    inside: list[bool] = []
    for _ in range(runs):
        spread = deviations(chance)[:, None]
        first, second = chance.normal(12.0, spread, (2, len(spread), replicates))
        for estimate, again in zip(
            known(estimates(np.exp(first).tolist(), 0)), second, strict=True
        ):
            inside.append(bool(estimate.low_ns <= np.exp(again.mean()) <= estimate.high_ns))
    assert 0.935 < np.mean(inside) < 0.965


def test_series_with_equal_variances_lend_each_other_their_degrees_of_freedom() -> None:
    pooled, freedom = moderated(np.full(10, 4e-4), np.full(10, 2.0))
    assert freedom.tolist() == [20.0] * 10
    assert len(set(pooled.tolist())) == 1


def test_pooled_variance_is_about_the_true_one() -> None:
    chance = np.random.default_rng(1)
    own = 4e-4 * chance.chisquare(2, 2000) / 2
    shrunk, _ = moderated(own, np.full(2000, 2.0))
    assert np.median(shrunk) == pytest.approx(4e-4, rel=0.05)


def test_sharing_variances_narrows_the_intervals() -> None:
    chance = np.random.default_rng(2)
    times = np.exp(chance.normal(12.0, 0.02, (SERIES, 3)))
    together = [estimate.half_width for estimate in known(estimates(times.tolist(), 0))]
    alone = [known(estimates([row], 0))[0].half_width for row in times]
    assert np.mean(together) < 0.6 * np.mean(alone)


def test_unlike_variances_are_drawn_together_but_keep_their_order() -> None:
    chance = np.random.default_rng(3)
    own = np.sort(4e-4 * (2 / chance.chisquare(2, 40)) * chance.chisquare(4, 40) / 4)
    shrunk, freedom = moderated(own, np.full(40, 4.0))
    assert np.all(np.diff(shrunk) > 0)
    assert np.log(shrunk).std() < 0.9 * np.log(own).std()
    assert shrunk[0] > own[0] and shrunk[-1] < own[-1]
    assert np.all((freedom > 4) & (freedom < 160))


def test_lone_variance_is_left_as_it_is() -> None:
    variances, freedom = moderated(np.array([4e-4, 0.0]), np.array([2.0, 2.0]))
    assert (variances.tolist(), freedom.tolist()) == ([4e-4, 0.0], [2.0, 2.0])


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(1, 1e12), max_size=8), max_size=12))
def test_any_times_give_finite_estimates(times: list[list[float]]) -> None:
    found = estimates(times, 0)
    assert len(found) == len(times)
    for estimate, own in zip(found, times, strict=True):
        assert (estimate is None) == (len(own) < MIN_REPLICATES)
        if estimate is not None:
            assert 0.999 * min(own) <= estimate.time_ns <= 1.001 * max(own)
            assert 0 <= estimate.half_width < math.inf


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**12), min_size=1))
def test_floor_lies_among_the_readings(readings: list[int]) -> None:
    assert min(readings) <= floor_of(readings) <= max(readings)


def test_drift_between_runs_widens_what_replicates_show() -> None:
    times = [[math.exp(v) for v in (0.9, 1.0, 1.1)]]
    (narrow,), (wide,) = known(estimates(times, 0)), known(estimates(times, 0.3))
    assert wide.time_ns == narrow.time_ns
    assert wide.half_width == pytest.approx(math.hypot(narrow.half_width, 0.3))


@pytest.mark.parametrize(
    ("count", "of", "share"),
    [(0, 12, 0.221), (0, 300, 0.00994), (0, 59, 0.0495), (1, 100, 0.0466), (5, 5, 1.0)],
)
def test_share_is_below_what_so_many_of_so_many_leave_open(
    count: int, of: int, share: float
) -> None:
    assert at_most(count, of) == pytest.approx(share, abs=5e-4)


def test_none_of_many_is_the_rule_of_three() -> None:
    assert at_most(0, 3000) == pytest.approx(3 / 3000, rel=0.01)
