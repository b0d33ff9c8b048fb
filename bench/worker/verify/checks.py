"""A case is verified before it is timed: it trains, where and in what it says it does."""

import math

import torch

from ...devices.base import Device
from ...matrix.case import Case
from ...matrix.optimizers import OPTIMIZERS
from ...matrix.precision import PRECISIONS
from ...protocol.verified import Expected, Graphs, Verified
from ..dispatch_trace import CompilerCounts, compiler_counts, observe
from ..loop import Loop, float32_products
from ..refusals import InvalidCase
from .float64_run import STEPS, reference_loss

HOOK_BREAK = "Call to `torch._dynamo.graph_break()`"
"""An optimizer's step is wrapped to restore autograd's mode, which breaks the graph around it."""

COMPILED = "compiled"


def verify(
    case: Case,
    loop: Loop,
    device: Device,
    expected: Expected,
) -> Verified:
    """Train STEPS steps. Raises InvalidCase where the loss does not fall as it should.

    Also checks where and in which dtype parameters, gradients and data are stored and matrices are
    multiplied, that the implementation asked for is the one that ran, and that torch.compile
    captured what it was given. The last step runs as it was written, to be inspected. The peak of
    memory is that since the device last reset it.
    """
    optimizer = loop.optimizer
    assert optimizer is not None  # the suite's, for this step leaves it to that
    check_optimizer(case, optimizer)
    scale = None if loop.scaler is None else loop.scaler.get_scale()
    start = compiler_counts()
    loss = loop.backward()
    after_loss = compiler_counts()
    check_tensors(case, loop)
    first_loss = loss.item()
    optimizer.zero_grad(set_to_none=True)
    loop.train_step()
    after_step = compiler_counts()
    for _ in range(STEPS - 2 - loop.trained):
        loop.train_step()
    device.synchronize()
    end = compiler_counts()
    peak = device.peak_bytes()
    graphs = graphs_between(start, after_loss, after_step, end)
    check_graphs(case, graphs)
    check_products(case, observe(loop.backward).products)
    path = observed_path(case, loop)
    check_path(case, path)
    if PRECISIONS[case.dtype].float32_products == "tf32":
        check_tf32(loop)
    if scale is not None and loop.scaler is not None and loop.scaler.get_scale() != scale:
        raise InvalidCase("the GradScaler skipped steps: gradients overflowed float16")
    ratio = reference_loss(case, loop.model) / expected.loss
    check_training(expected, ratio, first_loss if not loop.trained else None)
    return Verified(
        expected=expected,
        ratio=ratio,
        products=PRECISIONS[case.dtype].products,
        path=path,
        graphs=graphs,
        peak_bytes=peak,
        float32_products="tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee",
    )


def graphs_between(
    start: CompilerCounts,
    after_loss: CompilerCounts,
    after_step: CompilerCounts,
    end: CompilerCounts,
) -> Graphs:
    """What torch.compile made of the loss, of the first step, and of all after that."""
    return Graphs(
        loss=after_loss.graphs - start.graphs,
        step=after_step.graphs - after_loss.graphs,
        recompiled=end.graphs - after_step.graphs,
        breaks=tuple((end.breaks - start.breaks).elements()),
        skips=end.skips - start.skips,
    )


def check_training(expected: Expected, ratio: float, loss: float | None) -> None:
    """The loss must start where the reference's does, and fall as far.

    `loss` is that of the loop's first forward pass; None where training had begun before it.
    """
    if loss is not None and not abs(loss / expected.loss - 1) <= expected.loss_tolerance:
        raise InvalidCase(f"first loss {loss:.6g}, {expected.loss:.6g} in a float64 reference")
    if not math.isfinite(ratio):
        raise InvalidCase(f"the loss is {ratio} after {STEPS} steps")
    ratios = (
        f"loss ratio {ratio:.4g} after {STEPS} steps, {expected.ratio:.4g} in a float64 reference"
    )
    if not abs(ratio - expected.ratio) <= expected.tolerance:
        raise InvalidCase(f"{ratios}; in this dtype they may differ by {expected.tolerance:.2g}")
    if not max(ratio, expected.ratio) < 1:
        raise InvalidCase(f"the loss does not fall: {ratios}")


