"""Every case's phases, one benchmark each."""

from collections.abc import Callable

import pytest

from ..matrix.case import is_phase
from ..records.run_file import CaseRecord
from .clock import device_clock


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")
@pytest.mark.benchmark(timer=device_clock)
def test_phase(record: CaseRecord, phase: str, replay: Callable[..., None]) -> None:
    """A round is a block; its time is the block's median."""
    if is_phase(phase) and record.phases_reason is not None:
        pytest.skip(f"no phases: {record.phases_reason}")
    replay(record, phase, group=phase, **record.case.axes, case=record.id)
