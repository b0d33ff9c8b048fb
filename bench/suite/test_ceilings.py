"""Every ceiling of this machine, one benchmark each."""

from collections.abc import Callable

import pytest

from ..protocol.messages import CEILING
from ..records.run_file import CeilingRecord
from .clock import device_clock


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")
@pytest.mark.benchmark(timer=device_clock)
def test_ceiling(ceiling_record: CeilingRecord, replay: Callable[..., None]) -> None:
    """A round is a block; its time is a call's, by the block's median."""
    ceiling, prepared = ceiling_record.ceiling, ceiling_record.prepared
    calls = 1 if prepared is None else prepared.calls
    facts = {} if prepared is None else {"work": prepared.work / calls, "how": prepared.how}
    replay(
        ceiling_record,
        CEILING,
        group=ceiling.what,
        calls=calls,
        ceiling=ceiling.id,
        unit=ceiling.unit,
        **facts,
    )
