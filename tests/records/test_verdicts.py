"""Verdicts: the worst of them, and the exit status of each."""

import pytest

from bench.records.verdicts import (
    EQUIVALENT,
    EXIT_STATUS,
    FAILED,
    IMPROVED,
    INCONCLUSIVE,
    INVALID,
    NO_BASELINE,
    REGRESSED,
    VERDICTS,
    Verdict,
    worst,
)


def test_exit_status_is_0_where_nothing_regressed_and_3_where_it_is_not_settled() -> None:
    ok, unsettled = (EQUIVALENT, IMPROVED), (INCONCLUSIVE, NO_BASELINE, INVALID)
    expected = (
        dict.fromkeys((REGRESSED, FAILED), 1) | dict.fromkeys(ok, 0) | dict.fromkeys(unsettled, 3)
    )
    assert expected == EXIT_STATUS


@pytest.mark.parametrize("place", range(len(VERDICTS)))
def test_outcome_is_the_worst_of_the_verdicts(place: int) -> None:
    rest: tuple[Verdict, ...] = VERDICTS[place:]
    assert worst(rest) == worst(rest[::-1]) == VERDICTS[place]


def test_outcome_of_no_verdicts_is_invalid() -> None:
    assert worst([]) == INVALID
