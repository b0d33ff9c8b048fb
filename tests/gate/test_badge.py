"""The badge of a run: what shields.io takes, with the figure that decides."""

import json
import math
from pathlib import Path
from typing import get_args

import pytest

from bench.gate.badge import COLOURS, NO_EVIDENCE, message, write_badge
from bench.matrix.case import PEAK_MEMORY
from bench.records.verdicts import EXIT_STATUS, FAILED, REGRESSED, Verdict
from tests.gate.test_github import report, verdict


def test_whole_steps_decide_before_phases() -> None:
    whole = [verdict("regressed", effect=math.log(ratio)) for ratio in (1.02, 1.051)]
    phase = verdict("regressed", series="forward", effect=math.log(1.3))
    assert message(report(*whole, phase, verdict("equivalent", 64))) == "regressed +5.1%"
    assert message(report(verdict("equivalent"), phase)) == "regressed +30.0%"


def test_every_outcome_has_its_figure() -> None:
    faster = [verdict("improved", effect=math.log(ratio)) for ratio in (0.9, 0.97)]
    assert message(report(*faster, verdict("equivalent", 64))) == "improved -10.0%"
    within = [verdict("equivalent", half=half) for half in (0.002, 0.006)]
    assert message(report(*within)) == "equivalent ±0.6%"
    assert message(report(verdict("inconclusive"))) == "inconclusive"
    assert message(report(verdict("regressed"), outcome="invalid", reason="moved")) == "invalid"


def test_memory_is_not_taken_for_time() -> None:
    more = verdict("regressed", series=PEAK_MEMORY, effect=math.log(1.138), half=None)
    assert message(report(verdict("equivalent"), more)) == "regressed peak memory +13.8%"
    assert message(report(verdict("regressed"), more)) == "regressed +5.0%"


@pytest.mark.parametrize("outcome", get_args(Verdict))
def test_badge_is_what_shields_takes(tmp_path: Path, outcome: Verdict) -> None:
    write_badge(tmp_path / "badge.json", report(verdict(outcome)))
    badge = json.loads((tmp_path / "badge.json").read_text())
    assert badge.keys() == {"schemaVersion", "label", "message", "color"}
    assert badge["schemaVersion"] == 1
    assert badge["message"].startswith(outcome)
    assert (badge["color"] == "brightgreen") is (EXIT_STATUS[outcome] == 0)
    assert (badge["color"] == "red") is (outcome in (REGRESSED, FAILED))
    assert badge["color"] in (*COLOURS.values(), NO_EVIDENCE)
