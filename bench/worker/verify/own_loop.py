"""A case whose step has a loop of its own is verified from outside."""

from ...devices.base import Device
from ...matrix.case import Case
from ...protocol.verified import Verified
from ..dispatch_trace import compiler_counts
from ..loop import Loop
from .checks import graphs_between
from .float64_step import CHECKPOINTS, Build
from .same_seed import other_first_loss, whole_step
from .step_checks import (
    check_changed,
    check_finite,
    parameters_of,
    samples_notes,
    tensors_of,
    watched,
)
from .watch import Inputs, Watch


def verify_own_loop(case: Case, loop: Loop, device: Device, build: Build) -> Verified:
    """Whatever of it can be seen from outside."""
    start = compiler_counts()
    first = whole_step(loop)
    after_step = compiler_counts()
    for _ in range(CHECKPOINTS[0] - 1):
        whole_step(loop)
    device.synchronize()
    graphs = graphs_between(start, after_step, after_step, compiler_counts())
    peak = device.peak_bytes()
    changing = [*parameters_of(loop), *tensors_of(loop)]
    before = [tensor.detach().clone() for _, tensor in changing]
    watch = Watch(case.device)
    last = watch.run(lambda: whole_step(loop))
    for loss, when in ((first, "in the first step"), (last, f"after {CHECKPOINTS[0]} steps")):
        if loss is not None:
            check_finite(loss, when)
    check_changed(before, changing)
    notes = list(watched(case, watch, has_own_loop=True))
    if not changing:
        notes.append("whether it changes any parameter is not checked: state= names no module")
    if loop.step.samples is None:
        notes += samples_notes(None, Inputs())
    if first is None:
        notes.append("whether it gives the same loss twice is not checked: it returns no loss")
    elif (other := other_first_loss(case, build, first)) is not None:
        notes.append(other)
    notes.append("not checked against float64: its loop is its own")
    return Verified(
        expected=None,
        ratio=last / first if first and last is not None else None,
        products="",
        path="",
        graphs=graphs,
        peak_bytes=peak,
        notes=tuple(notes),
    )
