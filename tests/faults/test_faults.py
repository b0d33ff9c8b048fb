"""The fault matrix, through real workers: a subject with one fault for each of several batch sizes.

Each fault costs its own case, with the right status and reason; the cases beside it are measured.
All faults share one run, so that they meet each other too.
"""

import contextlib
import re
import shutil
from pathlib import Path

import psutil
import pytest

from bench.matrix.plan import Plan
from bench.protocol.messages import kinds_of
from bench.protocol.subject import ROOT, subject_hash
from bench.runner.coordinator import Coordinator
from bench.runner.events import (
    BlockMeasured,
    CaseEnded,
    CasePrepared,
    Event,
    ReplicateDone,
    SessionEnded,
    WorkerStarted,
)
from bench.runner.pool import Deadlines
from bench.runner.process import Side
from bench.runner.schedule import MIN_SWEEPS
from tests.cases import sumnet
from tests.runner.processes import is_gone

pytestmark = pytest.mark.slow

PREPARE_S = 6.0

FAULTS = """
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

# Children that outlive their worker if they are let, and do not go when they are asked to; one in
# a session of its own.
CHILDREN = [
    subprocess.Popen(
        ["sh", "-c", 'trap "" TERM; exec sleep 600'],
        stdin=subprocess.DEVNULL,
        start_new_session=apart,
    )
    for apart in (False, True)
]
with Path(__file__).with_name("pids").open("a") as file:
    file.write(" ".join(str(pid) for pid in (os.getpid(), *(c.pid for c in CHILDREN))) + "\\n")


def in_a_block():
    return any(name == "time_phases" for name in callers())


def callers():
    frame = sys._getframe(1)
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back


def fault(loss, batch):
    if batch == 11:
        raise RuntimeError("the model is broken\\nand here is how")
    if batch == 12:
        time.sleep(600)
    if batch == 13:
        os._exit(3)
    if batch == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    if batch == 15:
        return loss * float("nan")
    if batch == 16:
        torch.empty(2**50, dtype=torch.uint8)
    if batch == 17:
        return 2 * loss.detach() - loss  # the right loss, and every gradient the wrong way
    if batch == 18 and in_a_block():
        os.write(2, b"free(): invalid pointer\\n")
        os.kill(os.getpid(), signal.SIGABRT)
    if batch == 20:
        os._exit(0)
    if batch == 21:
        while True:
            os.write(1, b"x" * 2**16)
    if batch == 19 and in_a_block():
        raise RuntimeError("broken after a while")
    return loss
"""

WELL = [sumnet(batch=2), sumnet(batch=3)]
ENDS = {
    11: ("failed", r"RuntimeError: the model is broken"),
    12: ("timeout", rf"no answer within {PREPARE_S:.0f} s"),
    13: ("failed", r"the worker exited with status 3.*"),
    14: ("killed", r"the worker was killed by SIGKILL, perhaps out of memory.*"),
    15: ("invalid", r"first loss nan, [\d.]+ in a float64 reference"),
    16: ("oom", r"RuntimeError: .*DefaultCPUAllocator: can't allocate memory.*"),
    17: ("invalid", r"loss ratio \S+ after 20 steps, .*"),
    18: ("killed", r"the worker was killed by SIGABRT: free\(\): invalid pointer"),
    19: ("failed", r"RuntimeError: broken after a while"),
    20: ("failed", r"the worker exited with status 0"),
    21: ("timeout", rf"no answer within {PREPARE_S:.0f} s"),
}
"""Batch to how its case ends."""

FAULTY = {batch: sumnet(batch=batch) for batch in ENDS}
LOSE_THEIR_WORKER = (12, 13, 14, 16, 18, 20, 21)

