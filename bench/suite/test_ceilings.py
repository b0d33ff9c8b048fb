"""Every ceiling of this machine, one benchmark each."""

from typing import Any

import pytest

from bench.matrix.ceiling import Ceiling
from bench.protocol.messages import CEILING
from bench.records.run_file import CeilingRecord
from bench.suite.clock import ReplayedSeries, device_clock
from bench.suite.conftest import BENCHMARKS


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")
@pytest.mark.benchmark(timer=device_clock)
def test_ceiling(
    ceiling: Ceiling, ceiling_record: CeilingRecord, benchmark: Any, pytestconfig: pytest.Config
) -> None:
    """A round is a block; its time is a call's, by the block's median."""
    if ceiling_record.status == "unsupported":
        pytest.skip(f"{ceiling_record.reason}")
    if ceiling_record.status != "ok" or ceiling_record.prepared is None:
        pytest.fail(f"{ceiling_record.status}: {ceiling_record.reason}", pytrace=False)
    calls, work = ceiling_record.prepared.calls, ceiling_record.prepared.work
    blocks = [worker.percentiles_ns[CEILING]["p50"] for worker in ceiling_record.blocks]
    series = ReplayedSeries([ns / calls for worker in blocks for ns in worker])
    benchmark.group = ceiling.what
    benchmark.extra_info.update(
        ceiling=ceiling.id, work=work / calls, unit=ceiling.unit, how=ceiling_record.prepared.how
    )
    benchmark.pedantic(series.next_block, rounds=series.rounds)
    if benchmark.stats is not None:
        pytestconfig.stash[BENCHMARKS].append(benchmark.stats)
