"""A case under torch.profiler: an untimed pass, which says what a step does and in what shares."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from bench.devices.base import Device
from bench.matrix.case import PHASES, WHOLE, Case
from bench.protocol.profile import StepProfile, Work
from bench.worker.dispatch_trace import count_work
from bench.worker.profile.summary import break_down, folded
from bench.worker.profile.trace import LABEL, read_trace
from sumnet.train import TrainingLoop

STEPS = 8
UNKEPT = 2
"""Steps before them: the first under a profiler do what later ones do not."""


def profile_step(
    case: Case,
    loop: TrainingLoop,
    device: Device,
    restore: Callable[[], None],
    traces: Path | None = None,
) -> StepProfile:
    """What a step of the loop does; each is begun from the state that `restore` puts back.

    With `traces`, a folder, the Chrome trace and the folded stacks are kept there. Raises
    trace.TraceError for a trace that is empty or whose steps differ, OSError where files cannot
    be written.
    """
    phases = PHASES if case.splits else (WHOLE,)
    sees_kernels = "CUDA" in device.activities
    activities = [getattr(ProfilerActivity, name) for name in device.activities]
    with profile(activities=activities, profile_memory=True) as profiler:
        for step in range(UNKEPT + STEPS):
            restore()
            _run(loop, phases, LABEL if step >= UNKEPT else f"unkept {LABEL}")
        device.synchronize()
    with tempfile.TemporaryDirectory(prefix="sumnet-trace-") as folder:
        path = Path(folder) / "trace.json"
        if traces is not None:
            path = traces / f"{case.id.replace('/', '-')}.trace.json"
        path.unlink(missing_ok=True)  # the profiler does not raise where it cannot write
        profiler.export_chrome_trace(str(path))
        events = read_trace(path)
    if traces is not None:
        stacks = path.with_name(path.name.replace(".trace.json", ".folded"))
        stacks.write_text("\n".join(folded(events, phases)) + "\n")
    found = break_down(events, phases, case.kind, sees_kernels=sees_kernels)
    restore()
    profiled = StepProfile(STEPS, found, count_phases(loop, phases), state_elements(loop.optimizer))
    restore()
    return profiled


def _run(loop: TrainingLoop, phases: tuple[str, ...], label: str) -> None:
    if phases == (WHOLE,):
        with record_function(label + WHOLE):
            loop.train_step()
        return
    with record_function(label + "forward"):
        loss = loop.forward()
    with record_function(label + "backward"):
        loop.backward(loss)
    with record_function(label + "step"):
        loop.step()


def count_phases(loop: TrainingLoop, phases: tuple[str, ...]) -> dict[str, Work]:
    """What eager operators do in a step, by phase, or in the whole of it."""
    if loop.step is loop.train_step:  # of an optimizer that calls the others itself
        return {WHOLE: count_work(loop.train_step)[1]}
    loss, forward = count_work(loop.forward)
    _, backward = count_work(lambda: loop.backward(loss))
    _, step = count_work(loop.step)
    if phases == (WHOLE,):  # captured as a graph, whose operators nobody sees
        parts = (forward, backward, step)
        return {WHOLE: Work(sum(p.flops for p in parts), sum(p.bytes for p in parts))}
    return {"forward": forward, "backward": backward, "step": step}


def state_elements(optimizer: torch.optim.Optimizer) -> int:
    """Numbers in its tensors; a count of steps, a tensor of no dimension, is none."""

    def elements(value: Any) -> int:
        if torch.is_tensor(value):
            return value.numel() if value.dim() else 0
        return sum(map(elements, value)) if isinstance(value, list | tuple) else 0

    return sum(elements(value) for entry in optimizer.state.values() for value in entry.values())
