"""Why a case cannot run here. To add a reason, yield it in `objections`."""

from collections.abc import Iterator

from ..devices import kind_of
from ..devices.facts import Facts
from . import default_step
from .case import Case
from .optimizers import IMPLEMENTATIONS, OPTIMIZERS
from .precision import PRECISIONS
from .step import OWN

ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


TRAINING_COPIES = 4
"""Of parameters: themselves, their gradients, and two numbers of optimizer state. An assumption."""


def estimated_bytes(case: Case) -> int:
    """Memory one step holds at its peak, bytes: data, activations and their gradients, parameters.

    Of the default step it counts the tensors of the eager loop; under autocast activations are
    counted in the dtype of the products. Of any other step only the parameters are known.
    """
    if not default_step.is_known(case):
        return TRAINING_COPIES * case.traits.parameter_bytes
    precision = PRECISIONS[case.dtype]
    stored, computed = default_step.peak_elements(case)
    return stored * ITEM_BYTES[precision.parameters] + computed * ITEM_BYTES[precision.products]


def objections(case: Case, facts: Facts) -> Iterator[str]:
    """Why this case cannot run on the machine of `facts`: the first reason is the one to give."""
    device = facts.of(case.device)
    if device.unavailable is not None:
        yield device.unavailable
    yield from _of_the_step(case)
    if case.dtype in device.refused_dtypes:
        yield device.refused_dtypes[case.dtype]
    if case.optimizer != OWN:
        yield from _of_the_optimizer(case)
    yield from _of_compilation(case)
    if case.compilation.compiles and device.compile_refusal is not None:
        yield device.compile_refusal
    if kind_of(case.device).pinned and case.threads > facts.cores:
        yield f"needs {case.threads} cores, one per thread; this process may use {facts.cores}"
    if facts.thread_limit is not None and case.threads > facts.thread_limit:
        yield (
            f"needs {case.threads} threads; OMP_THREAD_LIMIT or the control group's pids.max "
            f"allows {facts.thread_limit}"
        )
    need, memory = estimated_bytes(case), device.memory_bytes
    if memory and need > memory // 2:
        yield (
            f"needs about {need / 2**30:.1f} GiB, more than half of the "
            f"{memory / 2**30:.1f} GiB of {case.kind} memory"
        )


def _of_the_step(case: Case) -> Iterator[str]:
    """What does not go with how the step is described."""
    traits, precision, name = case.traits, PRECISIONS[case.dtype], case.workload
    leaves_loop = traits.form == "loss"
    if case.optimizer == OWN and leaves_loop and not traits.own_optimizer:
        yield f"{name} brings no optimizer of its own: name one of the suite's"
    if case.optimizer != OWN and not leaves_loop:
        yield f"{name} has a loop of its own, and its optimizer with it"
    elif case.optimizer != OWN and traits.own_optimizer:
        yield f"{name} brings its own optimizer"
    if case.optimizer == OWN and case.implementation != "default":
        yield f"{name} brings its own optimizer, in the implementation that it chose"
    if precision.parameters != "float32" and not traits.takes_dtype:
        yield f"{name} builds in float32: let its function take `dtype`, and build in that"
    if precision.autocast is not None and not leaves_loop:
        yield f"{name} has a loop of its own, in which autocast and GradScaler are its own too"
    if case.compile != "off" and not leaves_loop:
        yield f"{name} has a loop of its own: torch.compile is given the loss that a step names"


def _of_the_optimizer(case: Case) -> Iterator[str]:
    """What an optimizer of the suite's does not do."""
    kind, features = case.kind, kind_of(case.device)
    spec, asked = OPTIMIZERS[case.optimizer], IMPLEMENTATIONS[case.implementation]
    name = spec.torch_class
    if spec.matrices and not case.traits.matrices:
        yield f"{name} optimizes matrices alone, and the net has biases"
    if not spec.dense and not case.traits.sparse:
        yield f"{name} takes sparse gradients alone"
    if case.traits.sparse and not spec.sparse:
        yield f"torch's {name} takes no sparse gradients"
    if ("foreach" in asked and not spec.foreach) or ("capturable" in asked and not spec.capturable):
        yield f"torch's {name} has no {case.implementation} implementation"
    if "fused" in asked and name not in features.fused:
        yield f"torch's {name} has no fused kernel for {kind}"
    # Compiled, the step count becomes part of the graph, and the CPU is as good as any.
    if "capturable" in asked and not features.capturable and not case.compilation.step:
        yield f"a capturable step keeps its count on the device: torch refuses it on {kind}"
    if spec.closure and PRECISIONS[case.dtype].scaled:
        yield f"GradScaler takes no optimizer that is given a closure, as {case.optimizer} is"
    if case.compilation.step and not spec.compilable:
        yield f"torch.compile captures nothing of {name}'s step"
    if case.compilation.step and case.implementation == "fused":
        yield "torch.compile captures nothing of a fused optimizer step"
    if case.compilation.captured:
        if spec.capturable and case.implementation != "capturable":
            yield f"torch captures {name} only as --implementation capturable"
        if not spec.capturable and name != "SGD":
            yield f"{name}'s step counts or decides on the host: a CUDA graph cannot hold it"


def _of_compilation(case: Case) -> Iterator[str]:
    """What cannot be compiled or captured, whatever the optimizer."""
    features, compilation = kind_of(case.device), case.compilation
    if compilation.mode == "reduce-overhead" and not features.graphs:
        yield (
            "reduce-overhead is the default mode with CUDA graphs: "
            f"on {case.kind} it would be the default under another name"
        )
    if compilation.captured:
        if not features.graphs:
            yield f"a CUDA graph cannot be captured on {case.kind}"
        if PRECISIONS[case.dtype].scaled:
            yield "GradScaler asks the device in every step, which a CUDA graph cannot hold"
        if case.traits.own_optimizer:
            yield f"{case.workload} brings its own optimizer, which may not be capturable"


def unsupported_reason(case: Case, facts: Facts) -> str | None:
    """The first reason this case cannot run on the machine of `facts`, or None."""
    return next(objections(case, facts), None)
