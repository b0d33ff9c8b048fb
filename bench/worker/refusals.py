"""Why a case cannot be measured: each kind of refusal has the status that it gives the case."""

from ..protocol.messages import Status


class Refusal(Exception):
    """The case is at fault, not the worker; the text is the reason."""

    status: Status = "failed"


class InvalidCase(Refusal):
    """The case runs but is not what it says it is, or does not learn."""

    status: Status = "invalid"


class PhasesUnclear(Refusal):
    """The case runs, but the device's clock does not tell its phases apart."""


class Unsupported(Refusal):
    """The device lacks what the request needs."""

    status: Status = "unsupported"


class TraceError(Refusal):
    """The profiler's trace is empty, or its steps differ."""
