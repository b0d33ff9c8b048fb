"""Why a case cannot run here. To add a reason, add a rule to RULES."""

from collections.abc import Callable

import msgspec

from bench.matrix.case import Case
from sumnet.optimizers import IMPLEMENTATIONS, OPTIMIZERS
from sumnet.precision import PRECISIONS

ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


class DeviceFacts(msgspec.Struct, frozen=True):
    """What the rules need to know of one kind of device."""

    unavailable: str | None = None
    """Why it cannot be measured here, or None where it can."""
    name: str = ""
    count: int = 1
    memory_bytes: int = 0
    """0 where it is unavailable, and then no case is too large."""
    refused_dtypes: dict[str, str] = {}
    """Value of the dtype axis to the reason it cannot be had."""
    compile_refusal: str | None = None
    """Why torch.compile cannot be had."""


class Facts(msgspec.Struct, frozen=True):
    """What the rules need to know of a machine, as its torch sees it."""

    torch: str
    cores: int
    """Cores this process may run on."""
    isolates_compiled: bool
    """Whether this torch can keep several compiled loops apart in one process."""
    devices: dict[str, DeviceFacts]
    """By kind."""
    thread_limit: int | None = None
    """Threads this process may work with at once, None where nothing limits them."""


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


def _device(case: Case, facts: Facts) -> str | None:
    device = facts.devices[case.kind]
    index = int(case.device.partition(":")[2] or 0)
    if device.unavailable is None and index >= device.count:
        return f"there is no {case.device} here: the last is {case.kind}:{device.count - 1}"
    return device.unavailable


def _optimizer(case: Case, facts: Facts) -> str | None:
    return OPTIMIZERS[case.optimizer].refusal


def _dtype(case: Case, facts: Facts) -> str | None:
    return facts.devices[case.kind].refused_dtypes.get(case.dtype)


def _implementation(case: Case, facts: Facts) -> str | None:
    spec = OPTIMIZERS[case.optimizer]
    name, asked = spec.torch_class, IMPLEMENTATIONS[case.implementation]
    if ("foreach" in asked and not spec.foreach) or ("capturable" in asked and not spec.capturable):
        return f"torch's {name} has no {case.implementation} implementation"
    if "fused" in asked and case.kind not in spec.fused:
        return f"torch's {name} has no fused kernel for {case.kind}"
    # Compiled, the step count becomes part of the graph, and the CPU is as good as any.
    if "capturable" in asked and case.kind != "cuda" and not case.compilation.step:
        return (
            f"a capturable step keeps its count on a CUDA device: torch refuses it on {case.kind}"
        )
    return None


def _closure(case: Case, facts: Facts) -> str | None:
    if OPTIMIZERS[case.optimizer].closure and PRECISIONS[case.dtype].scaled:
        return f"GradScaler takes no optimizer that is given a closure, as {case.optimizer} is"
    return None


def _compile(case: Case, facts: Facts) -> str | None:
    spec, asked = OPTIMIZERS[case.optimizer], case.compilation
    if asked.step and not spec.compilable:
        return f"torch.compile captures nothing of {spec.torch_class}'s step"
    if asked.step and case.implementation == "fused":
        return "torch.compile captures nothing of a fused optimizer step"
    if asked.mode == "reduce-overhead" and case.kind != "cuda":
        return (
            "reduce-overhead is the default mode with CUDA graphs: "
            f"on {case.kind} it would be the default under another name"
        )
    return facts.devices[case.kind].compile_refusal if asked.compiles else None


def _captured(case: Case, facts: Facts) -> str | None:
    if not case.compilation.captured:
        return None
    spec = OPTIMIZERS[case.optimizer]
    if case.kind != "cuda":
        return f"a CUDA graph cannot be captured on {case.kind}"
    if PRECISIONS[case.dtype].scaled:
        return "GradScaler asks the device in every step, which a CUDA graph cannot hold"
    if spec.capturable and case.implementation != "capturable":
        return f"torch captures {spec.torch_class} only as --implementation capturable"
    if not spec.capturable and spec.torch_class != "SGD":
        return (
            f"{spec.torch_class}'s step counts or decides on the host: a CUDA graph cannot hold it"
        )
    return None


def _threads(case: Case, facts: Facts) -> str | None:
    if case.kind == "cpu" and case.threads > facts.cores:
        return f"needs {case.threads} cores, one per thread; this process may use {facts.cores}"
    if facts.thread_limit is not None and case.threads > facts.thread_limit:
        return (
            f"needs {case.threads} threads; OMP_THREAD_LIMIT or the control group's pids.max "
            f"allows {facts.thread_limit}"
        )
    return None


def _memory(case: Case, facts: Facts) -> str | None:
    need, memory = estimated_bytes(case), facts.devices[case.kind].memory_bytes
    if memory and need > memory // 2:
        return (
            f"needs about {need / 2**30:.1f} GiB, more than half of the "
            f"{memory / 2**30:.1f} GiB of {case.kind} memory"
        )
    return None


RULES: tuple[Callable[[Case, Facts], str | None], ...] = (
    _device,
    _optimizer,
    _dtype,
    _implementation,
    _closure,
    _compile,
    _captured,
    _threads,
    _memory,
)


def unsupported_reason(case: Case, facts: Facts) -> str | None:
    """The first reason this case cannot run on the machine of `facts`, or None."""
    return next((reason for rule in RULES if (reason := rule(case, facts))), None)
