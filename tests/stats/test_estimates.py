"""Estimates: what is quiet, and how far another run may land."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.records.run_file import Drift
from bench.stats.estimates import (
    SIGMAS,
    Estimate,
    estimates,
    floor_of,
    moderated,
    quiet_blocks,
    quietest_blocks,
    ratio_half,
    slowness,
)

NO_DRIFT = Drift(0.0)
Floats = NDArray[np.float64]
SERIES = 24


def test_quietest_blocks_are_the_three_nearest_the_floor() -> None:
    assert quietest_blocks(np.array([1.5, 1.2, 1.9, 1.3, 1.4])).tolist() == [
        False, True, False, True, True,
    ]  # fmt: skip
    assert quietest_blocks(np.array([1.5, 1.2])).tolist() == [True, True]


def known(found: list[Estimate | None]) -> list[Estimate]:
    assert None not in found
    return [estimate for estimate in found if estimate is not None]


def test_floor_is_the_fastest_tenth_and_not_the_fastest_fluke() -> None:
    readings = [50, *range(100, 199)]
    assert 105 <= floor_of(readings) <= 112
    assert floor_of([100] * 20 + [900] * 80) == 100
    assert floor_of([77]) == 77


def test_slowness_is_one_at_the_floor_and_multiplies_from_there() -> None:
    slow = slowness({"dispatch": [100, 130, 200]}, {"dispatch": 100, "unread": 1})
    assert slow.tolist() == pytest.approx([1.0, 1.3, 2.0])


def test_slowness_of_two_reference_loops_is_their_geometric_mean() -> None:
    slow = slowness(
        {"dispatch": [100, 100, 150], "memory": [300, 1200, 300]}, {"dispatch": 100, "memory": 300}
    )
    assert slow.tolist() == pytest.approx([1.0, 2.0, math.sqrt(1.5)])


def test_quiet_block_is_one_near_the_best_speed() -> None:
    quiet = quiet_blocks(np.array([0.9, 1.0, 1.149, 1.151, 1.3]))
    assert quiet.tolist() == [True, True, True, False, False]


def test_a_single_replicate_is_an_estimate_without_an_interval() -> None:
    (estimate,) = known(estimates([[100.0]], NO_DRIFT))
    assert estimate.time_ns == pytest.approx(100.0)
    assert math.isnan(estimate.half_width)


def test_series_without_estimate_keep_their_place() -> None:
    found = estimates([[], [100.0, 100.0, 100.0], [50.0], [7.0, 7.0, 7.0]], NO_DRIFT)
    assert [None if e is None else round(e.time_ns) for e in found] == [None, 100, 50, 7]
    assert estimates([], NO_DRIFT) == []


def test_drift_and_replicates_add_up_as_variances_do() -> None:
    (still,) = known(estimates([[100.0] * 3], Drift(0.01)))
    assert still.half_width == pytest.approx(SIGMAS * 0.01 * math.sqrt(2))
    (unsure,) = known(estimates([[100.0] * 3], Drift(0.01, freedom=2)))
    assert unsure.half_width == pytest.approx(4.302653 * 0.01 * math.sqrt(2), rel=1e-5)


def test_ratio_of_two_runs_is_known_better_than_where_another_two_land() -> None:
    assert ratio_half(0.03, 0.04) == pytest.approx(0.05 / math.sqrt(2))


def test_estimate_is_the_geometric_mean_of_its_replicates() -> None:
    (estimate,) = known(estimates([[100.0, 200.0, 400.0]], NO_DRIFT))
    assert estimate.time_ns == pytest.approx(200.0)


def test_interval_of_a_lone_series_is_the_prediction_interval_of_a_new_mean() -> None:
    (estimate,) = known(estimates([[math.exp(v) for v in (0.9, 1.0, 1.1)]], NO_DRIFT))
    assert estimate.half_width == pytest.approx(4.302653 * 0.1 * math.sqrt(2 / 3), rel=1e-5)


def test_replicates_that_agree_exactly_have_no_width() -> None:
    (estimate,) = known(estimates([[100.0] * 3], NO_DRIFT))
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
            known(estimates(np.exp(first).tolist(), NO_DRIFT)), second, strict=True
        ):
            off = again.mean() - math.log(estimate.time_ns)
            inside.append(bool(abs(off) <= estimate.half_width))
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
    together = [estimate.half_width for estimate in known(estimates(times.tolist(), NO_DRIFT))]
    alone = [known(estimates([row], NO_DRIFT))[0].half_width for row in times]
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
    found = estimates(times, NO_DRIFT)
    assert len(found) == len(times)
    for estimate, own in zip(found, times, strict=True):
        assert (estimate is None) == (len(own) == 0)
        if estimate is not None:
            assert 0.999 * min(own) <= estimate.time_ns <= 1.001 * max(own)
            assert len(own) == 1 or 0 <= estimate.half_width < math.inf


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**12), min_size=1))
def test_floor_lies_among_the_readings(readings: list[int]) -> None:
    assert min(readings) <= floor_of(readings) <= max(readings)


def test_drift_between_runs_widens_what_replicates_show() -> None:
    times = [[math.exp(v) for v in (0.9, 1.0, 1.1)]]
    (narrow,), (wide,) = known(estimates(times, NO_DRIFT)), known(estimates(times, Drift(0.3)))
    assert wide.time_ns == narrow.time_ns
    assert narrow.half_width < wide.half_width
    assert wide.half_width == pytest.approx(SIGMAS * math.sqrt(2) * 0.3, rel=0.1)
