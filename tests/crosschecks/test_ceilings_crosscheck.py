"""Ceilings measured in other ways than ours, in turn with ours.

Copies and triads by a loop in C, as STREAM has them, compiled with this machine's compiler for this
machine; products by torch's own torch.utils.benchmark. pytest-benchmark times the other way; the
set-up of each of its rounds measures ours. Both see the same machine and the same process, so their
low quantiles must agree.
"""

import ctypes
import gc
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import psutil
import pytest

from bench.devices import device_named
from bench.matrix.ceiling import CACHED, COPY, CPU_WIDTHS, MATMUL, TRIAD, Ceiling
from bench.protocol.messages import CEILING

ROUNDS, SAMPLES = 40, 4
QUANTILE = 0.10
STREAM_AGREEMENT, TIMER_AGREEMENT = 0.15, 0.10
FAR = {COPY: 2**16, TRIAD: 2**21}
"""Bytes from which on the two must agree: between two calls torch's own code takes part of the
first cache, which a loop in C has for itself, and its triad is the slower one in caches."""
WORK_BYTES, WORK_FLOP = 2**24, 2**24
"""Moved, and done, in one round of the other way: its call costs nothing next to that."""

SOURCE = """
#include <stddef.h>
/* The empty asm stands for somebody who looks at the result: every pass has to be made. */
#define SEEN(p) __asm__ volatile("" ::"r"(p) : "memory")
void copy(float *restrict a, const float *restrict b, const float *restrict c, size_t n,
          size_t k) {
  for (; k > 0; k--) { for (size_t i = 0; i < n; i++) a[i] = b[i]; SEEN(a); }
}
void triad(float *restrict a, const float *restrict b, const float *restrict c, size_t n,
           size_t k) {
  for (; k > 0; k--) { for (size_t i = 0; i < n; i++) a[i] = b[i] + 3.0f * c[i]; SEEN(a); }
}
"""
FLAGS = ("-O3", "-march=native", "-fno-tree-loop-distribute-patterns", "-shared", "-fPIC")
"""The third keeps the loop a loop, where the compiler would call memcpy."""


@pytest.fixture(scope="module", autouse=True)
def one_core() -> Iterator[None]:
    """As a worker with one thread is."""
    import torch

    process = psutil.Process()
    cores = process.cpu_affinity() if hasattr(process, "cpu_affinity") else None
    threads = torch.get_num_threads()
    device_named("cpu").enter(1)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    if cores is not None:
        process.cpu_affinity(cores)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler: neither $CC, cc nor gcc is on the PATH")
    source = tmp_path_factory.mktemp("stream") / "stream.c"
    source.write_text(SOURCE)
    library = source.with_suffix(".so")
    subprocess.run([compiler, *FLAGS, str(source), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


@pytest.mark.benchmark(group="bandwidth", disable_gc=True)
@pytest.mark.parametrize("size", CACHED)
@pytest.mark.parametrize("what", [COPY, TRIAD])
def test_bandwidth_is_that_of_a_loop_in_c(
    what: str, size: int, stream: ctypes.CDLL, benchmark: Any
) -> None:
    """Within 15% at the tenth percentile, from FAR on."""
    from bench.worker.ceilings.microbenchmarks import arrays

    ceiling = Ceiling(what, size=size)
    number = 2 if what == COPY else 3
    parts = list(arrays(ceiling, number))
    count = len(parts[0])
    pointers = [ctypes.c_void_p(part.data_ptr()) for part in (parts[-1], parts[0], parts[1])]
    times = max(1, WORK_BYTES // size)
    loop = getattr(stream, what)

    def theirs() -> None:
        loop(*pointers, ctypes.c_size_t(count), ctypes.c_size_t(times))

    ours = _rate_in_turn(ceiling, theirs, benchmark)
    if benchmark.disabled:
        return
    ratio = ours / (4 * number * count * times / _low(benchmark.stats.stats.data))
    benchmark.extra_info.update(what=what, size=size, ours_over_theirs=ratio)
    if size >= FAR[what]:
        assert abs(ratio - 1) <= STREAM_AGREEMENT, f"our rate over theirs: {ratio:.3f}"


@pytest.mark.benchmark(group="products", disable_gc=True)
@pytest.mark.parametrize("width", CPU_WIDTHS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_products_are_as_fast_as_torchs_own_benchmark_finds(
    dtype: str, width: int, benchmark: Any
) -> None:
    """Within 10% at the tenth percentile."""
    import torch
    from torch.utils.benchmark import Timer

    left, right, target = (torch.randn(width, width).to(getattr(torch, dtype)) for _ in range(3))
    timer = Timer("torch.mm(left, right, out=target)", globals=locals() | {"torch": torch})
    calls = max(1, WORK_FLOP // (2 * width**3))
    means: list[float] = []
    ours = _rate_in_turn(
        Ceiling(MATMUL, dtype=dtype, size=width),
        lambda: means.append(timer.timeit(calls).mean),
        benchmark,
    )
    if benchmark.disabled:
        return
    ratio = ours / (2 * width**3 / _low(means))
    benchmark.extra_info.update(dtype=dtype, width=width, ours_over_theirs=ratio)
    assert abs(ratio - 1) <= TIMER_AGREEMENT, f"our rate over theirs: {ratio:.3f}"


def _rate_in_turn(ceiling: Ceiling, theirs: Callable[[], object], benchmark: Any) -> float:
    """Our rate, units a second, measured in turn with their way."""
    from bench.worker.ceilings.prepared_ceiling import PreparedCeiling

    probe = PreparedCeiling(ceiling)
    ours: list[int] = []

    def time_ours() -> None:
        gc.disable()
        ours.extend(probe.time(CEILING, SAMPLES)[CEILING])
        gc.enable()
        theirs()  # as our first sample, which is discarded too

    benchmark.pedantic(theirs, setup=time_ours, rounds=ROUNDS)
    return 1e9 * probe.prepared().work / _low(ours)


def _low(times: Sequence[float]) -> float:
    return float(np.quantile(times, QUANTILE))