every_fault = pytest.mark.parametrize("batch", ENDS)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `sumnet` whose forward pass meets its fault at some batch sizes."""
    folder = tmp_path_factory.mktemp("subject")
    package = folder / "sumnet"
    shutil.copytree(ROOT / "sumnet", package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (package / "training.py").read_text()
    good = "criterion(net(pairs), sums)"
    assert text.count(good) == 1
    faulty = text.replace(good, f"fault({good}, len(pairs))")
    (package / "training.py").write_text(faulty + FAULTS)
    return folder


@pytest.fixture(scope="module")
def pids(subject: Path) -> list[int]:
    """The processes of the run, to be filled while it runs."""
    return []


@pytest.fixture(scope="module")
def events(subject: Path, pids: list[int]) -> list[Event]:
    first, last = WELL
    told: list[Event] = []
    coordinator = Coordinator(
        Plan([first, *FAULTY.values(), last], replicates=1, budget_s=0),
        told.append,
        side=Side("faulty", subject=subject),
        deadlines=Deadlines(prepare_s=PREPARE_S),
    )
    try:
        coordinator.measure()
    finally:
        pids += map(int, (subject / "sumnet" / "pids").read_text().split())
    return told


def ended(events: list[Event]) -> dict[str, CaseEnded]:
    return {event.case: event for event in events if isinstance(event, CaseEnded)}


def blocks(events: list[Event]) -> list[BlockMeasured]:
    return [event for event in events if isinstance(event, BlockMeasured)]


@every_fault
def test_a_fault_ends_its_case_with_its_status_and_reason(events: list[Event], batch: int) -> None:
    status, reason = ENDS[batch]
    end = ended(events)[FAULTY[batch].id]
    assert end.status == status
    assert re.fullmatch(reason, end.reason)


def test_a_fault_costs_no_other_case_anything(events: list[Event]) -> None:
    assert set(ended(events)) == {case.id for case in FAULTY.values()}
    told = [event.case for event in events if isinstance(event, CaseEnded)]
    assert len(told) == len(set(told)), "each ends once"


def test_the_cases_beside_the_faults_are_measured_in_full_by_the_last_worker(
    events: list[Event],
) -> None:
    last = max(event.worker for event in events if isinstance(event, WorkerStarted))
    for case in WELL:
        of_it = [event.block for event in blocks(events) if event.block.case == case.id]
        by_the_last = [e for e in blocks(events) if e.block.case == case.id and e.worker == last]
        assert len(by_the_last) == MIN_SWEEPS * len(kinds_of(case))
        assert {block.kind for block in of_it} == set(kinds_of(case))
        assert all(min(row) > 0 for block in of_it for row in block.quantiles_ns.values())


def test_a_new_worker_is_started_only_where_one_was_lost(events: list[Event]) -> None:
    workers = [event for event in events if isinstance(event, WorkerStarted)]
    assert [event.worker for event in workers] == list(range(len(LOSE_THEIR_WORKER) + 1))
    for batch in ENDS:
        end = events.index(ended(events)[FAULTY[batch].id])
        replaced = isinstance(events[end + 1], WorkerStarted)
        assert replaced == (batch in LOSE_THEIR_WORKER), batch


def test_a_case_is_told_as_prepared_only_where_its_fault_comes_later(events: list[Event]) -> None:
    prepared = {event.prepared.case for event in events if isinstance(event, CasePrepared)}
    assert prepared == {case.id for case in (*WELL, FAULTY[18], FAULTY[19])}


def test_a_case_that_ended_is_never_measured_again(events: list[Event]) -> None:
    for case, end in ended(events).items():
        later = blocks(events[events.index(end) :])
        assert case not in {event.block.case for event in later}


def test_the_run_comes_to_its_end(events: list[Event]) -> None:
    assert isinstance(events[-2], ReplicateDone)
    assert isinstance(events[-1], SessionEnded)


def test_workers_load_the_sides_subject_and_say_so(events: list[Event], subject: Path) -> None:
    hellos = [event.hello for event in events if isinstance(event, WorkerStarted)]
    assert {hello.subject_hash for hello in hellos} == {subject_hash(subject / "sumnet")}
    assert subject_hash(subject / "sumnet") != subject_hash(ROOT / "sumnet")


def test_nothing_is_left_running(events: list[Event], pids: list[int]) -> None:
    assert len(pids) == 3 * (len(LOSE_THEIR_WORKER) + 1), "each worker and its children"
    left = [pid for pid in pids if not is_gone(pid)]
    for pid in left:  # told of below, and ended here all the same
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
    assert left == []
