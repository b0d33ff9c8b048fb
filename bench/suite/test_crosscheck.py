"""The same training step timed by pytest-benchmark's own loop, in turn with ours.

A round of pytest-benchmark is four steps under its own timer, with the device synchronised inside;
the set-up of each round times a short block of the same steps our way. Both see the same machine,
the same process and the same tensors, so their low quantiles must agree. Four, because what
pytest-benchmark does between set-up and timer cools the caches that a first step then pays for.
"""

import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from bench.devices import DEVICES, probe
from bench.matrix.case import WHOLE, Case
from bench.matrix.support import unsupported_reason
from bench.measure.protocol import WHOLE_KIND

if TYPE_CHECKING:
    from bench.measure.resident import Resident

ROUNDS = 150
STEPS = 4
SAMPLES = 8
AGREEMENT = 0.05
QUANTILE = 0.10


@pytest.fixture
def resident(case: Case) -> Iterator["Resident"]:
    """The case as a worker would hold it, in this process, bound to the cores of its threads."""
    import torch

    from bench.measure.resident import Resident

    reason = unsupported_reason(case, probe())
    if reason is not None:
        pytest.skip(reason)
    process = psutil.Process()
    cores = process.cpu_affinity() if hasattr(process, "cpu_affinity") else None
    threads = torch.get_num_threads()
    DEVICES[case.device.partition(":")[0]].pin(case.threads)
    torch.set_num_threads(case.threads)
    yield Resident(case)
    torch.set_num_threads(threads)
    if cores is not None:
        process.cpu_affinity(cores)


@pytest.mark.benchmark(group="crosscheck", disable_gc=True)
def test_crosscheck(case: Case, resident: "Resident", benchmark: Any) -> None:
    """pytest-benchmark's train_step and ours differ by at most 5% at the tenth percentile."""
    ours: list[int] = []

    def time_ours() -> None:
        resident.restore()
        gc.disable()
        block = resident.time(WHOLE_KIND, SAMPLES)[WHOLE]
        gc.enable()
        ours.extend(sum(block[start : start + STEPS]) for start in range(0, SAMPLES, STEPS))

    def steps() -> None:
        for _ in range(STEPS):
            resident.synchronised_step()

    benchmark.pedantic(steps, setup=time_ours, rounds=ROUNDS)
    if benchmark.disabled:
        return
    theirs = float(np.quantile(benchmark.stats.stats.data, QUANTILE))
    ratio = theirs * 1e9 / float(np.quantile(ours, QUANTILE))
    benchmark.extra_info.update(case=case.id, ratio=ratio)
    assert abs(ratio - 1) <= AGREEMENT, f"pytest-benchmark's loop over ours: {ratio:.3f}"
