"""Verdicts on stored runs: what can be compared, each word, the family-wise rule, calibration."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.compare.calibration import (
    MAX_AA_RUNS,
    aa_runs,
    calibrate,
)
from bench.compare.verdicts import (
    ALPHA,
    StoredRules,
    bounds,
    check_comparable,
    evidence,
    judge,
    outcome_of,
    words,
)
from bench.errors import UsageError
from bench.machine.circumstances import MeasuredDevice
from bench.matrix.case import (
    Case,
)
from bench.matrix.step import PHASES
from bench.records.run_file import RunRecord
from bench.records.store import load_run
from bench.records.verdicts import EQUIVALENT, IMPROVED, INCONCLUSIVE, INVALID, REGRESSED
from bench.stats.calibration import at_most
from bench.stats.estimates import (
    DRIFT,
    SIGMAS,
    assumed_drift,
    estimates,
    ratio_half,
)
from bench.stats.frame import tidy
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import GPU, OTHER_GPUS, Moods, measured_on

SGD, ADAM = sumnet(), sumnet(optimizer="adam")
TF32 = sumnet(dtype="tf32")
CUDA = sumnet(device="cuda")
RULES = StoredRules()
ASSUMED = DRIFT["quiet"] / SIGMAS
"""The standard deviation of the drift between two runs that is assumed."""
CALM = Moods(noise=0.001, between=0.001, blocks=8)


def run(times: dict[Case, float], **how: Any) -> RunRecord:
    fixed: dict[str, Any] = {"moods": CALM}
    return synthetic.run(times, **fixed | how)


def judged(base: RunRecord, head: RunRecord, rules: StoredRules = RULES) -> pd.DataFrame:
    return judge(tidy([base, head], ["base", "head"]), "base", "head", rules)


def verdicts(table: pd.DataFrame, case: Case) -> list[str]:
    return list(table.loc[table["case"] == case.id, "verdict"])


# What can be compared


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("machine", {"name": "other-cpu-4c-8gib"}),
        ("cpu", {"cpu": "Other CPU"}),
        ("cores", {"cores": 8}),
        ("cores available", {"available_cores": 2}),
        ("CPU quota", {"cpu_quota": 0.5}),
        ("memory", {"memory_bytes": 16 * 2**30}),
        ("gpus", {"gpus": ("Test GPU",)}),
        ("torch", {"torch": "2.12.0"}),
        ("python", {"python": "CPython 3.12.1"}),
    ],
)
def test_runs_of_other_hardware_or_software_are_refused(what: str, change: Any) -> None:
    other = run({SGD: 1e5}, on=synthetic.machine(**change))
    with pytest.raises(UsageError, match=rf"differ in their {what} \("):
        check_comparable(run({SGD: 1e5}), other)


@pytest.mark.parametrize(
    ("what", "change"),
    [("environment", {"environment": "steady"}), ("learning rate", {"lr": 0.01})],
)
def test_runs_of_other_plans_are_refused_where_the_plan_moves_times(what: str, change: Any) -> None:
    with pytest.raises(UsageError, match=rf"differ in their {what} \("):
        check_comparable(run({SGD: 1e5}), run({SGD: 1e5}, **change))


def test_runs_of_other_reference_loops_are_refused() -> None:
    other = run({SGD: 1e5})
    other.reference_loop_version += 1
    with pytest.raises(UsageError, match="differ in their reference loop"):
        check_comparable(run({SGD: 1e5}), other)


@pytest.mark.parametrize("other", OTHER_GPUS, ids=str)
def test_runs_on_other_devices_are_refused_and_with_one_beside_are_not(
    other: MeasuredDevice,
) -> None:
    ours, theirs = (measured_on(run({SGD: 1e5, CUDA: 1e5}), device) for device in (GPU, other))
    with pytest.raises(UsageError, match=r"differ in their cuda \(Test GPU-aaaaaa .CUDA 13\.0., "):
        check_comparable(ours, theirs)
    check_comparable(ours, run({SGD: 1e5}))
    check_comparable(run({SGD: 1e5}), theirs)


def test_code_commit_and_what_the_kernel_keeps_for_itself_may_differ() -> None:
    changes: dict[str, Any] = {
        "code_hash": "c",
        "commit": "d",
        "dirty": True,
        "memory_bytes": 8 * 2**30 + 8192,
    }
    check_comparable(run({SGD: 1e5}), run({SGD: 1e5}, on=synthetic.machine(**changes)))


# The words


def test_slower_is_regressed_and_comes_first_faster_is_improved_the_same_is_equivalent() -> None:
    slow, fast, same = (sumnet(batch=batch) for batch in (2, 64, 1024))
    base = run({slow: 1e5, fast: 1e5, same: 1e5})
    table = judged(base, run({slow: 1.1e5, fast: 0.9e5, same: 1.001e5}))
    assert set(verdicts(table, slow)) == {REGRESSED}
    assert set(verdicts(table, fast)) == {IMPROVED}
    assert set(verdicts(table, same)) == {EQUIVALENT}
    assert list(table["verdict"]) == [REGRESSED] * 4 + [IMPROVED] * 4 + [EQUIVALENT] * 4
    assert outcome_of(table) == REGRESSED


def test_what_is_neither_detected_nor_within_the_margin_is_inconclusive_with_its_interval() -> None:
    loud = Moods(noise=0.03, between=0.03, blocks=8)
    table = judged(run({SGD: 1e5}, moods=loud), run({SGD: 1e5}, moods=loud))
    assert set(table["verdict"]) == {INCONCLUSIVE}
    assert outcome_of(table) == INCONCLUSIVE
    row = table.iloc[0]
    assert row["reason"].startswith("90% interval -")
    assert row["detectable"] > row["bound"] > row["half"]


@pytest.mark.usefixtures("no_drift")
def test_what_is_detected_below_the_threshold_has_a_reason_and_is_not_called() -> None:
    exact = Moods(noise=0, between=0, blocks=6)
    table = judged(run({SGD: 1e5}, moods=exact), run({SGD: 1.02e5}, moods=exact))
    assert set(table["verdict"]) == {EQUIVALENT}
    (reason,) = set(table["reason"])
    assert "slower" in reason and "3.0%" in reason
    called = judged(run({SGD: 1e5}, moods=exact), run({SGD: 1.035e5}, moods=exact))
    assert set(called["verdict"]) == {REGRESSED}


def test_what_one_side_lacks_is_invalid_and_keeps_its_row() -> None:
    table = judged(run({SGD: 1e5, ADAM: 1e5}), run({SGD: 1e5}))
    missing = table[table["case"] == ADAM.id]
    assert set(missing["verdict"]) == {INVALID}
    assert set(missing["reason"]) == {"head does not have it"}
    assert len(missing) == len(ADAM.series)
    assert outcome_of(table) == INVALID


def test_what_failed_is_invalid_with_its_reason() -> None:
    broken = run({SGD: 1e5, ADAM: 1e5}, ended={ADAM: ("failed", "it broke")})
    table = judged(run({SGD: 1e5, ADAM: 1e5}), broken)
    assert verdicts(table, ADAM) == [INVALID] * 4
    assert set(table.loc[table["case"] == ADAM.id, "reason"]) == {"failed in head: it broke"}


def test_phases_that_cannot_be_told_apart_are_invalid_and_count_where_one_run_has_them() -> None:
    clear, unclear = run({SGD: 1e5}), run({SGD: 1e5}, without_phases={SGD: "unclear"})
    table = judged(clear, unclear)
    of_phases = table["series"].isin(PHASES)
    assert set(table.loc[of_phases, "reason"]) == {"head has no time: no phases: unclear"}
    assert set(table.loc[~of_phases, "verdict"]) == {EQUIVALENT}
    assert outcome_of(table) == INVALID
    assert outcome_of(judged(unclear, unclear)) == EQUIVALENT


def test_what_never_got_quiet_is_invalid_and_says_so() -> None:
    busy = run({SGD: 1e5}, moods=Moods(noise=0.001, between=0.001, blocks=8, speeds=(1.0, 1.0, 2)))
    for workers in busy.cases[0].blocks.values():
        for worker in workers[:2]:
            worker.readings_ns["dispatch"] = [2 * v for v in worker.readings_ns["dispatch"]]
    table = judged(run({SGD: 1e5}), busy)
    assert set(table["verdict"]) == {INVALID}
    assert (
        "head: the machine was busy, and came near its speed in 1 of 3" in table["reason"].iloc[0]
    )
    assert "base" not in table["reason"].iloc[0]


def test_machine_that_was_slower_during_one_run_makes_no_verdict_on_the_code() -> None:
    slow = Moods(noise=0.001, between=0.001, blocks=8, speeds=(2.0,))
    table = judged(run({SGD: 1e5}), run({SGD: 1e5}, moods=slow))
    assert set(table["verdict"]) == {INVALID}
    assert "the machine itself was 2.0" in table["reason"].iloc[0]


def test_verdicts_in_one_slower_state_are_judged() -> None:
    slow = Moods(noise=0.001, between=0.001, blocks=8, speeds=(2.0,))
    base, head = (run({SGD: time}, moods=slow) for time in (1e5, 1.2e5))
    for each in (base, head):
        each.lowest_floors_ns = {"dispatch, t1, stock": 80_000}
    assert set(judged(base, head)["verdict"]) == {REGRESSED}


def test_what_neither_machine_supports_has_a_row_and_no_part_in_the_outcome() -> None:
    able = run({SGD: 1e5}, ended={TF32: ("unsupported", "no such units")})
    table = judged(able, able)
    assert verdicts(table, TF32) == [INVALID] * 4
    assert list(table["case"].iloc[-4:]) == [TF32.id] * 4
    assert outcome_of(table) == EQUIVALENT
    one_sided = judged(able, run({SGD: 1e5, TF32: 1e5}))
    assert outcome_of(one_sided) == INVALID


def test_nothing_in_common_is_invalid() -> None:
    assert outcome_of(judged(run({SGD: 1e5}), run({ADAM: 1e5}))) == INVALID


def test_half_width_is_of_the_ratio_and_not_of_another_two_runs() -> None:
    frame = tidy([run({SGD: 1e5}), run({SGD: 1e5})], ["base", "head"])
    row = evidence(frame, "base", "head").iloc[0]
    halves = frame.loc[frame["series"] == row["series"], "quiet_half"]
    assert row["half"] == pytest.approx(math.sqrt((halves**2).mean()))
    assert row["effect"] == pytest.approx(math.log(row["head_ns"] / row["base_ns"]))


# The family-wise rule


def test_one_series_has_the_bound_of_one_normal_effect() -> None:
    assert bounds(np.array([0.03]), ASSUMED) == pytest.approx(0.03 / SIGMAS * 2.3263, rel=1e-3)


def test_without_drift_bounds_are_those_of_independent_effects() -> None:
    alone = 2.3263  # the quantile of 0.99
    of_24 = 3.3388  # that of 0.99^(1/24)
    found = bounds(np.full(24, 0.03), 0.0)
    assert found == pytest.approx(np.full(24, 0.03 / SIGMAS * of_24), rel=1e-3)
    assert found[0] > 0.03 / SIGMAS * alone


def test_what_all_series_share_does_not_count_once_for_each() -> None:
    shared_alone = bounds(np.full(24, DRIFT["quiet"]), ASSUMED)
    assert shared_alone == pytest.approx(np.full(24, DRIFT["quiet"] / SIGMAS * 2.3263), rel=0.02)


def test_what_is_unknown_has_no_bound_and_widens_none() -> None:
    half = np.array([0.03, math.nan, 0.04])
    found = bounds(half, ASSUMED)
    assert np.isnan(found[1])
    assert found[[0, 2]] == pytest.approx(bounds(half[[0, 2]], ASSUMED))
    assert np.isnan(bounds(np.array([math.nan]), ASSUMED)).all()
    assert words(half * math.nan, half, found, RULES).tolist() == [INVALID] * 3


@pytest.mark.parametrize(("series", "replicates"), [(24, 7), (4, 3)])
def test_aa_runs_that_drift_as_much_as_assumed_alarm_as_rarely_as_promised(
    series: int, replicates: int
) -> None:
    chance = np.random.default_rng(20)
    tries, slower, faster = 500, 0, 0
    for _ in range(tries):
        sides = []
        for _ in range(2):
            drift = chance.normal(0, DRIFT["quiet"] / SIGMAS / math.sqrt(2))
            noise = chance.normal(0, 0.02, (series, replicates))
            times = np.exp(drift + noise).tolist()
            sides.append([e for e in estimates(times, assumed_drift("quiet")) if e])
        base, head = sides
        pairs = list(zip(base, head, strict=True))
        effect = np.array([math.log(h.time_ns / b.time_ns) for b, h in pairs])
        half = np.array([ratio_half(h.half_width, b.half_width) for b, h in pairs])
        found = words(effect, half, bounds(half, ASSUMED), RULES)
        slower += REGRESSED in found
        faster += IMPROVED in found
    for alarms in (slower, faster):
        assert alarms / tries < ALPHA + 3 * math.sqrt(ALPHA / tries)


# Calibration


@pytest.fixture(scope="module")
def stored(stored_runs: Path) -> list[RunRecord]:
    """Runs of one machine and code: six of one plan, and one of another."""
    return [load_run(path) for path in sorted((stored_runs / "intel-xeon-2c-24gib").iterdir())]


def test_aa_runs_are_of_one_plan_and_code(stored: list[RunRecord]) -> None:
    found = aa_runs(stored, stored[-1])
    assert len(found) == 6
    assert {len(run.cases) for run in found} == {6}


def test_fewer_than_three_runs_or_those_of_another_place_are_none(stored: list[RunRecord]) -> None:
    assert aa_runs(stored[:2], stored[0]) == []
    assert aa_runs(stored, run({SGD: 1e5})) == []


def test_runs_of_the_same_cases_come_before_more_runs_of_others() -> None:
    same, others = [run({SGD: 1e5})] * 3, [run({ADAM: 1e5})] * 4
    assert aa_runs([*others, *same], run({SGD: 1e5}, budget_s=7.0)) == same
    assert aa_runs([*others, *same], run({SGD: 1e5, ADAM: 1e5})) == others
    assert len(aa_runs([run({SGD: 1e5})] * 12, run({SGD: 1e5}))) == MAX_AA_RUNS


@pytest.mark.parametrize("other", OTHER_GPUS, ids=str)
def test_runs_on_other_devices_are_not_aa_runs(other: MeasuredDevice) -> None:
    runs = [measured_on(run({CUDA: 1e5}), device) for device in (GPU, other, GPU, other, GPU)]
    assert aa_runs(runs, runs[0]) == runs[::2]
    assert aa_runs(runs, runs[1]) == []
    # Of a run that measured no such device, those of either, and never of both.
    assert aa_runs(runs, run({SGD: 1e5})) == runs[::2]


def test_runs_that_were_cut_off_or_of_other_code_are_not_aa_runs() -> None:
    whole, other = run({SGD: 1e5}), run({SGD: 1e5}, on=synthetic.machine(code_hash="c"))
    cut = run({SGD: 1e5})
    cut.sessions[-1].complete = False
    assert aa_runs([whole, whole, other, other, cut], whole) == []


def test_stored_aa_runs_raise_no_alarm(stored: list[RunRecord]) -> None:
    found = calibrate(aa_runs(stored, stored[0]), RULES)
    assert found is not None
    assert (found.runs, found.series, found.pairs, found.disjoint) == (6, 24, 15, 3)
    assert found.alarming == 0
    assert found.at_most == pytest.approx(1 - 0.05 ** (1 / 3))
    assert found.equivalent > 0.99
    assert found.curve.loc[0.02, "any"] < 0.1
    assert found.curve.loc[0.05, "any"] > 0.9
    assert (found.curve.loc[[0.1, 0.2], ["any", "all"]] == 1.0).all(axis=None)


def test_a_run_that_is_off_makes_all_its_pairs_alarm() -> None:
    runs = [run({SGD: time}) for time in (1e5, 1e5, 1e5, 1.1e5)]
    found = calibrate(runs, RULES)
    assert found is not None
    assert (found.pairs, found.alarming, found.disjoint) == (6, 3, 2)
    assert found.at_most == pytest.approx(at_most(1, 2))
    assert found.equivalent == pytest.approx(0.5)


def test_slowdown_is_of_one_phase_and_the_whole_step_moves_by_its_share() -> None:
    found = calibrate([run({SGD: 1e5})] * 3, RULES)
    assert found is not None
    assert found.curve.to_numpy().tolist() == [[0.0, 0.0, 1.0], *[[1.0, 1.0, 0.0]] * 3]


def test_cases_without_phases_are_slowed_down_whole() -> None:
    lbfgs = sumnet(optimizer="lbfgs")
    assert set(lbfgs.series).isdisjoint(PHASES)
    found = calibrate([run({lbfgs: 1e5})] * 3, RULES)
    assert found is not None and found.curve["all"].iloc[-1] == 1.0


def test_aa_runs_without_a_quiet_time_have_no_rates() -> None:
    broken = run({SGD: 1e5}, ended={SGD: ("failed", "it broke")})
    assert calibrate([broken] * 3, RULES) is None
