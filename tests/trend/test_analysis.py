"""Histories: where levels move, how often they seem to and do not, and what differs there."""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from bench.errors import UsageError
from bench.machine.circumstances import MeasuredDevice
from bench.matrix.case import Case
from bench.records.run_file import RunRecord
from bench.stats.estimates import DRIFT, SIGMAS, Floats, assumed_drift, estimates
from bench.trend.analysis import (
    NO_LEVEL,
    Trend,
    levels,
    penalty,
    trends,
)
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import GPU, OTHER_GPUS, Moods, measured_on

SGD = sumnet()
ADAM = sumnet(optimizer="adam")
NOISE = 0.01
"""Standard deviation of a log time, and what the half-widths of `stated` say it is."""


def stated(count: int, noise: float = NOISE) -> Floats:
    return np.full(count, SIGMAS * np.sqrt(2) * noise)


def found(logs: Floats, halves: Floats | None = None) -> list[int]:
    """The levels of a history on its own."""
    return list(
        levels(logs, stated(len(logs)) if halves is None else halves, penalty(len(logs) - 1))
    )


def changes(numbers: Sequence[int]) -> list[int]:
    """The places of the first time on each level but the first."""
    on = [(place, level) for place, level in enumerate(numbers) if level != NO_LEVEL]
    return [after for (_, old), (after, new) in itertools.pairwise(on) if old != new]


def history(times: Sequence[float], case: Case = SGD, **others: object) -> list[RunRecord]:
    return [
        synthetic.run({case: time}, moods=Moods(seed=seed), **others)  # type: ignore[arg-type]
        for seed, time in enumerate(times)
    ]


def numbered(runs: Sequence[RunRecord]) -> dict[str, RunRecord]:
    return {f"r{number}": run for number, run in enumerate(runs)}


def trend_of(runs: Sequence[RunRecord], statistic: str = "quiet") -> Trend:
    (trend,) = trends(numbered(runs), "train_step", statistic)
    return trend


