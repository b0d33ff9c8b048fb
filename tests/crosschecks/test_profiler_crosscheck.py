"""What the profiler shows of a GPU, again and again in one process: it must lose nothing we keep.

`python -m pytest tests/crosschecks/test_profiler_crosscheck.py`, with `--junit-xml` to keep what
each session lost.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.devices import device_named
from bench.worker.prepared_case import PreparedCase
from bench.worker.profile.trace import KERNEL_LAUNCH, TraceEvent, read_trace
from tests.cases import sumnet
from tests.loops import SUITE

SESSIONS = 24
"""Each loses one more of its first kernels, where the profiler does (pytorch issue 192021)."""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_every_profile_of_a_process_shows_the_same(
    optimizer: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """A step that is kept and lacks a kernel would be refused, and its count a smaller one."""
    case = sumnet(device="cuda", optimizer=optimizer)
    device_named(case.device).enter(case.threads)
    prepared = PreparedCase(SUITE, case)
    shown = []
    for session in range(SESSIONS):
        profile = prepared.profile(tmp_path)
        [path] = tmp_path.glob("*.trace.json")
        record_property(f"launches without a kernel in session {session}", lost(read_trace(path)))
        shown.append({name: (p.launches, p.kernels) for name, p in profile.phases.items()})
    assert shown == [shown[0]] * SESSIONS


def lost(events: list[TraceEvent]) -> int:
    """Launches in a trace that have no kernel there, also before the steps that are kept."""
    cuda = device_named("cuda")
    launched = {
        event.details.get("correlation")
        for event in events
        if event.category in cuda.launch_categories and KERNEL_LAUNCH.search(event.name)
    }
    kernels = {
        event.details.get("correlation")
        for event in events
        if event.category in cuda.kernel_categories
    }
    return len(launched - kernels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
def test_a_profile_of_the_cpu_before_it_takes_nothing_from_a_gpus() -> None:
    on_cpu, on_cuda = PreparedCase(SUITE, sumnet()), PreparedCase(SUITE, sumnet(device="cuda"))
    before = on_cuda.profile()
    on_cpu.profile()
    after = on_cuda.profile()
    for phase, profile in before.phases.items():
        assert (profile.launches, profile.kernels) == (
            after.phases[phase].launches,
            after.phases[phase].kernels,
        )
