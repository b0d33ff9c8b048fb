"""How well identical runs agree: spreads, coverage, and what does not count as identical."""

import numpy as np
import pytest

from bench.errors import UsageError
from bench.machine.circumstances import MeasuredDevice
from bench.records.run_file import RunRecord
from bench.repeatability.analysis import (
    agreement,
    as_printed,
    check_identical,
    phases_over_whole,
    share_in_blocks,
)
from bench.stats.frame import tidy
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import GPU, OTHER_GPUS, Moods, measured_on

SMALL, LARGE = sumnet(batch=2), sumnet(batch=16384)


def runs_of(*times: float, noise: float = 0.0) -> list[RunRecord]:
    return [
        synthetic.run(
            {SMALL: time, LARGE: 1e6}, moods=Moods(noise=noise, between=noise, blocks=8, seed=seed)
        )
        for seed, time in enumerate(times)
    ]


def test_spread_is_the_largest_time_over_the_smallest() -> None:
    runs = runs_of(1e5, 1.1e5, 1.05e5)
    small, large = agreement(as_printed(runs), "quiet").itertuples()
    assert (small.batch, large.batch) == (2, 16384)
    assert small.series == large.series == 4
    assert small.median_spread == pytest.approx(0.1, abs=1e-3)
    assert large.worst_spread == pytest.approx(0.0, abs=1e-3)


def test_coverage_counts_ordered_pairs_of_runs() -> None:
    runs = runs_of(1e5, 1e5, 2e5)
    small, large = agreement(as_printed(runs), "quiet").itertuples()
    assert small.covered == pytest.approx(2 / 6)
    assert large.covered == 1.0


def test_noisy_runs_of_one_true_value_cover_each_other() -> None:
    (small, _) = agreement(as_printed(runs_of(*[1e5] * 8, noise=0.02)), "typical").itertuples()
    assert 0.8 < small.covered <= 1.0
    assert small.missing == 0


def test_phases_are_compared_with_the_whole_step() -> None:
    frame = tidy(runs_of(1e5, 1e5), ["a", "b"])
    assert phases_over_whole(frame, "quiet") == pytest.approx(1.0, abs=1e-3)


def test_cases_without_phases_are_left_out_of_the_sum() -> None:
    lbfgs = sumnet(optimizer="lbfgs")
    both = synthetic.run({SMALL: 1e5, lbfgs: 9e5}, moods=Moods(noise=0, between=0))
    assert phases_over_whole(tidy([both], ["a"]), "quiet") == pytest.approx(1.0, abs=1e-3)
    alone = synthetic.run({lbfgs: 9e5}, moods=Moods(noise=0, between=0))
    assert np.isnan(phases_over_whole(tidy([alone], ["a"]), "quiet"))


def test_share_leaves_start_up_out() -> None:
    runs = runs_of(1e5, 1e5)
    for run in runs:
        session = run.sessions[0]
        session.started_at, session.ended_at, session.startup_s, session.block_s = 0, 12, 2, 5
    assert share_in_blocks(runs) == 0.5


def test_runs_of_different_plans_are_refused() -> None:
    one, other = runs_of(1e5), [synthetic.run({SMALL: 1e5})]
    with pytest.raises(UsageError, match="differ in their cases"):
        check_identical([*one, *other])
    with pytest.raises(UsageError, match="two or more"):
        check_identical(one)
    assert np.isnan(agreement(tidy(one, ["a"]), "quiet")["covered"].iloc[0])


@pytest.mark.parametrize("other", OTHER_GPUS, ids=str)
def test_runs_on_other_devices_are_refused(other: MeasuredDevice) -> None:
    runs = [
        measured_on(synthetic.run({sumnet(device="cuda"): 1e5}), device)
        for device in (GPU, GPU, other)
    ]
    check_identical(runs[:2])
    with pytest.raises(UsageError, match="differ in their cuda"):
        check_identical(runs)
