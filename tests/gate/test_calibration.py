"""Runs of the gate replayed on pairs of identical sides: how often they err, and what they see."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.errors import UsageError
from bench.gate.calibration import (
    EVERY,
    TENTH,
    Pool,
    Replays,
    Slowdown,
    as_recorded,
    curve,
    identical_sides,
    pool_of,
    replay,
    share_between,
    shifts,
)
from bench.gate.interim_looks import CONTROLS, FIRST_LOOKS
from bench.gate.reduction import COLUMNS
from bench.matrix.case import PHASES, WHOLE, Case
from bench.matrix.comparison import Comparison
from bench.records.gate_report import GateReport, Rules
from tests import synthetic
from tests.gate.gating import Floats, correlated, records, report

LEAST = FIRST_LOOKS[1] + CONTROLS[1]
USUAL, MEAN, SLOW = (COLUMNS.index(name) for name in ("usual", "mean", "slow"))
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


def rows(pairs: int = LEAST, width: int = 8) -> Floats:
    return correlated(np.random.default_rng(12), pairs, width)


# The pool


def test_pool_holds_the_pairs_of_all_reports_and_their_controls() -> None:
    first = report(records(rows(20)) + records(rows(3), control=True))
    second = report(records(rows(5)))
    found = pool_of([first, second], BUDGET_S)
    assert len(found) == 28
    assert found.series == first.series
    assert found.table.shape == (28, len(COLUMNS), 8)
    assert found.table[23:, USUAL].tolist() == rows(5).tolist()
    assert found.base_ns.tolist() == [100_000] * 8
    assert (found.pair_s, found.budget_s) == (10.0, BUDGET_S)


def test_pairs_that_lack_a_series_are_left_out() -> None:
    whole, holed = rows(LEAST), rows(4).astype(object)
    holed[:, 2] = None
    assert len(pool_of([report(records(whole) + records(holed))], BUDGET_S)) == LEAST


def another_subject(found: GateReport) -> None:
    found.sides[1].subject_hash = "b" * 16


def another_torch(found: GateReport) -> None:
    found.sides[0].torch = "2.12.0"


def another_python(found: GateReport) -> None:
    found.sides[0].python = "3.12.1"


def another_environment(found: GateReport) -> None:
    found.sides[0].environment = {"OMP_NUM_THREADS": "1"}


def another_case(found: GateReport) -> None:
    found.comparisons[1] = Comparison(Case(), Case(compile="on"))


DIFFERENCES = pytest.mark.parametrize(
    "differ",
    [another_subject, another_torch, another_python, another_environment, another_case],
)


@DIFFERENCES
def test_sides_that_differ_are_not_identical(
    differ: Callable[[GateReport], None],
) -> None:
    same, other = report(records(rows())), report(records(rows()))
    differ(other)
    assert identical_sides(same) and not identical_sides(other)


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
    assert len(pool_of([other, other], BUDGET_S)) == 2 * LEAST
    with pytest.raises(UsageError, match="cannot be replayed together"):
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


def test_identical_sides_have_nothing_added() -> None:
    assert not shifts(pool(), None).any()


def test_slowdown_of_a_phase_slows_the_step_by_its_part_of_it() -> None:
    found = pool()
    shift = shifts(found, Slowdown("backward", 0.1))
    for place, (_, name) in enumerate(found.series):
        share = {"backward": 0.1, WHOLE: 0.1 * SHARES["backward"]}.get(name, 0.0)
        assert shift[:, place] == pytest.approx([math.log1p(share)] * len(COLUMNS))


def test_slowdown_of_every_tenth_step_leaves_the_usual_step_alone() -> None:
    found = pool()
    shift = shifts(found, Slowdown("step", 0.05, TENTH))
    for place, (_, name) in enumerate(found.series):
        share = {"step": 0.05, WHOLE: 0.05 * SHARES["step"]}.get(name, 0.0)
        assert shift[USUAL, place] == 0.0
        assert shift[MEAN, place] == pytest.approx(math.log1p(share))
        assert (shift[SLOW, place] > shift[MEAN, place]) == (share > 0)


def test_curve_has_every_phase_at_every_size_in_both_ways() -> None:
    found = curve()
    assert len(set(found)) == len(found)
    assert {slowdown.phase for slowdown in found} == set(PHASES)
    assert {slowdown.of for slowdown in found} == {EVERY, TENTH}
    sizes = {slowdown.share for slowdown in found}
    assert len(found) == len(PHASES) * 2 * len(sizes)


# Replays


def test_identical_sides_are_hardly_ever_called() -> None:
    rules = Rules(alpha=0.05)
    found = replay(pool(), rules, 150)
    assert found.runs == sum(found.outcomes.values()) == len(found.pairs) == 150
    assert found.some_regressed <= found.some_proven
    assert found.some_proven <= stats.binom.ppf(0.999, 150, rules.alpha)
    assert found.series == 150 * 8
    assert found.equivalent > 0.9 * found.series
    assert 0.88 < found.covered / found.series < 0.99


@pytest.mark.parametrize("of", [EVERY, TENTH])
def test_large_slowdown_is_found_in_every_case(of: str) -> None:
    found = replay(pool(), Rules(), 40, Slowdown("backward", 0.05, of))
    assert found.every_proven >= found.every_regressed >= 36
    assert found.outcomes["regressed"] >= 36
    assert 0.85 < found.covered / found.series < 0.995
    assert abs(np.mean(found.errors)) < QUIET
    assert len(found.errors) == 40 * 2, "of the slowed phase alone"


def test_small_slowdown_is_proven_and_not_called() -> None:
    found = replay(pool(spread=0.0005), Rules(), 20, Slowdown("forward", 0.004))
    assert found.every_proven >= 18
    assert found.some_regressed == 0
    assert set(found.outcomes) == {"equivalent"}


def test_same_seed_draws_the_same_and_another_does_not() -> None:
    one, again, other = (replay(pool(), Rules(), 10, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.half_widths != other.half_widths


def test_replays_add_up() -> None:
    whole = Replays()
    parts = [replay(pool(), Rules(), 5, seed=seed) for seed in (1, 2)]
    for part in parts:
        whole.add(part)
    assert whole.runs == 10
    assert whole.half_widths == parts[0].half_widths + parts[1].half_widths
    assert whole.outcomes == parts[0].outcomes + parts[1].outcomes
    assert whole.covered == parts[0].covered + parts[1].covered


def test_budget_bounds_the_pairs_of_a_run() -> None:
    noisy = pool(spread=0.1)
    assert set(replay(noisy, Rules(), 5).pairs) == {27}
    short = replay(pool(budget_s=80), Rules(), 5)
    assert set(short.pairs) == {7}
    assert set(short.outcomes) == {"invalid"}
    assert short.some_regressed == short.series == 0


# As they were recorded


def test_runs_as_recorded_follow_each_other_without_overlap() -> None:
    found = as_recorded(pool(60), Rules())
    assert found.runs == len(found.pairs) >= 2
    assert 60 - LEAST < sum(found.pairs) <= 60


def test_each_recorded_run_sees_its_own_pairs() -> None:
    """One slowdown among many pairs is in the run that holds it, and in no other."""
    still = pool(3 * LEAST, spread=0.0005)
    first = as_recorded(still, Rules()).pairs[0]
    table = still.table.copy()
    table[first:, :, 3] += 0.05
    found = as_recorded(replace(still, table=table), Rules())
    assert found.outcomes["equivalent"] == 1
    assert found.outcomes["equivalent"] < found.runs


def test_pool_of_the_least_size_is_one_run() -> None:
    assert as_recorded(pool(LEAST), Rules()).runs == 1


# Shares


def test_interval_of_a_share_is_clopper_pearsons() -> None:
    assert share_between(5, 100) == pytest.approx((0.0164, 0.1128), abs=1e-4)
    assert share_between(0, 100)[0] == 0.0
    assert share_between(100, 100)[1] == 1.0
