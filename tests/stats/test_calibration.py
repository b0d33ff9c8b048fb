"""Shares of counts, and slowdowns that are made up."""

import pytest

from bench.matrix.case import WHOLE
from bench.stats.calibration import at_most, share_between, slowed_parts


def test_interval_of_a_share_is_clopper_pearsons() -> None:
    assert share_between(5, 100) == pytest.approx((0.0164, 0.1128), abs=1e-4)
    assert share_between(0, 100)[0] == 0.0
    assert share_between(100, 100)[1] == 1.0


@pytest.mark.parametrize(
    ("count", "trials", "bound"),
    [(0, 3, 0.632), (1, 3, 0.865), (3, 3, 1.0), (0, 59, 0.0495), (0, 3000, 0.001)],
)
def test_bound_of_a_share_is_clopper_pearsons(count: int, trials: int, bound: float) -> None:
    assert at_most(count, trials) == pytest.approx(bound, abs=1e-3)


def test_slowed_phase_slows_its_step_by_its_share_of_it_and_nothing_else() -> None:
    series = [("a", "forward"), ("a", "step"), ("a", WHOLE), ("b", WHOLE)]
    assert slowed_parts(series, [30, 20, 100, 50], "forward").tolist() == [1.0, 0.0, 0.3, 0.0]
    assert slowed_parts(series, [30, 20, 100, 50], WHOLE).tolist() == [0.0, 0.0, 1.0, 1.0]
