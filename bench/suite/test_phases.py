"""Every case's phases, one benchmark each."""

from typing import Any

import pytest

from bench.matrix.case import Case
from bench.protocol.messages import KINDS
from bench.records.run_file import CaseRecord
from bench.suite.clock import ReplayedSeries, device_clock
from bench.suite.conftest import BENCHMARKS


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")
@pytest.mark.benchmark(timer=device_clock)
def test_phase(
    case: Case, phase: str, record: CaseRecord, benchmark: Any, pytestconfig: pytest.Config
) -> None:
    """A round is a block; its time is the block's median."""
    if record.status == "unsupported":
        pytest.skip(f"{record.reason}")
    if record.status != "ok":
        pytest.fail(f"{record.status}: {record.reason}", pytrace=False)
    blocks = next(record.blocks[kind] for kind, series in KINDS.items() if phase in series)
    series = ReplayedSeries([ns for worker in blocks for ns in worker.percentiles_ns[phase]["p50"]])
    benchmark.group = phase
    benchmark.extra_info.update(case.axes, case=case.id)
    benchmark.pedantic(series.next_block, rounds=series.rounds)
    if benchmark.stats is not None:
        pytestconfig.stash[BENCHMARKS].append(benchmark.stats)
