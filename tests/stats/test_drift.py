"""How runs of one plan differ beyond their replicates, and what intervals with that hold."""

import math

import numpy as np
import pytest

from bench.records.run_file import Drift
from bench.stats.drift import PRIOR_FREEDOM, Means, estimated_drift
from bench.stats.estimates import assumed_drift, estimates

SERIES, REPLICATES = 24, 7


def simulated(
    chance: np.random.Generator, runs: int, shared: float, own: float, noise: float = 0.01
) -> list[list[list[float]]]:
    """Log times by run, series and replicate, from deviations of what runs differ by in all their
    series and in each, and of replicates."""
    offsets = chance.normal(0.0, shared, (runs, 1, 1)) + chance.normal(0.0, own, (runs, SERIES, 1))
    times: list[list[list[float]]] = (
        12.0 + offsets + chance.normal(0.0, noise, (runs, SERIES, REPLICATES))
    ).tolist()
    return times


def means(run: list[list[float]]) -> Means:
    return {
        (f"case {place}", "train_step"): (
            float(np.mean(times)),
            float(np.var(times, ddof=1)) / len(times),
        )
        for place, times in enumerate(run)
    }


NOTHING = Drift(0.0)


def drift(*groups: list[list[list[float]]], assumed: Drift = NOTHING) -> Drift:
    found = estimated_drift([[means(run) for run in group] for group in groups], assumed)
    assert found is not None
    return found


@pytest.mark.parametrize(("shared", "own"), [(0.01, 0.0), (0.0, 0.01), (0.01, 0.01), (0.0, 0.0)])
def test_drift_is_what_replicates_do_not_explain(shared: float, own: float) -> None:
    found = drift(simulated(np.random.default_rng(1), 200, shared, own))
    assert found.deviation == pytest.approx(math.hypot(shared, own), abs=0.002)
    assert found.runs == 200


def test_few_runs_that_share_their_drift_know_it_as_poorly_as_they_are_few() -> None:
    chance = np.random.default_rng(2)
    assert drift(simulated(chance, 3, 0.05, 0.0)).freedom == pytest.approx(
        2 + PRIOR_FREEDOM, abs=0.1
    )
    assert drift(simulated(chance, 3, 0.0, 0.05)).freedom > 20


def test_few_runs_lean_on_what_is_assumed_and_many_do_not() -> None:
    chance = np.random.default_rng(6)
    few, many = (simulated(chance, count, 0.0, 0.0) for count in (3, 60))
    assumed = Drift(0.02)
    assert drift(few, assumed=assumed).deviation > 0.3 * assumed.deviation
    assert drift(many, assumed=assumed).deviation < 0.3 * assumed.deviation


def test_two_runs_are_too_few() -> None:
    two = [means(run) for run in simulated(np.random.default_rng(3), 2, 0.01, 0.0)]
    assert estimated_drift([two], NOTHING) is None
    assert estimated_drift([two[:1]] * 9, NOTHING) is None, "runs of nine codes"
    assert estimated_drift([], NOTHING) is None


def test_groups_tell_of_drift_within_them_and_not_of_what_they_differ_by() -> None:
    chance = np.random.default_rng(4)
    first, second = (simulated(chance, 40, 0.01, 0.0) for _ in range(2))
    slower = [[[1.0 + value for value in times] for times in run] for run in second]
    assert drift(first, slower).deviation == pytest.approx(0.01, rel=0.3)


def test_series_that_a_run_lacks_do_not_count() -> None:
    runs = [dict(means(run)) for run in simulated(np.random.default_rng(5), 4, 0.0, 0.0)]
    for name in list(runs[0])[:-1]:
        del runs[0][name]
    del runs[1][next(iter(runs[1]))]
    found = estimated_drift([runs], NOTHING)
    assert found is not None and found.runs == 3, "the first has next to nothing"


@pytest.mark.parametrize("runs", [3, 6])
@pytest.mark.parametrize(
    ("shared", "own"), [(0.0, 0.0), (0.004, 0.0), (0.014, 0.0), (0.004, 0.004)]
)
def test_interval_holds_nine_of_ten_runs_that_the_drift_was_not_estimated_from(
    shared: float, own: float, runs: int
) -> None:
    chance = np.random.default_rng(runs)
    held: list[bool] = []
    for _ in range(200):
        *known, other = simulated(chance, runs + 1, shared, own)
        found = drift(known, assumed=assumed_drift("quiet"))
        estimated = estimates(np.exp(known[0]).tolist(), found)
        for estimate, times in zip(estimated, other, strict=True):
            assert estimate is not None
            off = float(np.mean(times)) - math.log(estimate.time_ns)
            held.append(abs(off) <= estimate.half_width)
    assert 0.9 < np.mean(held) <= 1
