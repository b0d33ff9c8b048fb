"""The stopwatch on a real asynchronous device, by the work that it is known to do.

The device may take longer than that work, by as much as this machine is busy: so every sample is at
least the work, and only the least of some samples is compared with anything above it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.matrix.case import DISPATCH, LATENCY, THROUGHPUT
from bench.matrix.step import PHASES
from bench.protocol.subject import ROOT
from bench.worker.timing import IN_FLIGHT
from tests.queued_device.readings import FLIGHT_WORK_NS, SAMPLES, WORK_NS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def readings(library: Path) -> Any:
    command = [sys.executable, "-m", "tests.queued_device.readings", str(library)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


@pytest.mark.parametrize("phase", PHASES)
def test_each_phase_has_its_own_work_and_no_others(readings: Any, phase: str) -> None:
    spans = readings["events"][phase]
    assert len(spans) == SAMPLES
    assert WORK_NS[phase] <= min(spans) < WORK_NS[phase] + min(WORK_NS.values())


@pytest.mark.parametrize("phase", PHASES)
def test_the_hosts_clock_sees_none_of_the_work(readings: Any, phase: str) -> None:
    assert min(readings["host"][phase]) < WORK_NS[phase]


def test_a_block_of_phases_is_launched_whole_before_it_is_waited_for(readings: Any) -> None:
    steps, marks = SAMPLES + 1, 1 + len(PHASES) * (SAMPLES + 1)
    launched = steps * readings["flights"]["of_one"]
    assert readings["host"]["backlog"] == launched
    assert readings["events"]["backlog"] == launched + marks


def test_a_step_that_is_waited_for_is_done_and_the_host_is_free_before(readings: Any) -> None:
    waiting, work = readings["waiting"], sum(WORK_NS.values())
    assert min(waiting[DISPATCH]) < work <= min(waiting[LATENCY])


def test_steps_in_flight_are_launched_together_and_all_done(readings: Any) -> None:
    flights = readings["flights"]
    of_all = IN_FLIGHT * flights["of_one"]
    assert flights["backlogs"] == [0, *[of_all] * (SAMPLES + 1)]
    assert min(flights[THROUGHPUT]) >= sum(FLIGHT_WORK_NS.values())