def check_graphs(case: Case, graphs: Graphs) -> None:
    """What torch.compile was given must be captured, whole, and nothing else."""
    asked = case.compilation
    parts = (("loss", asked.loss, graphs.loss), ("step", asked.step, graphs.step))
    for what, compiled, captured in parts:
        if compiled and captured == 0:
            raise InvalidCase(f"torch.compile captured nothing of the {what}")
        if captured and not compiled:
            raise InvalidCase(f"torch.compile captured the {what}, which should run eager")
    if asked.mode == "reduce-overhead" and graphs.skips:
        raise InvalidCase(
            f"torch.compile skipped {graphs.skips} CUDA graphs, in which alone reduce-overhead "
            "differs from the default mode"
        )
    broken = list(graphs.breaks)
    if asked.step and HOOK_BREAK in broken:
        broken.remove(HOOK_BREAK)
    if broken:
        raise InvalidCase(f"torch.compile broke the graph, and parts run eager: {broken[0]}")


def check_products(case: Case, seen: set[str]) -> None:
    """Matrices must be multiplied in the case's dtype, forward and backward."""
    wanted = PRECISIONS[case.dtype].products
    if seen != {wanted}:
        ran = " and ".join(sorted(seen)) or "no dtype at all"
        raise InvalidCase(f"matrix products ran in {ran}, not in {wanted}")


def check_optimizer(case: Case, optimizer: torch.optim.Optimizer) -> None:
    """It must be the one the case names, and keep its state where the implementation keeps it."""
    wanted, seen = OPTIMIZERS[case.optimizer].torch_class, type(optimizer).__name__
    if seen != wanted:
        raise InvalidCase(f"the optimizer is {seen}, not {wanted}")
    capturable = bool(optimizer.defaults.get("capturable", False))
    if capturable != (case.implementation == "capturable"):
        raise InvalidCase(f"the optimizer is {'' if capturable else 'not '}capturable")


def check_path(case: Case, seen: str) -> None:
    """The step must be taken by the implementation that was asked for, unless it is compiled."""
    asked = case.implementation
    if asked in ("for-loop", "foreach", "fused") and seen not in (asked, COMPILED):
        raise InvalidCase(f"the optimizer's step ran as {seen}, not as {asked}")


def check_tf32(loop: Loop) -> None:
    """tf32 must change what the net computes: for small matrices cuBLAS may not use it."""
    with torch.no_grad():
        products = loop.phases["forward"](None)
        with float32_products(PRECISIONS["float32"]):
            exact = loop.phases["forward"](None)
    if torch.equal(products, exact):
        raise InvalidCase("tf32 changes no bit of the loss: the products ran in float32")


def check_tensors(case: Case, loop: Loop) -> None:
    """Parameters and gradients must be on the case's device in its dtype."""
    for name, parameter in loop.model.named_parameters():
        if parameter.grad is None:
            raise InvalidCase(f"backward left no gradient on {name}")
    tensors = {
        **dict(loop.model.named_parameters()),
        **{f"the gradient of {name}": p.grad for name, p in loop.model.named_parameters()},
    }
    index = case.device.partition(":")[2]
    stored = PRECISIONS[case.dtype].parameters
    for what, tensor in tensors.items():
        assert tensor is not None
        if tensor.device.type != case.kind or (index and tensor.device.index != int(index)):
            raise InvalidCase(f"{what} is on {tensor.device}, not on {case.device}")
        if str(tensor.dtype) != f"torch.{stored}":
            raise InvalidCase(f"{what} is {tensor.dtype}, not torch.{stored}")


def observed_path(case: Case, loop: Loop) -> str:
    """How the optimizer takes a step, from the operators it runs.

    After a forward and a backward pass. A compiled step is not inspected: its graph was counted,
    and torch has steps that only run compiled.
    """
    step = loop.phases["step"]
    if case.compilation.step:
        step(None)
        return COMPILED
    if case.closure:
        assert loop.optimizer is not None
        loop.optimizer.zero_grad(set_to_none=True)  # it makes its own
        step(None)
        return "closure"
    seen = observe(lambda: step(None)).path
    return f"capturable {seen}" if case.implementation == "capturable" else seen
