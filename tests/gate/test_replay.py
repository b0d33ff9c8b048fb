"""Runs of the gate replayed on A/A pairs: how often they err, and what they detect."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.errors import UsageError
from bench.gate.interim_looks import CONTROLS, FIRST_LOOKS
from bench.gate.reduction import COLUMNS
from bench.gate.replay import (
    ALL,
    TENTH,
    Pool,
    Slowdown,
    as_recorded,
    curve,
    is_aa,
    pool_of,
    rates,
    replay,
    shifts,
)
from bench.machine.circumstances import MeasuredDevice
from bench.matrix.case import (
    WHOLE,
)
from bench.matrix.comparison import Comparison
from bench.matrix.step import PHASES
from bench.records.gate_report import GateReport, Rules
from bench.report.view import Row
from tests import synthetic
from tests.cases import sumnet
from tests.gate.gating import Floats, correlated, records, report
from tests.synthetic import GPU, OTHER_GPUS

LEAST = FIRST_LOOKS[1] + CONTROLS[1]
LOWER_QUARTILE, MEAN, UPPER_TAIL = range(len(COLUMNS))
SHARES = {"forward": 0.3, "backward": 0.5, "step": 0.2, WHOLE: 1.0}
"""Series to its part of a step's time."""
STEP_NS = 100_000.0
BUDGET_S = 280.0
QUIET = 0.004


def pool(pairs: int = 60, spread: float = QUIET, budget_s: float = BUDGET_S) -> Pool:
    """Of two cases, with eight series."""
    series = [(case, name) for case in ("small", "large") for name in (*PHASES, WHOLE)]
    draw = np.random.default_rng(11)
    flat = correlated(draw, pairs, len(COLUMNS) * len(series), spread)
    base = np.array([STEP_NS * SHARES[name] for _, name in series])
    return Pool(series, flat.reshape(pairs, len(COLUMNS), len(series)), base, 10.0, budget_s)


def replayed(of: Pool, rules: Rules, runs: int, slowdown: Slowdown | None = None) -> Row:
    return rates(replay(of, rules, runs, slowdown), of, slowdown)


def rows(pairs: int = LEAST, width: int = 8) -> Floats:
    return correlated(np.random.default_rng(12), pairs, width)


# The pool


def test_pool_holds_the_pairs_of_all_reports_and_their_controls() -> None:
    first = report(records(rows(20)) + records(rows(3), control=True))
    second = report(records(rows(5)))
    found = pool_of([first, second], BUDGET_S)
    assert len(found.table) == 28
    assert found.series == first.series
    assert found.table.shape == (28, len(COLUMNS), 8)
    assert found.table[23:, LOWER_QUARTILE].tolist() == rows(5).tolist()
    assert found.base_ns.tolist() == [100_000] * 8
    assert (found.pair_s, found.budget_s) == (10.0, BUDGET_S)


def test_pairs_that_lack_a_series_are_left_out() -> None:
    whole, holed = rows(LEAST), rows(4).astype(object)
    holed[:, 2] = None
    assert len(pool_of([report(records(whole) + records(holed))], BUDGET_S).table) == LEAST


def another_subject(found: GateReport) -> None:
    found.sides[1].subject_hash = "b" * 16


def another_torch(found: GateReport) -> None:
    found.sides[0].torch = "2.12.0"


def another_python(found: GateReport) -> None:
    found.sides[0].python = "3.12.1"


def another_environment(found: GateReport) -> None:
    found.sides[0].environment = {"OMP_NUM_THREADS": "1"}


def another_device(found: GateReport) -> None:
    found.sides[0].devices = {"cuda": OTHER_GPUS[1]}


def another_case(found: GateReport) -> None:
    found.comparisons[1] = Comparison(sumnet(), sumnet(compile="on"))


DIFFERENCES = pytest.mark.parametrize(
    "differ",
    [
        another_subject,
        another_torch,
        another_python,
        another_environment,
        another_device,
        another_case,
    ],
)


@DIFFERENCES
def test_sides_that_differ_are_not_aa(
    differ: Callable[[GateReport], None],
) -> None:
    same, other = report(records(rows())), report(records(rows()))
    differ(other)
    assert is_aa(same) and not is_aa(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"machine": synthetic.machine("other-cpu-8c-16gib")},
        {"environment": "stock"},
        {"series": [("another", "step")] * 8},
    ],
    ids=["machine", "environment", "series"],
)
def test_reports_of_different_kinds_are_refused(changes: dict[str, object]) -> None:
    same, other = report(records(rows())), report(records(rows()))
    for name, value in changes.items():
        setattr(other, name, value)
    assert len(pool_of([other, other], BUDGET_S).table) == 2 * LEAST
    with pytest.raises(UsageError, match="cannot be replayed together"):
        pool_of([same, other], BUDGET_S)


@pytest.mark.parametrize("device", OTHER_GPUS, ids=str)
def test_reports_of_different_devices_are_refused(device: MeasuredDevice) -> None:
    same, alike, other = (report(records(rows())) for _ in range(3))
    for found, measured in ((same, GPU), (alike, GPU), (other, device)):
        for side in found.sides:
            side.devices = {"cuda": measured}
    assert len(pool_of([same, alike], BUDGET_S).table) == 2 * LEAST
    with pytest.raises(UsageError, match="different machines, devices, "):
        pool_of([same, other], BUDGET_S)


def test_reports_of_different_torch_builds_are_refused() -> None:
    same, other = report(records(rows())), report(records(rows()))
    for side in other.sides:
        side.torch = "2.12.0"
    with pytest.raises(UsageError, match="cannot be replayed together"):
        pool_of([same, other], BUDGET_S)


