"""A few rounds of what `python -m tests.endurance` does for long."""

import random
from pathlib import Path

import pytest

from tests.endurance import MOST_KILLS, kill_round

RUN_S = 8.0
"""About what a run takes that is not killed."""


@pytest.mark.slow
def test_run_that_is_killed_again_and_again_is_finished_and_lost_nothing(tmp_path: Path) -> None:
    kills, wrong = kill_round(tmp_path, random.Random(1), RUN_S)
    assert 1 <= kills <= MOST_KILLS
    assert wrong == []
