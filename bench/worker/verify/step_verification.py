"""A case of any step is verified before it is timed: what its training should do is not known."""

import contextlib
import math
import time
from collections.abc import Iterator

import msgspec
import torch

from ...devices.base import Device
from ...matrix.case import Case
from ...matrix.precision import PRECISIONS
from ...matrix.step import OWN
from ...protocol.verified import Expected, Graphs, Verified
from ..dispatch_trace import compiler_counts, observe
from ..loop import Loop
from ..refusals import InvalidCase
from .checks import (
    HOOK_BREAK,
    check_graphs,
    check_optimizer,
    check_path,
    check_tf32,
    graphs_between,
    observed_path,
)
from .float64_step import BUDGET_S, CHECKPOINTS, Build, CannotCheck, Losses, expect_step
from .own_loop import verify_own_loop
from .same_seed import other_first_loss
from .step_checks import (
    check_changed,
    check_finite,
    check_gradients,
    check_loss,
    check_mode,
    check_placed,
    modules_of,
    parameters_of,
    samples_notes,
    watched,
)
from .watch import Inputs, Watch


def verify_step(
    case: Case,
    loop: Loop,
    device: Device,
    build: Build,
    expected: Expected | None = None,
    *,
    tried: bool = False,
) -> Verified:
    """Train a few steps, and see that they are what the case says, and do train.

    `build` builds the loop of a case anew, from the seed that `loop` was built from. `expected` is
    what a float64 run said of this case before; where it is None, one is tried, unless that was
    `tried` before. The peak of memory
    is that since the device last reset it. Raises InvalidCase, and what the step raises.
    """
    notes = [*check_mode(modules_of(loop)), *check_placed(case, loop)]
    if loop.step.loss is None:
        seen = verify_own_loop(case, loop, device, build)
    else:
        seen = _verify_loss(case, loop, device, build, expected, tried)
    return msgspec.structs.replace(seen, samples=loop.step.samples, notes=(*notes, *seen.notes))


def _verify_loss(
    case: Case, loop: Loop, device: Device, build: Build, expected: Expected | None, tried: bool
) -> Verified:
    optimizer = loop.optimizer
    assert optimizer is not None
    if case.optimizer != OWN:
        check_optimizer(case, optimizer)
    scale = None if loop.scaler is None else loop.scaler.get_scale()
    losses, graphs = _train(case, loop, device, None if expected is None else expected.steps)
    peak = device.peak_bytes()
    check_graphs(case, msgspec.structs.replace(graphs, breaks=()))
    notes = list(_breaks(case, graphs))
    told, products = _watch_backward(case, loop)
    notes += [*told, *check_gradients(loop)]
    before = [parameter.detach().clone() for _, parameter in parameters_of(loop)]
    path = observed_path(case, loop)
    check_path(case, path)
    check_changed(before, parameters_of(loop))
    del before
    if PRECISIONS[case.dtype].float32_products == "tf32":
        check_tf32(loop)
    if scale is not None and loop.scaler is not None and loop.scaler.get_scale() != scale:
        raise InvalidCase("the GradScaler skipped steps: gradients overflowed float16")
    runs_as_written = case.compile == "off"
    other = other_first_loss(case, build, losses.first if runs_as_written else None)
    if other is not None:
        notes.append(other)
        expected = None
    elif expected is not None or not tried:
        expected, note = _compared(case, loop, build, losses, expected)
        notes += [note] if note else []
    first = losses.first if expected is None else expected.loss
    last = losses.after[max(losses.after) if expected is None else expected.steps]
    return Verified(
        expected=expected,
        ratio=last / first if first and math.isfinite(first) else None,
        products=products,
        path=path,
        graphs=graphs,
        peak_bytes=peak,
        float32_products="tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee",
        notes=tuple(notes),
    )