@pytest.mark.parametrize("count", [6, 10, 20, 60])
def test_of_histories_without_a_change_at_most_one_in_twenty_shows_one(count: int) -> None:
    """Noise as a run has it: replicates of which each series has its own spread, and drift."""
    chance = np.random.default_rng(count)
    series, replicates, drift = 24, 5, DRIFT["quiet"]
    histories = 1200 if count < 60 else 480
    changed = 0
    for _ in range(histories // series):
        spread = 0.01 * np.exp(chance.normal(0, 0.3, series))
        runs = []
        for _ in range(count):
            shared = chance.normal(0, drift / SIGMAS / np.sqrt(2), (series, 1))
            own = chance.normal(0, spread[:, None], (series, replicates))
            runs.append(estimates(np.exp(shared + own).tolist(), assumed_drift("quiet")))
        for of_series in zip(*runs, strict=True):
            known = [estimate for estimate in of_series if estimate is not None]
            logs = np.log([estimate.time_ns for estimate in known])
            halves = np.array([estimate.half_width for estimate in known])
            changed += bool(changes(found(logs, halves)))
    assert 0 < changed <= 0.05 * histories


@pytest.mark.parametrize("count", [6, 10, 20, 60])
def test_a_step_of_five_times_the_noise_is_found_where_it_is(count: int) -> None:
    chance = np.random.default_rng(count)
    right = 0
    for _ in range(200):
        place = int(chance.integers(2, count - 1))
        logs = chance.normal(0, NOISE, count) + 5 * NOISE * (np.arange(count) >= place)
        right += changes(found(logs)) == [place]
    assert right >= 0.9 * 200


def test_several_steps_are_found() -> None:
    logs = np.repeat([0.0, 0.08, 0.03], 8) + np.random.default_rng(1).normal(0, NOISE, 24)
    assert changes(found(logs)) == [8, 16]


@pytest.mark.parametrize("place", [0, 3, 9])
def test_a_lone_run_is_no_change(place: int) -> None:
    logs = np.random.default_rng(2).normal(0, NOISE, 10)
    logs[place] += 10 * NOISE
    expected = [0] * 10
    expected[place] = NO_LEVEL
    assert found(logs) == expected


def test_a_change_is_found_beside_a_lone_run() -> None:
    logs = np.repeat([0.0, 0.1], 6)
    logs[5] = 0.5
    assert found(logs) == [0] * 5 + [NO_LEVEL] + [1] * 6


def test_runs_that_never_agree_are_on_no_level() -> None:
    assert found(np.array([0.0, 1.0] * 4)) == [NO_LEVEL] * 8


def test_a_step_counts_for_as_much_as_its_runs_are_sure() -> None:
    logs = np.repeat([0.0, 0.05], 4)
    assert changes(found(logs, stated(8))) == [4]
    assert changes(found(logs, stated(8, noise=0.05))) == []


def test_more_places_ask_for_a_larger_step() -> None:
    assert penalty(1) == pytest.approx(1.959964**2)
    assert penalty(60) > penalty(6)


@pytest.mark.parametrize("seed", range(8))
def test_levels_are_the_best_of_all_there_could_be(seed: int) -> None:
    """Against every way to divide a short history, where no stretch comes out too short."""
    chance = np.random.default_rng(seed)
    logs = np.repeat(chance.normal(0, 0.06, 3), 3) + chance.normal(0, NOISE, 9)
    halves = stated(9) * chance.uniform(0.5, 2, 9)
    weights = 2 * (SIGMAS / halves) ** 2

    def cost(bounds: Iterable[int]) -> float:
        total = penalty(8) * len(list(bounds))
        for low, high in itertools.pairwise([0, *bounds, 9]):
            part, weight = logs[low:high], weights[low:high]
            total += float((weight * (part - np.average(part, weights=weight)) ** 2).sum())
        return total

    divisions = [c for n in range(9) for c in itertools.combinations(range(1, 9), n)]
    best = list(min(divisions, key=cost))
    if min(np.diff([0, *best, 9])) > 1:
        assert changes(found(logs, halves)) == best
    else:
        assert NO_LEVEL in found(logs, halves)


def test_a_change_names_the_runs_around_it_and_its_size() -> None:
    trend = trend_of(history([1e5] * 4 + [8e4] * 3))
    (change,) = trend.changes.to_dict("records")
    assert (change["changed_since"], change["run"]) == ("r3", "r4")
    assert change["change"] == pytest.approx(0.8, rel=0.01)
    assert abs(np.log(change["change"] / 0.8)) < change["change_half"] < 0.025
    assert list(trend.table["level"]) == [0] * 4 + [1] * 3


def test_levels_of_many_runs_are_surer_than_those_of_few() -> None:
    few, many = (trend_of(history([1e5] * count + [8e4] * count)) for count in (2, 8))
    assert many.changes["change_half"].item() < 0.6 * few.changes["change_half"].item()


def test_identical_runs_do_not_change() -> None:
    assert trend_of(history([1e5] * 8)).changes.empty
    assert trend_of(history([1e5] * 8), "typical").changes.empty


def test_three_runs_are_too_few() -> None:
    trend = trend_of(history([1e5, 1e5, 2e5]))
    assert not trend.long_enough
    assert trend.changes.empty
    assert trend.table["level_ns"].isna().all()


def test_runs_without_a_time_keep_their_rows_and_do_not_count() -> None:
    runs = history([1e5] * 3 + [2e5] * 3)
    broken = synthetic.run({SGD: 1e5}, ended={SGD: ("killed", "out of memory")})
    (change,) = trend_of([*runs[:3], broken, *runs[3:]]).changes.to_dict("records")
    assert (change["changed_since"], change["run"]) == ("r2", "r4")
    trend = trend_of([broken] * 4)
    assert (len(trend.table), len(trend.timed)) == (4, 0)


@pytest.mark.parametrize("other", ["environment", "reference loop"])
def test_what_does_not_compare_has_a_history_of_its_own(other: str) -> None:
    ours = history([1e5] * 4)
    if other == "environment":
        theirs = history([2e5] * 4, environment="steady")
    else:
        theirs = history([2e5] * 4)
        for run in theirs:
            run.reference_loop_version += 1
    mixed = [run for pair in zip(ours, theirs, strict=True) for run in pair]
    found = trends(numbered(mixed), "train_step", "quiet")
    assert [list(trend.table["run"]) for trend in found] == [
        ["r0", "r2", "r4", "r6"],
        ["r1", "r3", "r5", "r7"],
    ]
    assert all(trend.changes.empty for trend in found)


@pytest.mark.parametrize("other", OTHER_GPUS[:2], ids=str)
def test_case_has_a_history_on_each_of_several_devices(other: MeasuredDevice) -> None:
    cuda = sumnet(device="cuda")
    runs = history([1e5] * 4, cuda)
    alone = trends(numbered([measured_on(run, GPU) for run in runs]), "train_step", "quiet")
    assert [set(trend.table["hardware"]) for trend in alone] == [{""}]
    for run in runs[1::2]:
        measured_on(run, other)
    found = trends(numbered([*runs, *history([1e5])]), "train_step", "quiet")
    histories = {
        (trend.case, trend.table["hardware"].iloc[0]): list(trend.table["run"]) for trend in found
    }
    assert histories == {
        (cuda.id, GPU.label): ["r0", "r2"],
        (cuda.id, other.label): ["r1", "r3"],
        (SGD.id, "cpu"): ["r4"],
    }


def test_device_with_another_platform_goes_on_with_its_history() -> None:
    older, newer = OTHER_GPUS[2], GPU
    runs = history([1e5] * 4, sumnet(device="cuda"))
    for run, device in zip(runs, (older, older, newer, newer), strict=True):
        measured_on(run, device)
    (trend,) = trends(numbered(runs), "train_step", "quiet")
    assert len(trend.table) == 4


def test_slower_state_of_the_machine_has_a_history_of_its_own() -> None:
    fast, slow = (
        [synthetic.run({SGD: 1e5}, moods=Moods(seed=seed, speeds=(speed,))) for seed in range(4)]
        for speed in (1.0, 1.5)
    )
    slow = [
        synthetic.run({SGD: time}, moods=Moods(seed=seed, speeds=(1.5,)))
        for seed, time in enumerate([1e5] * 3 + [1.3e5] * 3)
    ]
    found = trends(numbered([*fast, *slow]), "train_step", "quiet")
    assert [trend.table["state"].iloc[0] for trend in found] == ["", "1.5x slower"]
    assert [len(trend.changes) for trend in found] == [0, 1]


def test_run_of_one_replicate_is_on_no_level() -> None:
    """It has no interval, so that nothing says how far off it may be."""
    alone = synthetic.run({SGD: 3e5}, replicates=1)
    runs = [*history([1e5] * 3), alone, *history([1e5] * 3)]
    for statistic in ("quiet", "typical"):
        (trend,) = trends(numbered(runs), "train_step", statistic)
        assert trend.changes.empty and len(trend.timed) == 6


def test_each_case_has_its_own_history() -> None:
    runs = [
        synthetic.run({SGD: 1e5, ADAM: time}, moods=Moods(seed=seed))
        for seed, time in enumerate([2e5] * 4 + [3e5] * 4)
    ]
    sgd, adam = trends(numbered(runs), "forward", "quiet")
    assert (sgd.case, adam.case) == (SGD.id, ADAM.id)
    assert (len(sgd.changes), len(adam.changes)) == (0, 1)


def test_a_series_that_nothing_has_is_refused() -> None:
    with pytest.raises(UsageError, match="no case here is timed by latency"):
        trends(numbered(history([1e5])), "latency", "quiet")
