"""A few rounds of what `python -m tests.endurance` does for long."""

import random
from pathlib import Path

import pytest

from tests.endurance import kill_round

MOST_KILLS = 2
RUN_S = 8.0
"""About what a run takes that is not killed."""


@pytest.mark.slow
def test_run_that_is_killed_again_and_again_is_finished_and_lost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.endurance.MOST_KILLS", MOST_KILLS)
    kills, wrong = kill_round(tmp_path, random.Random(1), RUN_S)
    assert 1 <= kills <= MOST_KILLS
    assert wrong == []
