"""Runs of real workers on a real asynchronous device."""

import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.devices import DEVICES
from bench.matrix.case import LATENCY, THROUGHPUT, WHOLE, Case
from bench.matrix.plan import Plan
from bench.matrix.support import estimated_bytes
from bench.protocol.messages import kinds_of
from bench.protocol.subject import ROOT
from bench.runner.events import BlockMeasured, CasePrepared, Event
from bench.runner.process import Side
from bench.runner.schedule import MIN_SWEEPS
from tests.cases import SERIES, sumnet
from tests.queued_device import KIND
from tests.queued_device.device import Queued
from tests.runner.driving import blocks, ended, measure, only, workers

pytestmark = pytest.mark.slow

OPERATOR_NS = 50_000
"""What the device works at each operator at least."""
OPERATORS = {"forward": 4, "backward": 4, "step": 4}
"""A phase to how many operators it has at least: two layers, an activation and a loss; backward of
each; and an update for each of four parameters."""
CASES = [sumnet(device=KIND, batch=1024), sumnet(device=KIND, optimizer="adam")]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)

Run = Callable[..., list[Event]]


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    """To the runner too, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DEVICES, KIND, Queued)
        yield


@pytest.fixture(scope="module")
def run(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Measures cases in workers that have the device, of a subject."""
    interpreter = tmp_path_factory.mktemp("side") / "interpreter"
    worker = Path(__file__).with_name("worker.py")
    words = map(str, [sys.executable, "-P", worker, library, OPERATOR_NS])
    interpreter.write_text(f'#!/bin/sh\nshift\nexec {shlex.join(words)} "$@"\n')  # -P is there
    interpreter.chmod(0o755)

    def measured(cases: list[Case], subject: Path = ROOT) -> list[Event]:
        side = Side(python=str(interpreter), subject=subject)
        return measure(Plan(cases, replicates=1, budget_s=0), side)

    return measured


@pytest.fixture(scope="module")
def events(run: Run) -> list[Event]:
    return run(CASES)


def readings(events: list[Event], case: Case) -> dict[str, int]:
    """Series to its least 10th percentile, nanoseconds."""
    found: dict[str, int] = {}
    for event in only(BlockMeasured, events):
        if event.block.case == case.id:
            for series, quantiles in event.block.quantiles_ns.items():
                found[series] = min(found.get(series, quantiles[0]), quantiles[0])
    return found


def test_every_case_is_verified_and_measured(events: list[Event]) -> None:
    assert ended(events) == {}
    assert blocks(events) == {case.id: MIN_SWEEPS * len(kinds_of(case)) for case in CASES}


@every_case
def test_every_series_is_there_and_holds_the_devices_work(events: list[Event], case: Case) -> None:
    least = {phase: count * OPERATOR_NS for phase, count in OPERATORS.items()}
    whole = dict.fromkeys((WHOLE, LATENCY, THROUGHPUT), sum(least.values()))
    seen = readings(events, case)
    assert set(seen) == set(SERIES)
    for series, work in {**least, **whole}.items():
        assert seen[series] >= work, series


@every_case
def test_the_peak_of_memory_is_the_devices_own(events: list[Event], case: Case) -> None:
    (verified,) = [
        event.prepared.verified
        for event in only(CasePrepared, events)
        if event.prepared.case == case.id
    ]
    activations = 4 * case.own_values["batch"] * case.own_values["hidden"]
    assert verified is not None and verified.peak_bytes is not None
    assert activations <= verified.peak_bytes <= estimated_bytes(case)


# A device that breaks


BREAKING = """

def breaking(net, pairs):
    sums = whole(net, pairs)
    if len(pairs) == 7:
        sums.detach().index_select(1, pairs.new_ones(1, dtype=torch.int64))
    return sums


whole = SumNet.forward
SumNet.forward = breaking
"""
"""Put at the end of the net's module: it has the device read out of bounds where the batch is 7."""


@pytest.fixture
def breaking(tmp_path: Path) -> Path:
    """A subject that breaks the device."""
    shutil.copytree(ROOT / "sumnet", tmp_path / "sumnet", ignore=shutil.ignore_patterns("*.pyc"))
    with (tmp_path / "sumnet" / "model.py").open("a") as model:
        model.write(BREAKING)
    return tmp_path


def test_an_error_of_the_device_ends_its_case_alone(run: Run, breaking: Path) -> None:
    broken, well = sumnet(device=KIND, batch=7), sumnet(device=KIND)
    events = run([broken, well], breaking)
    assert list(ended(events)) == [broken.id]
    status, reason = ended(events)[broken.id]
    assert status == "failed"
    assert reason.startswith("AcceleratorError: the device broke: ")
    assert blocks(events)[well.id] == MIN_SWEEPS * len(kinds_of(well))
    assert workers(events) == [0, 1], "what broke stays so until its process ends"
