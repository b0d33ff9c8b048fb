"""Every case's phases, one benchmark each."""

from collections.abc import Callable

import pytest

from bench.records.run_file import CaseRecord
from bench.suite.clock import device_clock


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")
@pytest.mark.benchmark(timer=device_clock)
def test_phase(record: CaseRecord, phase: str, replay: Callable[..., None]) -> None:
    """A round is a block; its time is the block's median."""
    replay(record, phase, group=phase, **record.case.axes, case=record.id)
