"""A case under torch.profiler: an untimed pass that shows what a step does and in what shares."""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._pytree import tree_leaves

from ...devices.base import Device
from ...matrix.case import WHOLE, Case
from ...protocol.profile import StepProfile, Work
from ..dispatch_trace import count_work
from ..loop import Loop
from .summary import folded, summarize
from .trace import LABEL, phase_traces, read_trace

STEPS = 8
UNKEPT = 2
"""Steps before them: the first under a profiler do what later ones do not."""
HEAD = 200
"""Kernels before those: the first k of a process's k-th profile are lost (pytorch issue 192021)."""


def profile_step(
    case: Case,
    loop: Loop,
    device: Device,
    restore: Callable[[], None],
    traces: Path | None = None,
) -> StepProfile:
    """What a step of the loop does; each is begun from the state that `restore` puts back.

    With `traces`, a folder, the Chrome trace and the folded stacks are kept there. Raises
    TraceError for a trace that is empty or whose steps differ, OSError where files cannot be
    written.
    """
    phases = case.phases or (WHOLE,)
    activities = [getattr(ProfilerActivity, name) for name in device.activities]
    with profile(activities=activities, profile_memory=True) as profiler:
        if device.shows_kernels:
            number = torch.zeros((), device=case.device)
            for _ in range(HEAD):
                number.neg_()
        for step in range(UNKEPT + STEPS):
            restore()
            _run(loop, phases, LABEL if step >= UNKEPT else f"unkept {LABEL}")
        device.synchronize()
    with tempfile.TemporaryDirectory(prefix="sumnet-trace-") as folder:
        path = (traces or Path(folder)) / f"{case.id.replace('/', '-')}.trace.json"
        path.unlink(missing_ok=True)  # the profiler does not raise where it cannot write
        profiler.export_chrome_trace(str(path))
        found = phase_traces(read_trace(path), phases, device)
    if traces is not None:
        stacks = path.with_name(path.name.replace(".trace.json", ".folded"))
        stacks.write_text("\n".join(folded(found)) + "\n")
    summary = summarize(found, device)
    restore()
    work, state = count_phases(loop, phases), state_elements(loop.optimizer)
    restore()
    return StepProfile(STEPS, summary, work, state)


def _run(loop: Loop, phases: tuple[str, ...], label: str) -> None:
    if phases == (WHOLE,):
        with record_function(label + WHOLE):
            loop.train_step()
        return
    value = None
    for name in phases:
        with record_function(label + name):
            value = loop.phases[name](value)


def count_phases(loop: Loop, phases: tuple[str, ...]) -> dict[str, Work]:
    """What eager operators do in a step, by phase, or in the whole of it."""
    whole = phases == (WHOLE,)
    if whole and not loop.trained:  # its own loop, or an optimizer that calls the phases itself
        return {WHOLE: count_work(loop.train_step)[1]}
    if whole:  # captured as a graph, whose operators nobody sees
        return {WHOLE: count_work(functools.partial(_run_phases, loop))[1]}
    parts: dict[str, Work] = {}
    value = None
    for name, phase in loop.phases.items():
        value, parts[name] = count_work(functools.partial(phase, value))
    return parts


def _run_phases(loop: Loop) -> None:
    value = None
    for phase in loop.phases.values():
        value = phase(value)


def state_elements(optimizer: torch.optim.Optimizer | None) -> int:
    """Numbers in its tensors; a count of steps, a tensor of no dimension, is none."""
    leaves = tree_leaves([] if optimizer is None else list(optimizer.state.values()))
    return sum(leaf.numel() for leaf in leaves if torch.is_tensor(leaf) and leaf.dim())
