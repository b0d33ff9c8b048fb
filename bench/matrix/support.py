"""Why a case cannot run here. To add a reason, add a rule to RULES."""

from collections.abc import Callable

import msgspec

from bench.matrix.case import Case
from sumnet.optimizers import OPTIMIZERS


class Facts(msgspec.Struct, frozen=True):
    """What the rules need to know of a machine, as its torch sees it."""

    torch: str
    cores: int
    """Cores this process may run on."""
    memory_bytes: int
    compiler: str | None
    """The C++ compiler torch.compile would use on the CPU."""
    isolates_compiled: bool
    """Whether this torch can keep several compiled loops apart in one process."""
    devices: dict[str, str | None]
    """Device kind to the reason it cannot be measured, or None where it can."""


def estimated_bytes(case: Case) -> int:
    """Memory one step holds at its peak, bytes: data, activations and their gradients, parameters.

    Counts tensors of the eager loop: 3 values a row of data, 4 a hidden unit and row (two
    activations, two gradients), 4 a row of output, loss and gradients, and 4 copies of the
    parameters.
    """
    item = {"float64": 8, "float32": 4, "bfloat16": 2}[case.dtype]
    return item * (case.batch * (7 + 4 * case.hidden) + 4 * (4 * case.hidden + 1))


def _device(case: Case, facts: Facts) -> str | None:
    return facts.devices[case.device.partition(":")[0]]


def _implementation(case: Case, facts: Facts) -> str | None:
    if case.implementation in OPTIMIZERS[case.optimizer].implementations:
        return None
    return f"torch has no {case.implementation} implementation of {case.optimizer}"


def _fused_compiled(case: Case, facts: Facts) -> str | None:
    if case.implementation == "fused" and case.compile == "on":
        return "torch.compile captures nothing of a fused optimizer step"
    return None


def _compiler(case: Case, facts: Facts) -> str | None:
    if case.compile == "on" and case.device == "cpu" and facts.compiler is None:
        return "torch.compile needs a C++ compiler: neither $CXX nor the default is on the PATH"
    return None


def _threads(case: Case, facts: Facts) -> str | None:
    if case.device == "cpu" and case.threads > facts.cores:
        return f"needs {case.threads} cores, one per thread; this process may use {facts.cores}"
    return None


def _memory(case: Case, facts: Facts) -> str | None:
    need = estimated_bytes(case)
    if case.device == "cpu" and need > facts.memory_bytes // 2:
        return (
            f"needs about {need / 2**30:.1f} GiB, more than half of this machine's "
            f"{facts.memory_bytes / 2**30:.1f} GiB"
        )
    return None


RULES: tuple[Callable[[Case, Facts], str | None], ...] = (
    _device,
    _implementation,
    _fused_compiled,
    _compiler,
    _threads,
    _memory,
)


def unsupported_reason(case: Case, facts: Facts) -> str | None:
    """The first reason this case cannot run on the machine of `facts`, or None."""
    return next((reason for rule in RULES if (reason := rule(case, facts))), None)
