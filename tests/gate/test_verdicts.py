"""Verdicts: what each verdict takes, what stays detected, and when more pairs are worth taking."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.gate.interim_looks import FIRST_LOOKS, schedule, shares
from bench.gate.verdicts import decided, judge, threshold_of
from bench.records.gate_report import Rules, SeriesVerdict
from bench.records.verdicts import (
    EQUIVALENT,
    FAILED,
    IMPROVED,
    INCONCLUSIVE,
    INVALID,
    NO_BASELINE,
    REGRESSED,
)
from tests.gate.gating import BASE_NS, Floats, columns, correlated, records

NINE, SIXTEEN, THIRTY_TWO = FIRST_LOOKS
QUIET = 0.002
NOISY = 0.06


def names(count: int) -> list[tuple[str, str]]:
    return [(f"case-{place}", "train_step") for place in range(count)]


def judged(
    lower_quartile: Floats,
    mean: Floats | None = None,
    upper_tail: Floats | None = None,
    looked: tuple[int, ...] | None = None,
    unjudged: dict[tuple[str, str], str] | None = None,
    **rules: Any,
) -> list[SeriesVerdict]:
    """Verdicts after one look at all pairs, unless given otherwise."""
    looked = (len(lower_quartile),) if looked is None else looked
    pairs = records(lower_quartile, mean, upper_tail)
    series = names(lower_quartile.shape[1])
    return judge(series, pairs, unjudged or {}, Rules(**rules), looked, 2000)


def words(verdicts: list[SeriesVerdict]) -> list[str]:
    return [verdict.verdict for verdict in verdicts]


# The words


def test_each_series_has_the_verdict_of_its_effect() -> None:
    for sign, word, way in ((1, REGRESSED, "slower"), (-1, IMPROVED, "faster")):
        found = judged(sign * columns(NINE, 0.0, 0.04, 0.02, 0.004, spread=QUIET))
        assert words(found) == [EQUIVALENT, word, word, EQUIVALENT]
        assert [verdict.statistic for verdict in found] == ["lower quartile"] * 4
        assert [verdict.detected for verdict in found] == [None, way, way, way]


def test_slowdown_beside_a_larger_speedup_is_detected_by_the_second_look() -> None:
    """With all signs turned the speedup is the larger slowdown, and one pattern is too many."""
    found = judged(columns(SIXTEEN, 0.0, 0.04, -0.1, spread=QUIET), looked=(NINE, SIXTEEN))
    assert words(found) == [EQUIVALENT, REGRESSED, IMPROVED]


def test_numbers_are_those_of_students_interval() -> None:
    rows = columns(NINE, 0.02, spread=QUIET)
    (found,) = judged(rows)
    interval = stats.ttest_1samp(rows[:, 0], 0.0).confidence_interval(0.95)
    assert found.effect == pytest.approx(rows.mean())
    assert found.half == pytest.approx((interval.high - interval.low) / 2)
    assert found.base_ns == BASE_NS
    assert found.p_slower == pytest.approx(2**-9)
    assert found.p_faster == 1.0


def test_slowdown_of_the_mean_alone_is_found_and_named() -> None:
    """As where now and then a step is slower, which the lower quartile does not see."""
    low = columns(NINE, 0.0, 0.0, spread=QUIET)
    (slower, _), (_, faster) = (judged(low, low + np.array(e)) for e in ([0.05, 0], [0, -0.05]))
    assert (slower.verdict, slower.statistic) == (REGRESSED, "mean")
    assert slower.reason == "slower in the mean or the upper tail, not in the lower quartile"
    assert slower.effect == pytest.approx(0.05)
    assert (faster.verdict, faster.statistic) == (IMPROVED, "mean")
    assert faster.reason == "faster in the mean or the upper tail, not in the lower quartile"


def test_upper_tail_detects_what_the_mean_estimates() -> None:
    """The mean alone spreads too much to detect it."""
    low = columns(NINE, 0.0, spread=QUIET)
    mean = columns(NINE, 0.03, spread=0.04)
    (alone,) = judged(low, mean, low)
    assert alone.detected is None
    (found,) = judged(low, mean, columns(NINE, 0.2, spread=QUIET))
    assert (found.verdict, found.detected, found.statistic) == (REGRESSED, "slower", "mean")
    assert found.effect == pytest.approx(0.03)
    (little,) = judged(low, low + 0.005, columns(NINE, 0.2, spread=QUIET))
    assert (little.verdict, little.detected) == (EQUIVALENT, "slower")


def test_upper_tail_that_spreads_does_not_prevent_equivalence() -> None:
    still = columns(NINE, 0.0, spread=QUIET)
    assert words(judged(still, still, columns(NINE, 0.0, spread=0.5))) == [EQUIVALENT]


def test_slower_in_the_mean_goes_before_faster_in_the_lower_quartile() -> None:
    low = columns(SIXTEEN, -0.05, spread=QUIET)
    (found,) = judged(low, low + 0.1)
    assert (found.verdict, found.statistic, found.detected) == (REGRESSED, "mean", "slower")


def test_detected_below_the_threshold_is_equivalent_with_a_reason() -> None:
    (slower,) = judged(columns(NINE, 0.008, spread=0.0005))
    (faster,) = judged(columns(NINE, -0.008, spread=0.0005))
    assert (slower.verdict, slower.detected) == (EQUIVALENT, "slower")
    assert "slower" in slower.reason and "1.0%" in slower.reason
    assert (faster.verdict, faster.detected) == (EQUIVALENT, "faster")
    assert "faster" in faster.reason and "1.0%" in faster.reason


@pytest.mark.parametrize(("effect", "word"), [(0.00998, EQUIVALENT), (0.01002, REGRESSED)])
def test_threshold_is_of_the_ratio_and_not_of_its_logarithm(effect: float, word: str) -> None:
    rows = columns(NINE, math.log1p(effect), spread=0.000001)
    assert words(judged(rows)) == [word]


def test_threshold_is_that_of_the_last_pattern_that_fits() -> None:
    rules = Rules(thresholds={"case-*": 0.05, "case-1": 0.03, "other": 0.0, "*-2": 0.0})
    assert [threshold_of(f"case-{place}", rules) for place in range(3)] == [0.05, 0.03, 0.0]
    assert threshold_of("any", rules) == rules.threshold
    rows = columns(NINE, 0.04, 0.04, 0.004, spread=0.0001)
    thresholds = dict(rules.thresholds)
    assert words(judged(rows, margin=0.06, thresholds=thresholds)) == [
        EQUIVALENT,
        REGRESSED,
        REGRESSED,
    ]


def test_margin_must_hold_the_whole_interval_of_both_statistics() -> None:
    rows = columns(NINE, 0.0, spread=0.02)
    assert words(judged(rows)) == [EQUIVALENT]
    assert words(judged(rows, margin=0.01)) == [INCONCLUSIVE]
    noisy = columns(NINE, 0.0, spread=NOISY)
    (found,) = judged(rows, noisy)
    assert (found.verdict, found.statistic) == (INCONCLUSIVE, "mean")
    (found,) = judged(noisy, rows)
    assert (found.verdict, found.statistic) == (INCONCLUSIVE, "lower quartile")


def test_inconclusive_has_its_mde_and_what_would_settle_it() -> None:
    (found,) = judged(columns(NINE, 0.0, spread=NOISY))
    assert found.verdict == INCONCLUSIVE
    assert "lower quartile" in found.reason
    assert found.detectable is not None and found.detectable > 0.05
    assert found.more_pairs is not None and found.more_pairs > 1
    enough = NINE + found.more_pairs
    assert words(judged(columns(enough, 0.0, spread=NOISY))) == [EQUIVALENT]


def test_no_number_of_pairs_settles_what_may_lie_beyond_the_margin() -> None:
    (found,) = judged(columns(NINE, 0.04, spread=NOISY))
    assert found.verdict == INCONCLUSIVE
    assert found.more_pairs is None


def test_mde_is_detected_about_four_times_in_five() -> None:
    draw = np.random.default_rng(3)
    rows = correlated(draw, NINE, 6)
    detectable = np.median([found.detectable for found in judged(rows)])
    slow = np.array([float(detectable), 0, 0, 0, 0, 0])
    runs = 60
    detected = sum(
        judged(correlated(draw, NINE, 6) + slow, threshold=0.0)[0].detected == "slower"
        for _ in range(runs)
    )
    assert 0.5 < detected / runs < 0.97


def test_stricter_alpha_detects_less() -> None:
    rows = columns(NINE, 0.04, 0.0, spread=QUIET)
    assert words(judged(rows, alpha=0.01))[0] == REGRESSED
    assert words(judged(rows, alpha=0.009))[0] != REGRESSED


# What cannot be judged


@pytest.mark.parametrize("pairs", [0, 1, NINE - 1])
def test_too_few_pairs_make_all_invalid(pairs: int) -> None:
    rows = columns(max(pairs, 1), 0.04, 0.0)[:pairs]
    looked = (pairs,) if pairs else ()
    found = judge(
        names(2), records(rows), {names(2)[1]: (FAILED, "failed on head: oops")}, Rules(), looked
    )
    assert words(found) == [INVALID, FAILED]
    assert found[0].reason.startswith(f"{pairs} pairs; a verdict needs 9")
    assert found[1].reason == "failed on head: oops"
    assert found[0].effect is None


def test_control_pairs_are_not_counted() -> None:
    rows = columns(NINE, 0.04)
    pairs = records(rows[:5]) + records(rows[5:], control=True)
    assert words(judge(names(1), pairs, {}, Rules(), ())) == [INVALID]


def test_comparison_that_ended_is_invalid_and_the_others_are_judged() -> None:
    rows = columns(NINE, 0.0, 0.04, 0.04, spread=QUIET)
    rows[5:, 1] = np.nan
    found = judged(rows, unjudged={names(2)[1]: (INVALID, "killed on head: SIGKILL")})
    assert words(found) == [EQUIVALENT, INVALID, REGRESSED]
    assert found[1].reason == "killed on head: SIGKILL"
    assert found[1].effect is found[1].p_slower is None


def test_all_comparisons_ended_leaves_nothing_to_judge() -> None:
    rows = columns(NINE, 0.0, 0.0)
    ended = ((FAILED, "one"), (NO_BASELINE, "other"))
    found = judged(rows, unjudged=dict(zip(names(2), ended, strict=True)))
    assert [(verdict.verdict, verdict.reason) for verdict in found] == [*ended]


@pytest.mark.parametrize("width", [1, 2])
def test_series_that_a_pair_lacks_is_invalid(width: int) -> None:
    rows = columns(NINE, *[0.0] * width, spread=QUIET)
    rows[3, 0] = np.nan
    found = judged(rows)
    assert words(found) == [INVALID, EQUIVALENT][:width]
    assert found[0].reason == "a pair has no time of it"


# Looks


def test_looks_double_and_controls_grow_without_end() -> None:
    wanted = [(9, 2), (16, 3), (32, 5), (64, 7), (128, 9), (256, 11)]
    assert list(itertools.islice(schedule(), 6)) == wanted


def test_shares_of_alpha_add_up_to_no_more_than_all_of_it() -> None:
    spent = list(itertools.islice(shares(), 60))
    assert min(spent) > 0
    assert sum(spent) <= 1 + 1e-12
    assert sum(spent[:4]) < 1, "something is left for later looks"


def test_least_p_of_the_first_look_can_detect() -> None:
    assert Rules().alpha * next(shares()) >= 2.0**-NINE
    assert Rules().alpha * next(shares()) < 2.0 ** -(NINE - 1)


def test_what_an_early_look_detected_stays_detected() -> None:
    first, rest = columns(NINE, 0.05), np.full((SIXTEEN - NINE, 1), -0.02)
    rows = np.vstack([first, rest])
    (late,) = judged(rows, looked=(SIXTEEN,))
    (both,) = judged(rows, looked=(NINE, SIXTEEN))
    assert late.detected is None and late.verdict != REGRESSED
    assert (both.detected, both.verdict) == ("slower", REGRESSED)
    assert both.effect == late.effect == pytest.approx(rows.mean()), "of all pairs"
    assert both.p_slower == late.p_slower, "of the last look"


def test_each_look_spends_its_own_share() -> None:
    """0.13% is below a third of 1%, the second look's, and below a fifth, but not of 0.5%."""
    rows = np.vstack([columns(NINE, 0.0, spread=NOISY), columns(7, 0.03, spread=QUIET)])
    (found,) = judged(rows, looked=(NINE, SIXTEEN))
    assert found.p_slower is not None
    assert (found.detected == "slower") == (found.p_slower <= 0.01 * 0.3)


