"""Cases under a limit on their process's memory, which the kernel enforces."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.matrix.plan import Plan
from bench.protocol.messages import kinds_of
from bench.runner.coordinator import Coordinator
from bench.runner.events import BlockMeasured, CaseEnded, Event
from bench.runner.process import Side
from bench.runner.schedule import MIN_SWEEPS
from tests.cases import sumnet

pytestmark = pytest.mark.slow

MIB = 2**20
SMALL = sumnet()
IMPORTED = "import psutil, torch; torch.ones(9).sum(); print(psutil.Process().memory_info().vms)"


def limited(folder: Path, room: int) -> Side:
    """A side whose workers have so many bytes of address space beside what torch takes."""
    words = [sys.executable, "-c", IMPORTED]
    taken = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\nulimit -v {(taken + room) // 1024}\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    return Side(python=str(python))


@pytest.mark.parametrize(
    ("batch", "status", "said"),
    [(2**21, "oom", "can't allocate memory"), (2**25, "unsupported", "GiB of cpu memory")],
)
def test_a_case_without_enough_memory_ends_and_the_others_are_measured(
    tmp_path: Path, batch: int, status: str, said: str
) -> None:
    """The first needs 0.3 GiB, less than half of the limit; of the second that is estimated."""
    large = sumnet(batch=batch)
    events: list[Event] = []
    plan = Plan([large, SMALL], replicates=1, budget_s=0)
    Coordinator(plan, events.append, side=limited(tmp_path, 200 * MIB)).measure()
    (ended,) = (event for event in events if isinstance(event, CaseEnded))
    assert (ended.case, ended.status) == (large.id, status)
    assert said in ended.reason
    measured = [e.block.case for e in events if isinstance(e, BlockMeasured)]
    assert measured.count(SMALL.id) >= MIN_SWEEPS * len(kinds_of(SMALL))
    assert set(measured) == {SMALL.id}
