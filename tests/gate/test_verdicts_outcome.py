"""The outcome of a run: whether its control moved, and the worst of its verdicts."""

import numpy as np
import pytest

from bench.gate.aa_control import control_moved, control_statistic
from bench.gate.verdicts import outcome_of, verdict_of
from bench.protocol.messages import Status
from bench.records.gate_report import SeriesVerdict
from bench.records.verdicts import (
    EQUIVALENT,
    FAILED,
    IMPROVED,
    INCONCLUSIVE,
    INVALID,
    NO_BASELINE,
    REGRESSED,
    Verdict,
)
from bench.runner.pairs import Ended
from tests.gate.gating import Floats, columns, correlated, records

NINE = 9
QUIET = 0.002

# The control


def moved(main: Floats, control: Floats) -> str | None:
    return control_moved(records(main) + records(control, control=True))


def test_still_control_shows_nothing() -> None:
    draw = np.random.default_rng(4)
    for _ in range(100):
        assert moved(correlated(draw, NINE, 24) + 0.05, correlated(draw, 2, 24)) is None


@pytest.mark.parametrize("direction", [1, -1])
def test_control_that_moved_in_one_series_is_found(direction: int) -> None:
    draw = np.random.default_rng(5)
    main, control = correlated(draw, NINE, 24, QUIET), correlated(draw, 2, 24, QUIET)
    control[:, 7] += direction * 10 * QUIET
    assert moved(main, control) is not None


def test_distance_is_in_standard_errors_of_the_controls_mean() -> None:
    main = columns(NINE, 0.0, 0.05, spread=QUIET)
    spread = main[:, 0].std(ddof=1)
    for pairs in (1, 4):
        control = np.tile([0.003, -0.001], (pairs, 1))
        z = control_statistic(main[:, None], control[:, None])
        assert z == pytest.approx(0.003 / spread * pairs**0.5)


def test_series_that_hardly_spreads_counts_as_half_of_the_median_one() -> None:
    main = np.hstack([columns(NINE, 0.0, 0.0, spread=QUIET), columns(NINE, 0.0, spread=1e-6)])
    z = control_statistic(main[:, None], np.array([[[0.0, 0.0, 0.001]]]))
    assert z == pytest.approx(0.001 / (main[:, 0].std(ddof=1) / 2))


def test_series_that_do_not_spread_at_all_are_still() -> None:
    same = np.zeros((NINE, 2))
    assert moved(same, same[:2]) is None
    assert moved(same, same[:2] + 0.001) is not None


def test_run_without_controls_cannot_be_trusted() -> None:
    rows = columns(NINE, 0.0)
    for pairs in ([], records(rows)):
        assert control_moved(pairs) is not None


def test_control_alone_shows_nothing() -> None:
    rows = columns(NINE, 0.0)
    assert control_moved(records(rows, control=True)) is None
    assert control_moved(records(rows[:1]) + records(rows + 1, control=True)) is None


def test_series_that_are_incomplete_are_left_out() -> None:
    main, control = columns(NINE, 0.0, 0.0, spread=QUIET), np.array([[1.0, 0.0]])
    assert moved(main, control) is not None
    main[2, 0] = np.nan
    assert moved(main, control) is None
    assert moved(np.full((NINE, 2), np.nan), control) is None


# The outcome


def verdict(word: Verdict, reason: str = "") -> SeriesVerdict:
    return SeriesVerdict("case", "step", word, reason)


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        ([EQUIVALENT, IMPROVED, INCONCLUSIVE, INVALID, REGRESSED], REGRESSED),
        ([EQUIVALENT, IMPROVED, INCONCLUSIVE, INVALID], INVALID),
        ([EQUIVALENT, IMPROVED, INCONCLUSIVE], INCONCLUSIVE),
        ([EQUIVALENT, IMPROVED], IMPROVED),
        ([EQUIVALENT, EQUIVALENT], EQUIVALENT),
        ([], INVALID),
    ],
)
def test_outcome_is_the_worst_of_the_verdicts(words: list[Verdict], outcome: str) -> None:
    for order in (words, words[::-1]):
        assert outcome_of([verdict(word) for word in order], None)[0] == outcome


def test_moved_control_makes_it_invalid_whatever_was_found() -> None:
    assert outcome_of([verdict(REGRESSED)], "it moved") == (INVALID, "it moved")
    assert outcome_of([verdict(EQUIVALENT)], "it moved") == (INVALID, "it moved")


def test_moved_control_does_not_change_what_no_time_speaks_for() -> None:
    for word in (FAILED, NO_BASELINE):
        found = [verdict(word, "it cannot"), verdict(EQUIVALENT)]
        outcome_of(found, "it moved")
        assert [v.verdict for v in found] == [word, INVALID]
        assert outcome_of([verdict(word, "it cannot")], "it moved") == (word, "it cannot")


@pytest.mark.parametrize("status", ["failed", "invalid", "oom", "timeout", "killed", "unsupported"])
def test_what_one_side_alone_cannot_run_is_known_of_its_code(status: Status) -> None:
    its_code = status in ("failed", "invalid", "oom")
    for side, word in (("base", NO_BASELINE), ("head", FAILED), ("both", INVALID)):
        ended = Ended(side, status, "it cannot")
        assert verdict_of(ended, measured=False) == (word if its_code else INVALID)
        assert verdict_of(ended, measured=True) == INVALID


def test_reasons_are_those_of_the_outcome_each_once() -> None:
    several = [
        verdict(INVALID, "one"),
        verdict(INVALID, "one"),
        verdict(INVALID, "other"),
        verdict(INCONCLUSIVE, "spread"),
    ]
    assert outcome_of(several, None) == (INVALID, "one; other")
    assert outcome_of(several[3:], None) == (INCONCLUSIVE, "spread")
    assert outcome_of([verdict(REGRESSED, "the mean is")], None) == (REGRESSED, "")
    assert outcome_of([verdict(EQUIVALENT, "by less")], None) == (EQUIVALENT, "")
