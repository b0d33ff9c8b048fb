"""The tidy frame: true times out of a noisy machine's runs, and reasons where there are none."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.machine.circumstances import MeasuredDevice
from bench.machine.sampling import Health, HostHealth
from bench.matrix.case import (
    DISPATCH,
    THROUGHPUT,
    WHOLE,
    Case,
)
from bench.matrix.ceiling import Ceiling
from bench.matrix.step import PHASES
from bench.protocol.profile import StepProfile
from bench.records.run_file import RunRecord
from bench.stats.estimates import DRIFT, MIN_BLOCKS, SIGMAS, assumed_drift
from bench.stats.floors import Floor, floor_among, own_floors
from bench.stats.frame import BUSY, FEW, SLOW, drift_of, tidy
from tests import synthetic
from tests.cases import SERIES, sumnet
from tests.synthetic import GPU, OTHER_GPUS, READINGS_NS, SHARES, SPREAD, Moods, measured_on

SMALL = sumnet()
ADAM = sumnet(optimizer="adam", batch=1024)
LARGE = sumnet(batch=16384)
CUDA = sumnet(device="cuda")
TRUE_NS = {SMALL: 120_000.0, ADAM: 260_000.0, LARGE: 900_000.0}

QUIET = Moods()
RESTLESS = Moods(speeds=(1.0, 1.3, 1.6), blocks=40)
NEVER_QUIET = Moods(speeds=(1.3, 1.6), blocks=40)


def frame_of(*runs: RunRecord) -> pd.DataFrame:
    return tidy(runs, [f"run{number}" for number in range(len(runs))])


def row(frame: pd.DataFrame, case: Case, series: str = WHOLE, run: str = "run0") -> Any:
    chosen = (frame["case"] == case.id) & (frame["series"] == series) & (frame["run"] == run)
    (found,) = frame[chosen].to_dict("records")
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("speeds", [(1.0,), (1.0, 1.3, 1.6), (1.0, 1.08, 2.5)])
def test_quiet_times_are_the_true_ones_whatever_the_machine_does_between(
    speeds: tuple[float, ...], seed: int
) -> None:
    moods = Moods(speeds=speeds, blocks=40, seed=seed)
    frame = frame_of(synthetic.run(TRUE_NS, replicates=5, moods=moods))
    for case, true_ns in TRUE_NS.items():
        for series in case.series:
            found = row(frame, case, series)["quiet_ns"]
            assert found == pytest.approx(true_ns * SHARES[series], rel=0.02)


def test_blocks_that_were_not_quiet_do_not_weigh_on_the_quiet_time() -> None:
    moods = Moods(speeds=(1.0, 1.6, 1.6), strain=2.0, blocks=40)
    frame = frame_of(synthetic.run(TRUE_NS, moods=moods))
    for case, true_ns in TRUE_NS.items():
        assert row(frame, case)["quiet_ns"] == pytest.approx(true_ns, rel=0.02)


def test_frame_has_a_row_for_every_run_case_and_series() -> None:
    run = synthetic.run(TRUE_NS)
    frame = tidy([run, run], ["first", "second"])
    keys = set(zip(frame["run"], frame["case"], frame["series"], strict=True))
    assert keys == {(r, c.id, s) for r in ("first", "second") for c in TRUE_NS for s in c.series}
    assert len(frame) == len(keys)


def test_rows_name_what_was_measured_where() -> None:
    run = synthetic.run(TRUE_NS, environment="steady", on=synthetic.machine(torch="2.11.0"))
    found = row(frame_of(run), ADAM)
    assert {name: found[name] for name in ("machine", "torch", "environment", "status")} == {
        "machine": "test-cpu-4c-8gib",
        "torch": "2.11.0",
        "environment": "steady",
        "status": "ok",
    }
    assert {name: found[name] for name in ADAM.axes} == ADAM.axes


def test_typical_time_includes_the_noise_that_the_quiet_time_leaves_out() -> None:
    calm = row(frame_of(synthetic.run(TRUE_NS, moods=QUIET)), SMALL)
    loud = row(frame_of(synthetic.run(TRUE_NS, moods=RESTLESS)), SMALL)
    assert loud["quiet_ns"] == pytest.approx(calm["quiet_ns"], rel=0.02)
    assert calm["typical_ns"] == pytest.approx(TRUE_NS[SMALL] * SPREAD[50], rel=0.02)
    assert loud["typical_ns"] == pytest.approx(TRUE_NS[SMALL] * SPREAD[50] * 1.3, rel=0.05)
    assert calm["high_ns"] == pytest.approx(TRUE_NS[SMALL] * SPREAD[90], rel=0.02)


def test_share_of_quiet_blocks_is_reported() -> None:
    frame = frame_of(synthetic.run(TRUE_NS, moods=RESTLESS, replicates=5))
    assert row(frame, SMALL)["quiet_share"] == pytest.approx(1 / 3, abs=0.1)
    calm = frame_of(synthetic.run(TRUE_NS, moods=QUIET))
    assert row(calm, SMALL)["quiet_share"] == 1.0


def test_large_case_is_quiet_only_where_both_reference_loops_say_so() -> None:
    run = synthetic.run({LARGE: TRUE_NS[LARGE]}, moods=Moods(blocks=20))
    for worker in run.cases[0].blocks[WHOLE]:  # memory is slow before every other block
        worker.readings_ns["memory"][::2] = [round(READINGS_NS["memory"] * 1.6)] * 10
    assert row(frame_of(run), LARGE)["quiet_share"] == pytest.approx(0.5)


def test_run_in_a_slower_state_refers_to_its_own_best_speed_and_is_marked() -> None:
    good = synthetic.run(TRUE_NS, moods=QUIET)
    poor = synthetic.run(TRUE_NS, moods=NEVER_QUIET)
    frame = frame_of(poor, good)
    for case, true_ns in TRUE_NS.items():
        found = row(frame, case, run="run0")
        assert found["quiet_ns"] == pytest.approx(1.3 * true_ns, rel=0.03)
        assert found["quiet_half"] > 0
        assert found["marks"] == (SLOW,)
        assert found["slower"] == pytest.approx(1.3, rel=0.03)
        assert row(frame, case, run="run1")["marks"] == ()


def test_floor_of_another_machine_planted_in_a_run_leaves_every_figure() -> None:
    alone = synthetic.run(TRUE_NS)
    planted = synthetic.run(TRUE_NS)
    planted.floors_ns = {name: round(0.7 * floor) for name, floor in own_floors(alone).items()}
    columns = ["quiet_ns", "quiet_half", "typical_ns"]
    pd.testing.assert_frame_equal(frame_of(planted)[columns], frame_of(alone)[columns])
    assert set(frame_of(planted)["marks"]) == {(SLOW,)}


def test_runs_in_one_slower_state_refer_to_one_speed() -> None:
    """The lowest floor that both came near, though the machine was far from it once."""
    speeds = ((1.0,), (1.40,), (1.50,))
    runs = [synthetic.run(TRUE_NS, moods=Moods(speeds=each)) for each in speeds]
    frame = frame_of(*runs)
    for run in ("run1", "run2"):
        found = row(frame, SMALL, run=run)
        assert found["quiet_ns"] == pytest.approx(1.40 * TRUE_NS[SMALL], rel=0.02)
        assert found["marks"] == (SLOW,)
    assert row(frame, SMALL, run="run1")["floors"] == row(frame, SMALL, run="run2")["floors"]


def test_state_of_a_machine_reaches_as_far_as_its_floors_follow_each_other() -> None:
    """Two runs whose floors differ by little refer to one speed, wherever a gap begins."""
    for own in (103, 104, 114):
        assert floor_among(own, [90, 100]).serving_ns == 90
    assert floor_among(116, [90, 100]).serving_ns == 116
    assert floor_among(116, [90, 100, 104]).serving_ns == 90
    assert floor_among(140, [90, 100]) == Floor(140, 90)
    assert floor_among(80, [90, 100]) == Floor(80, 80)


def test_replicates_that_did_not_get_quiet_stand_in_where_too_few_did() -> None:
    run = synthetic.run({SMALL: TRUE_NS[SMALL]}, replicates=3, moods=QUIET)
    slowed = run.cases[0].blocks[WHOLE][0]
    slowed.readings_ns["dispatch"] = [round(1.3 * v) for v in slowed.readings_ns["dispatch"]]
    slowed.p10_ns[WHOLE] = [round(1.3 * value) for value in slowed.p10_ns[WHOLE]]
    found = row(frame_of(run), SMALL)
    assert (found["replicates"], found["quiet_replicates"]) == (3, 2)
    assert found["quiet_ns"] == pytest.approx(TRUE_NS[SMALL], rel=0.03)
    assert found["marks"] == (BUSY,)


def test_slightly_disturbed_run_is_scaled_to_the_best_speed_ever_seen() -> None:
    run = synthetic.run(TRUE_NS, moods=Moods(speeds=(1.1,)))
    assert row(frame_of(run), SMALL)["quiet_ns"] == pytest.approx(1.1 * 120_000, rel=0.02)
    run.floors_ns = own_floors(synthetic.run(TRUE_NS, moods=QUIET))
    assert row(frame_of(run), SMALL)["quiet_ns"] == pytest.approx(120_000, rel=0.02)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other-cpu-4c-8gib"},
        {"identity": "f" * 16},
        {"torch": "2.11.0"},
        {"python": "CPython 3.12.1"},
    ],
)
def test_floors_are_not_shared_across_machines_or_software(changes: dict[str, str]) -> None:
    good = synthetic.run(TRUE_NS, moods=QUIET)
    poor = synthetic.run(TRUE_NS, moods=NEVER_QUIET, on=synthetic.machine(**changes))
    found = row(frame_of(good, poor), SMALL, run="run1")
    assert found["quiet_ns"] == pytest.approx(1.3 * TRUE_NS[SMALL], rel=0.02)


def test_floors_are_not_shared_across_reference_loop_versions() -> None:
    good = synthetic.run(TRUE_NS, moods=QUIET)
    poor = synthetic.run(TRUE_NS, moods=NEVER_QUIET)
    poor.reference_loop_version += 1
    assert row(frame_of(good, poor), SMALL, run="run1")["quiet_ns"] > 0


def test_floors_are_not_shared_across_environments_or_threads() -> None:
    two_threads = sumnet(threads=2)
    good = synthetic.run({SMALL: 120_000.0}, moods=QUIET)
    steady = synthetic.run({SMALL: 120_000.0}, moods=NEVER_QUIET, environment="steady")
    threaded = synthetic.run({two_threads: 120_000.0}, moods=NEVER_QUIET)
    frame = frame_of(good, steady, threaded)
    assert row(frame, SMALL, run="run1")["quiet_ns"] > 0
    assert row(frame, two_threads, run="run2")["quiet_ns"] > 0


def test_floors_of_unpinned_workers_of_a_device_are_not_those_of_a_cpus_workers() -> None:
    good = synthetic.run({SMALL: 120_000.0}, moods=QUIET)
    poor = synthetic.run({CUDA: 120_000.0}, moods=NEVER_QUIET)
    assert row(frame_of(good, poor), CUDA, run="run1")["quiet_ns"] > 0
    both = synthetic.run({SMALL: 120_000.0, CUDA: 120_000.0}, moods=QUIET)
    assert list(own_floors(both)) == ["dispatch, t1, stock", "dispatch, t1, stock, cuda"]


def test_own_floors_are_the_speeds_of_the_reference_loops() -> None:
    floors = own_floors(synthetic.run(TRUE_NS, moods=RESTLESS, replicates=5))
    assert floors == {
        "dispatch, t1, stock": pytest.approx(READINGS_NS["dispatch"], rel=0.02),
        "memory, t1, stock": pytest.approx(READINGS_NS["memory"], rel=0.02),
    }


@pytest.mark.parametrize("status", ["unsupported", "invalid", "failed", "oom", "timeout", "killed"])
def test_case_without_evidence_is_a_row_with_its_status_and_reason(status: str) -> None:
    run = synthetic.run({SMALL: 120_000.0}, ended={ADAM: (status, "so it goes")})
    frame = frame_of(run)
    for series in ADAM.series:
        found = row(frame, ADAM, series)
        assert found["marks"] == ()
        assert (found["status"], found["reason"], found["replicates"]) == (status, "so it goes", 0)
        assert np.isnan([found["quiet_ns"], found["typical_ns"], found["quiet_share"]]).all()
    assert row(frame, SMALL)["status"] == "ok"


@pytest.mark.parametrize("replicates", [1, 2])
def test_few_replicates_give_a_figure_with_a_mark(replicates: int) -> None:
    found = row(frame_of(synthetic.run(TRUE_NS, replicates=replicates)), SMALL)
    assert found["quiet_ns"] == pytest.approx(TRUE_NS[SMALL], rel=0.03)
    assert found["typical_ns"] > found["quiet_ns"]
    assert np.isnan(found["quiet_half"]) == (replicates == 1)
    assert found["marks"] == (FEW,)


def test_case_whose_only_worker_was_lost_early_has_a_figure() -> None:
    run = synthetic.run({SMALL: TRUE_NS[SMALL]}, replicates=1, moods=Moods(blocks=2))
    found = row(frame_of(run), SMALL)
    assert found["quiet_ns"] == pytest.approx(TRUE_NS[SMALL], rel=0.03)


def test_replicate_with_two_quiet_blocks_did_not_get_quiet() -> None:
    run = synthetic.run({SMALL: 120_000.0}, replicates=4, moods=QUIET)
    for worker, spoilt in zip(run.cases[0].blocks[WHOLE], (18, 18, 17, 17), strict=True):
        readings = worker.readings_ns["dispatch"]
        readings[:spoilt] = [2 * value for value in readings[:spoilt]]
    found = row(frame_of(run), SMALL)
    assert found["quiet_replicates"] == 2
    assert found["marks"] == (BUSY,)


# Drift


def drifting(deviation: float, count: int, seed: int = 0, **changes: Any) -> list[RunRecord]:
    """Runs of one plan whose times all move together from run to run."""
    chance = np.random.default_rng(seed)
    return [
        synthetic.run(
            {case: time * float(np.exp(shift)) for case, time in TRUE_NS.items()},
            moods=Moods(seed=100 * seed + number),
            **changes,
        )
        for number, shift in enumerate(chance.normal(0.0, deviation, count))
    ]


def test_drift_is_assumed_of_a_machine_with_fewer_than_three_runs() -> None:
    frame = frame_of(*drifting(0.003, 2))
    assert set(frame["quiet_drift_runs"]) == set(frame["typical_drift_runs"]) == {0}
    assert (frame["quiet_drift"] * SIGMAS * np.sqrt(2)).tolist() == pytest.approx(
        [DRIFT["quiet"]] * len(frame)
    )


def test_drift_is_estimated_from_three_runs_of_one_plan() -> None:
    quiet = frame_of(*drifting(0.0, 3))
    assert set(quiet["quiet_drift_runs"]) == {3}
    assert quiet["quiet_drift"].max() < assumed_drift("quiet").deviation
    restless = frame_of(*drifting(0.05, 6))
    assert restless["quiet_drift"].iloc[0] == pytest.approx(0.0175, rel=0.1), (
        "those six deviate by 0.0207 in their medians, moderated by what is assumed"
    )
    assert restless["quiet_half"].median() > 2 * quiet["quiet_half"].median()


@pytest.mark.parametrize(
    "other",
    [
        {"on": synthetic.machine(identity="f" * 16)},
        {"on": synthetic.machine(torch="2.14.0")},
        {"environment": "steady"},
        {"lr": 0.5},
        {"replicates": 4},
        {"budget_s": 60.0},
        {"on": synthetic.machine(environment={"OMP_PROC_BIND": "true"})},
    ],
)
def test_runs_of_another_plan_or_place_say_nothing_of_drift(other: dict[str, Any]) -> None:
    mine, theirs = drifting(0.003, 2), drifting(0.05, 1, seed=7, **other)
    assert set(frame_of(*mine, *theirs)["quiet_drift_runs"]) == {0}


@pytest.mark.parametrize("other", OTHER_GPUS, ids=str)
def test_runs_on_another_device_say_nothing_of_drift(other: MeasuredDevice) -> None:
    runs = [
        measured_on(synthetic.run({CUDA: 1e5}, moods=Moods(seed=seed)), device)
        for seed, device in enumerate((GPU, GPU, other))
    ]
    assert set(frame_of(*runs)["quiet_drift_runs"]) == {0}
    assert drift_of(runs[0], runs[1:]) == {}
    measured_on(runs[2], GPU)
    assert set(frame_of(*runs)["quiet_drift_runs"]) == {3}


def test_runs_of_another_code_tell_of_drift_among_themselves() -> None:
    """Not of the difference between the two codes."""
    old = drifting(0.001, 3)
    new = synthetic.run(
        {case: 2 * time for case, time in TRUE_NS.items()},
        on=synthetic.machine(code_hash="cccccccc-dddddddd"),
    )
    found = row(frame_of(*old, new), SMALL, run="run3")
    assert found["quiet_drift_runs"] == 3
    assert found["quiet_drift"] < 0.01


def test_case_that_one_run_lacks_does_not_set_the_run_apart() -> None:
    runs = drifting(0.001, 3)
    runs[1].cases[1].blocks.clear()
    assert set(frame_of(*runs)["quiet_drift_runs"]) == {3}


def test_run_carries_the_drift_that_was_known_when_it_was_written() -> None:
    *others, last = drifting(0.003, 4)
    last.drift = drift_of(last, others)
    assert {name: drift.runs for name, drift in last.drift.items()} == {"quiet": 4, "typical": 4}
    assert set(frame_of(last)["quiet_drift_runs"]) == {4}
    together = row(frame_of(*others, last), SMALL, run="run3")
    assert row(frame_of(last), SMALL)["quiet_half"] == pytest.approx(together["quiet_half"])


def test_interval_widens_with_what_replicates_disagree_by() -> None:
    calm = frame_of(synthetic.run(TRUE_NS, moods=replace(QUIET, between=0.005)))
    loud = frame_of(synthetic.run(TRUE_NS, moods=replace(QUIET, between=0.05)))
    assert loud["quiet_half"].mean() > 3 * calm["quiet_half"].mean()
    assert (calm["quiet_half"] > 0).all()


def test_a_lost_workers_few_blocks_are_no_replicate() -> None:
    run = synthetic.run({SMALL: TRUE_NS[SMALL]}, replicates=3)
    fragment = copy.deepcopy(run.cases[0].blocks[WHOLE][0])
    for column in (fragment.at_ms, *fragment.readings_ns.values(), fragment.p10_ns[WHOLE]):
        del column[MIN_BLOCKS - 1 :]
    fragment.p50_ns[WHOLE] *= 9
    before = tidy([run], ["a"])
    run.cases[0].blocks[WHOLE].append(fragment)
    after = tidy([run], ["a"])
    for column in ("replicates", "typical_ns", "typical_half"):
        pd.testing.assert_series_equal(after[column], before[column])


# Devices that the host runs ahead of


def test_every_series_that_its_device_and_optimizer_have_is_a_row() -> None:
    lbfgs = sumnet(optimizer="lbfgs")
    frame = frame_of(synthetic.run({SMALL: 1e5, lbfgs: 2e5, CUDA: 3e5}))
    rows = {case: list(frame[frame["case"] == case.id]["series"]) for case in (SMALL, lbfgs, CUDA)}
    assert rows == {SMALL: ["forward", "backward", "step", WHOLE], lbfgs: [WHOLE], CUDA: [*SERIES]}
    assert row(frame, lbfgs)["quiet_ns"] == pytest.approx(2e5, rel=0.02)
    throughput = row(frame, CUDA, THROUGHPUT)["quiet_ns"]
    assert throughput == pytest.approx(3e5 * SHARES[THROUGHPUT], rel=0.02)


def test_device_times_are_not_scaled_by_what_slows_the_host() -> None:
    steady = Moods(speeds=(1.0, 1.1, 1.1), strain=0.0, blocks=40)
    assert row(frame_of(synthetic.run({CUDA: 1e5}, moods=steady)), CUDA)["quiet_ns"] == (
        pytest.approx(1e5, rel=0.02)
    )


def test_device_times_are_of_quiet_blocks_alone() -> None:
    disturbed = Moods(speeds=(1.0, 1.6, 1.6), blocks=40)
    found = row(frame_of(synthetic.run({CUDA: 1e5}, moods=disturbed)), CUDA)
    assert found["quiet_ns"] == pytest.approx(1e5, rel=0.02)
    assert found["typical_ns"] > 1.4e5
    assert found["quiet_share"] == pytest.approx(1 / 3, abs=0.1)


@pytest.mark.parametrize(
    ("busy_ns", "dispatch", "bound"),
    [
        (3e4, 0.8, True),  # kernels for a third of the step, and the host at work for most of it
        (3e4, 0.1, False),  # gaps between kernels, as a CUDA graph has them: the host has long done
        (1.1e5, 1.0, False),
        (None, 1.0, True),  # no kernels seen, and the host gives steps out as slowly as they end
        (None, 0.2, False),
    ],
)
def test_step_is_bound_by_the_host_where_the_device_waits_for_it(
    busy_ns: float | None, dispatch: float, bound: bool
) -> None:
    profile = synthetic.step_profile(busy_ns=busy_ns)
    run = synthetic.run({CUDA: 1e5}, profiles={CUDA: profile}, shares={DISPATCH: dispatch})
    frame = frame_of(run)
    assert [row(frame, CUDA, series)["host_bound"] for series in CUDA.series] == [bound] * 7


def test_device_is_as_busy_as_the_phases_of_its_profile_together() -> None:
    profile = synthetic.step_profile(busy_ns=5e4)
    assert all(0 < (phase.busy_ns or 0) < 5e4 for phase in profile.phases.values())
    frame = frame_of(synthetic.run({CUDA: 1e5}, profiles={CUDA: profile}))
    assert {row(frame, CUDA, series)["busy_ns"] for series in CUDA.series} == {5e4}


@pytest.mark.parametrize("profile", [synthetic.step_profile(), "the trace shows no kernels", None])
def test_how_busy_a_device_is_is_not_known_without_kernels_or_a_profile(
    profile: StepProfile | str | None,
) -> None:
    profiles = {} if profile is None else {CUDA: profile}
    assert np.isnan(row(frame_of(synthetic.run({CUDA: 1e5}, profiles=profiles)), CUDA)["busy_ns"])


def test_cpu_is_bound_by_neither_host_nor_device() -> None:
    found = row(frame_of(synthetic.run({SMALL: 1e5, CUDA: 1e5})), SMALL)
    assert found["host_bound"] is None
    assert np.isnan(found["busy_ns"])


@pytest.mark.parametrize("profiles", [{}, {CUDA: synthetic.step_profile(busy_ns=5e4)}])
def test_case_without_times_is_not_said_to_be_bound_by_anything(
    profiles: dict[Case, StepProfile],
) -> None:
    run = synthetic.run({CUDA: 1e5}, profiles=profiles, ended={CUDA: ("failed", "it broke")})
    assert row(frame_of(run), CUDA)["host_bound"] is None


# What was seen beside the times


def test_energy_is_reported_for_a_million_samples_or_why_it_is_not() -> None:
    frame = frame_of(synthetic.run(TRUE_NS, energy={SMALL: 4.0, ADAM: "there is no counter"}))
    assert {row(frame, SMALL, series)["joules"] for series in SMALL.series} == {
        1e6 * 4.0 / (synthetic.STEPS * SMALL.own_values["batch"])
    }
    assert row(frame, ADAM)["energy_reason"] == "there is no counter"
    assert np.isnan(row(frame, ADAM)["joules"])
    for case in (SMALL, LARGE):
        assert pd.isna(row(frame, case)["energy_reason"])
    assert np.isnan(row(frame, LARGE)["joules"])


def test_a_case_without_phases_has_the_reason_there_and_its_other_times() -> None:
    frame = frame_of(synthetic.run(TRUE_NS, without_phases={SMALL: "unclear"}))
    assert pd.notna(row(frame, SMALL)["quiet_ns"])
    assert pd.isna(row(frame, SMALL)["reason"])
    for phase in PHASES:
        found = row(frame, SMALL, phase)
        assert pd.isna(found["quiet_ns"])
        assert (found["status"], found["reason"]) == ("ok", "no phases: unclear")
        assert pd.isna(row(frame, ADAM, phase)["reason"])


def test_flags_of_a_case_are_in_each_of_its_rows() -> None:
    busy = [Health(HostHealth(others=others)) for others in (None, 0.0, 1.5, 1.5)]
    frame = frame_of(
        synthetic.run({SMALL: 1.2e5}, health=busy, ended={ADAM: ("failed", "it broke")})
    )
    for series in SMALL.series:
        assert list(row(frame, SMALL, series)["flags"]) == ["busy"]
    assert "1.50 cores" in row(frame, SMALL)["flags"]["busy"]
    assert row(frame, ADAM)["flags"] == {}, "it has no times"


def test_nothing_is_flagged_on_a_machine_that_was_calm_or_of_which_nothing_was_reported() -> None:
    calm = [Health(HostHealth(steal=0.0, others=0.01))] * 5
    for health in (calm, []):
        frame = frame_of(synthetic.run(TRUE_NS, health=health))
        assert [row(frame, case)["flags"] for case in TRUE_NS] == [{}, {}, {}]


def test_ceilings_are_no_rows_but_what_was_read_beside_them_counts() -> None:
    run = synthetic.run({SMALL: 1.2e5}, moods=NEVER_QUIET, ceilings={Ceiling("op"): 1e3})
    assert set(frame_of(run)["case"]) == {SMALL.id}
    assert row(frame_of(run, quiet_ceilings()), SMALL)["marks"] == (SLOW,)


def quiet_ceilings() -> RunRecord:
    """No case, and one ceiling on the undisturbed machine."""
    return synthetic.run({}, moods=QUIET, ceilings={Ceiling("op"): 1e3})


def test_floors_are_read_beside_ceilings_too_by_their_device_and_threads() -> None:
    above = {Ceiling("op"): 1e3, Ceiling("op", threads=2): 1e3, Ceiling("copy", size=2**20): 1e5}
    above[Ceiling("op", "cuda")] = 1e3
    assert list(own_floors(synthetic.run({}, ceilings=above))) == [
        "dispatch, t1, stock",
        "dispatch, t1, stock, cuda",
        "dispatch, t2, stock",
        "memory, t1, stock",
    ]