def _train(case: Case, loop: Loop, device: Device, steps: int | None) -> tuple[Losses, Graphs]:
    """Train so many steps, or as many of CHECKPOINTS as there is time for."""
    assert loop.optimizer is not None
    losses = Losses()
    start = compiler_counts()
    loss = _first_loss(case, loop)
    loop.phases["backward"](loss)
    after_loss = compiler_counts()
    if not loop.trained:
        losses.first = loss.item()
        check_finite(losses.first, "before the first step")
    del loss
    loop.optimizer.zero_grad(set_to_none=True)
    taken, step_s, after_step = loop.trained, 0.0, None
    for checkpoint in CHECKPOINTS:
        for _ in range(checkpoint - taken):
            begun = time.perf_counter()
            loop.train_step()
            device.synchronize()
            step_s = time.perf_counter() - begun
            after_step = after_step or compiler_counts()
        taken = checkpoint
        losses.read(checkpoint, loop.backward().detach(), case.device)
        loop.optimizer.zero_grad(set_to_none=True)
        check_finite(losses.after[checkpoint], f"after {checkpoint} steps")
        if checkpoint == steps or (steps is None and step_s * CHECKPOINTS[-1] > BUDGET_S):
            break
    return losses, graphs_between(start, after_loss, after_step or after_loss, compiler_counts())


def _first_loss(case: Case, loop: Loop) -> torch.Tensor:
    """The loss of the first forward pass. Raises InvalidCase where it has no gradients."""
    try:
        loss: torch.Tensor = loop.phases["forward"](None)
    except RuntimeError as error:
        watch = Watch(case.device)
        with contextlib.suppress(RuntimeError):
            watch.run(lambda: loop.phases["forward"](None))
        list(watched(case, watch, has_own_loop=False))
        raise error
    check_loss(loss, loop)
    return loss


def _watch_backward(case: Case, loop: Loop) -> tuple[list[str], str]:
    """Run forward and backward once more, as they are written; their gradients are kept.

    What was seen, and the dtype that matrices are multiplied in: "" where there are none.
    """
    watch, inputs, wanted = Watch(case.device), Inputs(), PRECISIONS[case.dtype].products
    with inputs.hearing(loop.step.model):
        seen = observe(lambda: watch.run(loop.backward)).products
    notes = [*watched(case, watch, has_own_loop=False), *samples_notes(loop.step.samples, inputs)]
    if seen and wanted not in seen:
        raise InvalidCase(
            f"matrix products ran in {' and '.join(sorted(seen))}, not in {wanted}: leave autocast "
            "to the suite, and build in the dtype that the function is given"
        )
    return notes, wanted if seen else ""


def _breaks(case: Case, graphs: Graphs) -> Iterator[str]:
    """Where torch.compile broke the graph, but for the one around an optimizer's step."""
    reasons = list(graphs.breaks)
    if case.compilation.step and HOOK_BREAK in reasons:
        reasons.remove(HOOK_BREAK)
    if reasons:
        yield f"torch.compile broke the graph {len(reasons)} times, first for: {reasons[0]}"


def _compared(
    case: Case, loop: Loop, build: Build, losses: Losses, expected: Expected | None
) -> tuple[Expected | None, str | None]:
    """What a float64 run expects, where it can be compared with; else why not."""
    try:
        expected = expected or expect_step(case, build, loop.trained)
    except CannotCheck as reason:
        return None, f"not checked against float64: {reason}"
    if expected.steps not in losses.after:
        return None, f"not checked against float64: {expected.steps} steps take too long"
    if losses.draws[expected.steps] != expected.draws:
        return None, (
            "not checked against float64: it drew other random numbers than the same step in "
            "float64, as compiled code does"
        )
    first, last = losses.first, losses.after[expected.steps]
    if math.isfinite(first) and not abs(first / expected.loss - 1) <= expected.loss_tolerance:
        raise InvalidCase(
            f"first loss {first:.6g}, {expected.loss:.6g} in float64; in this dtype they may "
            f"differ by {expected.loss_tolerance:.2g} of that"
        )
    ratio = last / expected.loss
    if not abs(ratio - expected.ratio) <= expected.tolerance:
        raise InvalidCase(
            f"loss ratio {ratio:.4g} after {expected.steps} steps, {expected.ratio:.4g} in "
            f"float64; in this dtype they may differ by {expected.tolerance:.2g}"
        )
    return expected, None
