"""The same training step timed in other ways than ours.

By pytest-benchmark's own loop, in turn with ours: a round of it is four steps under its own timer,
with the device synchronised inside; the set-up of each round times a short block of the same steps
our way. Both see the same machine, the same process and the same tensors, so their low quantiles
must agree. Four, because what pytest-benchmark does between set-up and timer cools the caches that
a first step then pays for. And on CUDA by the kernels a profiler sees, and by a graph's replay.
"""

import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import psutil
import pytest

from bench.devices import device_named, probe
from bench.matrix.case import DISPATCH, LATENCY, WHOLE, Case
from bench.matrix.precision import PRECISIONS
from bench.matrix.support import unsupported_reason
from bench.protocol.messages import WAITING_KIND, WHOLE_KIND
from bench.stats.frame import KEPT_BUSY
from tests.crosschecks.conftest import CASES

if TYPE_CHECKING:
    from bench.worker.prepared_case import PreparedCase

ROUNDS = 150
STEPS = 4
SAMPLES = 8
AGREEMENT = 0.05
QUANTILE = 0.10
DEVICE_SAMPLES = 40


@pytest.fixture
def prepared(case: Case) -> Iterator["PreparedCase"]:
    """The case as a worker would hold it, in this process, bound to the cores of its threads."""
    import torch

    from bench.worker.loop import float32_products
    from bench.worker.prepared_case import PreparedCase
    from tests.loops import SUITE

    reason = unsupported_reason(case, probe())
    if reason is not None:
        pytest.skip(reason)
    process = psutil.Process()
    cores = process.cpu_affinity() if hasattr(process, "cpu_affinity") else None
    threads = torch.get_num_threads()
    device_named(case.device).enter(case.threads)
    torch.set_num_threads(case.threads)
    with float32_products(PRECISIONS[case.dtype]):
        yield PreparedCase(SUITE, case)
    torch.set_num_threads(threads)
    if cores is not None:
        process.cpu_affinity(cores)


@pytest.mark.benchmark(group="crosscheck", disable_gc=True)
def test_crosscheck(case: Case, prepared: "PreparedCase", benchmark: Any) -> None:
    """pytest-benchmark's train_step and ours differ by at most 5% at the tenth percentile."""
    ours: list[int] = []
    # Waited for, as theirs are; on a CPU there is nothing to wait for.
    kind, series = (WHOLE_KIND, WHOLE) if case.kind == "cpu" else (WAITING_KIND, LATENCY)

    def time_ours() -> None:
        prepared.restore()
        gc.disable()
        block = prepared.time(kind, SAMPLES)[series]
        gc.enable()
        ours.extend(sum(block[start : start + STEPS]) for start in range(0, SAMPLES, STEPS))

    def steps() -> None:
        for _ in range(STEPS):
            prepared.synchronised_step()

    benchmark.pedantic(steps, setup=time_ours, rounds=ROUNDS)
    if benchmark.disabled:
        return
    theirs = float(np.quantile(benchmark.stats.stats.data, QUANTILE))
    ratio = theirs * 1e9 / float(np.quantile(ours, QUANTILE))
    benchmark.extra_info.update(case=case.id, ratio=ratio)
    assert abs(ratio - 1) <= AGREEMENT, f"pytest-benchmark's loop over ours: {ratio:.3f}"


def test_span_is_its_kernels(
    case: Case, prepared: "PreparedCase", request: pytest.FixtureRequest
) -> None:
    """Where the host of a CUDA device keeps ahead, a step's span is the time of its kernels.

    By events, by torch.profiler, and, where a CUDA graph can hold the step, by a graph's replay.
    """
    from bench.worker.prepared_case import PreparedCase
    from tests.loops import SUITE

    if case.kind != "cuda":
        pytest.skip(f"host and device are one on {case.kind}")
    if len(request.config.stash[CASES]) > 1:
        pytest.skip("a profiler slows what is timed after it: name one case, with --case")
    span = _low(prepared, WHOLE_KIND, WHOLE)
    if _low(prepared, WAITING_KIND, DISPATCH) > KEPT_BUSY * span:
        pytest.skip("bound by the host: its span is the host's time")
    captured = msgspec.structs.replace(case, compile="graph")
    if unsupported_reason(captured, probe()) is None:
        replayed = _low(PreparedCase(SUITE, captured), WHOLE_KIND, WHOLE)
        assert abs(replayed / span - 1) <= AGREEMENT, f"replay over span: {replayed / span:.3f}"
    busy = prepared.profile().busy_ns
    assert busy is not None
    assert abs(busy / span - 1) <= AGREEMENT, f"kernels over span: {busy / span:.3f}"


def _low(prepared: "PreparedCase", kind: str, series: str) -> float:
    """The low quantile of a series, nanoseconds."""
    prepared.restore()
    return float(np.quantile(prepared.time(kind, DEVICE_SAMPLES)[series], QUANTILE))
