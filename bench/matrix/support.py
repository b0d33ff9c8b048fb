"""Why a case cannot run here. To add a reason, yield it in `objections`."""

from collections.abc import Iterator

from ..devices import kind_of
from ..devices.facts import Facts
from .case import Case
from .optimizers import IMPLEMENTATIONS, OPTIMIZERS
from .precision import PRECISIONS

ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


def estimated_bytes(case: Case) -> int:
    """Memory one step holds at its peak, bytes: data, activations and their gradients, parameters.

    Counts tensors of the eager loop: 3 values a row of data, 3 a hidden unit and row (an activation
    and two gradients), 4 a row of output, loss and gradients, and 4 copies of the parameters. Under
    autocast activations are counted in the dtype of the products.
    """
    precision = PRECISIONS[case.dtype]
    stored, computed = ITEM_BYTES[precision.parameters], ITEM_BYTES[precision.products]
    return (
        case.batch * (3 * stored + (4 + 3 * case.hidden) * computed)
        + 4 * (4 * case.hidden + 1) * stored
    )


def objections(case: Case, facts: Facts) -> Iterator[str]:
    """Why this case cannot run on the machine of `facts`: the first reason is the one to give."""
    device, kind, features = facts.of(case.device), case.kind, kind_of(case.device)
    spec, scaled = OPTIMIZERS[case.optimizer], PRECISIONS[case.dtype].scaled
    name, asked = spec.torch_class, IMPLEMENTATIONS[case.implementation]
    compilation = case.compilation

    if device.unavailable is not None:
        yield device.unavailable

    if spec.refusal is not None:
        yield spec.refusal
    if case.dtype in device.refused_dtypes:
        yield device.refused_dtypes[case.dtype]

    if ("foreach" in asked and not spec.foreach) or ("capturable" in asked and not spec.capturable):
        yield f"torch's {name} has no {case.implementation} implementation"
    if "fused" in asked and name not in features.fused:
        yield f"torch's {name} has no fused kernel for {kind}"
    # Compiled, the step count becomes part of the graph, and the CPU is as good as any.
    if "capturable" in asked and not features.capturable and not compilation.step:
        yield f"a capturable step keeps its count on the device: torch refuses it on {kind}"
    if spec.closure and scaled:
        yield f"GradScaler takes no optimizer that is given a closure, as {case.optimizer} is"

    if compilation.step and not spec.compilable:
        yield f"torch.compile captures nothing of {name}'s step"
    if compilation.step and case.implementation == "fused":
        yield "torch.compile captures nothing of a fused optimizer step"
    if compilation.mode == "reduce-overhead" and not features.graphs:
        yield (
            "reduce-overhead is the default mode with CUDA graphs: "
            f"on {kind} it would be the default under another name"
        )
    if compilation.compiles and device.compile_refusal is not None:
        yield device.compile_refusal

    if compilation.captured:
        if not features.graphs:
            yield f"a CUDA graph cannot be captured on {kind}"
        if scaled:
            yield "GradScaler asks the device in every step, which a CUDA graph cannot hold"
        if spec.capturable and case.implementation != "capturable":
            yield f"torch captures {name} only as --implementation capturable"
        if not spec.capturable and name != "SGD":
            yield f"{name}'s step counts or decides on the host: a CUDA graph cannot hold it"

    if features.pinned and case.threads > facts.cores:
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
            f"{memory / 2**30:.1f} GiB of {kind} memory"
        )


def unsupported_reason(case: Case, facts: Facts) -> str | None:
    """The first reason this case cannot run on the machine of `facts`, or None."""
    return next(objections(case, facts), None)