# Whether to go on


@pytest.mark.parametrize("column", ["lower_quartile", "mean", "upper_tail"])
def test_hint_of_a_slowdown_within_the_margin_wants_more_pairs(column: str) -> None:
    still, hint = columns(NINE, 0.0, spread=QUIET), columns(NINE, 0.002, spread=QUIET)
    found = {
        name: hint if name == column else still for name in ("lower_quartile", "mean", "upper_tail")
    }
    (verdict,) = judged(**found)
    assert (verdict.verdict, verdict.settled) == (EQUIVALENT, False)


def test_hint_of_a_speedup_is_no_reason_to_go_on() -> None:
    (verdict,) = judged(columns(NINE, -0.002, spread=QUIET))
    assert (verdict.verdict, verdict.settled) == (EQUIVALENT, True)


@pytest.mark.parametrize(
    ("effects", "spread", "done"),
    [
        ((0.0, -0.001, 0.02), QUIET, True),
        ((0.0, 0.003, 0.02), QUIET, False),
        ((0.0, 0.0), NOISY, False),
        ((0.003, 0.05), QUIET, True),
        ((0.003, 0.031), QUIET, False),
        ((0.003, -0.05), QUIET, False),
    ],
    ids=["settled", "a hint", "open", "clearly slower", "about the margin", "clearly faster"],
)
def test_run_is_decided_where_all_is_settled_or_something_is_clearly_slower(
    effects: tuple[float, ...], spread: float, done: bool
) -> None:
    assert decided(judged(columns(NINE, *effects, spread=spread)), Rules()) == done


def test_clearly_slower_is_by_more_than_the_margin_that_was_asked_for() -> None:
    found = judged(columns(NINE, 0.003, 0.031, spread=QUIET))
    assert decided(found, Rules(margin=0.02))
    assert not decided(found, Rules(margin=0.03))


def test_what_is_invalid_does_not_hold_up_the_rest() -> None:
    rows = columns(NINE, 0.0, 0.0, spread=QUIET)
    rows[4:, 1] = np.nan
    assert decided(judged(rows, unjudged={names(2)[1]: "gone"}), Rules())
    assert decided([], Rules())