def test_too_few_pairs_are_refused_with_how_many_it_takes() -> None:
    with pytest.raises(UsageError, match=f"^{LEAST - 1} pairs are too few.*{LEAST}"):
        pool_of([report(records(rows(LEAST - 1)))], BUDGET_S)


# What a slowdown adds


def test_aa_replays_have_nothing_added() -> None:
    assert not shifts(pool(), None).any()


def test_slowdown_of_a_phase_slows_the_step_by_its_part_of_it() -> None:
    found = pool()
    shift = shifts(found, Slowdown("backward", 0.1))
    for place, (_, name) in enumerate(found.series):
        share = {"backward": 0.1, WHOLE: 0.1 * SHARES["backward"]}.get(name, 0.0)
        assert shift[:, place] == pytest.approx([math.log1p(share)] * len(COLUMNS))


def test_slowdown_of_every_tenth_step_leaves_the_lower_quartile_alone() -> None:
    found = pool()
    shift = shifts(found, Slowdown("step", 0.05, TENTH))
    for place, (_, name) in enumerate(found.series):
        share = {"step": 0.05, WHOLE: 0.05 * SHARES["step"]}.get(name, 0.0)
        assert shift[LOWER_QUARTILE, place] == 0.0
        assert shift[MEAN, place] == pytest.approx(math.log1p(share))
        assert (shift[UPPER_TAIL, place] > shift[MEAN, place]) == (share > 0)


def test_curve_has_every_phase_at_every_size_in_both_ways() -> None:
    found = curve(pool())
    assert len(set(found)) == len(found)
    assert {slowdown.phase for slowdown in found} == set(PHASES)
    assert {slowdown.affected for slowdown in found} == {ALL, TENTH}
    sizes = {slowdown.share for slowdown in found}
    assert len(found) == len(PHASES) * 2 * len(sizes)


def test_curve_of_steps_without_phases_is_of_the_whole_step() -> None:
    whole = replace(pool(), series=[("large", WHOLE)])
    assert {slowdown.phase for slowdown in curve(whole)} == {WHOLE}


def test_curve_is_of_the_phases_that_the_steps_have() -> None:
    series = [("gan", "load"), ("gan", "generator"), ("gan", WHOLE), ("small", "step")]
    phases = {slowdown.phase for slowdown in curve(replace(pool(), series=series))}
    assert phases == {"load", "generator", "step"}


# Replays


def test_aa_runs_are_hardly_ever_called() -> None:
    rules = Rules(alpha=0.05)
    found = replayed(pool(), rules, 150)
    assert found["runs"] == 150
    assert found["regressed_in_one"] <= found["detected_in_one"]
    assert found["detected_in_one"] <= stats.binom.ppf(0.999, 150, rules.alpha)
    assert found["series"] == 150 * 8
    assert found["equivalent"] > 0.9 * found["series"]
    assert 0.88 < found["covered"] / found["series"] < 0.99


@pytest.mark.parametrize("affected", [ALL, TENTH])
def test_large_slowdown_is_found_in_all_cases(affected: str) -> None:
    found = replayed(pool(), Rules(), 40, Slowdown("backward", 0.05, affected))
    assert found["detected_in_all"] >= found["regressed_in_all"] >= 36
    assert found["regressed_in_one"] >= found["regressed_in_all"]
    assert 0.85 < found["covered"] / found["series"] < 0.995
    assert abs(found["error"]) < QUIET


def test_small_slowdown_is_detected_and_not_called() -> None:
    small, slowdown = pool(spread=0.0005), Slowdown("forward", 0.004)
    runs = replay(small, Rules(), 20, slowdown)
    assert {run.outcome for run in runs} == {"equivalent"}
    found = rates(runs, small, slowdown)
    assert found["detected_in_all"] >= 18
    assert found["regressed_in_one"] == 0


def test_same_seed_draws_the_same_and_another_does_not() -> None:
    one, again, other = (replay(pool(), Rules(), 10, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_rates_are_counts_over_the_runs() -> None:
    one, two = (replay(pool(), Rules(), 5, seed=seed) for seed in (1, 2))
    parts, whole = [rates(runs, pool()) for runs in (one, two)], rates([*one, *two], pool())
    assert whole["runs"] == 10
    for name in ("equivalent", "covered", "detected_in_one", "series", "inconclusive"):
        assert whole[name] == sum(part[name] for part in parts)
    assert whole["pairs"] == np.mean([part["pairs"] for part in parts])


def test_budget_bounds_the_pairs_of_a_run() -> None:
    noisy = pool(spread=0.1)
    assert {run.pairs for run in replay(noisy, Rules(), 5)} == {27}
    short = replay(pool(budget_s=80), Rules(), 5)
    assert {(run.pairs, run.outcome) for run in short} == {(7, "invalid")}
    found = rates(short, noisy)
    assert (found["invalid"], found["regressed_in_one"], found["series"]) == (5, 0, 0)


# As they were recorded


def test_runs_as_recorded_follow_each_other_without_overlap() -> None:
    found = as_recorded(pool(60), Rules())
    assert len(found) >= 2
    assert 60 - LEAST < sum(run.pairs for run in found) <= 60


def test_each_recorded_run_sees_its_own_pairs() -> None:
    """One slowdown among many pairs is in the run that holds it, and in no other."""
    still = pool(3 * LEAST, spread=0.0005)
    first = as_recorded(still, Rules())[0].pairs
    table = still.table.copy()
    table[first:, :, 3] += 0.05
    found = as_recorded(replace(still, table=table), Rules())
    assert [run.outcome for run in found].count("equivalent") == 1 < len(found)


def test_pool_of_the_least_size_is_one_run() -> None:
    assert len(as_recorded(pool(LEAST), Rules())) == 1
