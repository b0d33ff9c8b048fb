"""Why a case cannot be measured: each kind of refusal has the status that it gives the case."""

import torch

from ..protocol.messages import Status

OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")


class Refusal(Exception):
    """The case is at fault, not the worker; the text is the reason."""

    status: Status = "failed"


class InvalidCase(Refusal):
    """The case runs but is not what it says it is, or does not learn."""

    status: Status = "invalid"


class CannotBuild(Refusal):
    """There is no such step here, or its function raises."""


class PhasesUnclear(Refusal):
    """The case runs, but the device's clock does not tell its phases apart."""


class Unsupported(Refusal):
    """The device lacks what the request needs."""

    status: Status = "unsupported"


class TraceError(Refusal):
    """The profiler's trace is empty, or its steps differ."""


def status_of(error: Exception) -> Status:
    """What becomes of a case that raised what nobody expected."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "oom"
    # Allocators of the CPU and of mps, and libraries on CUDA, raise a plain RuntimeError.
    return "oom" if any(words in str(error) for words in OUT_OF_MEMORY) else "failed"
