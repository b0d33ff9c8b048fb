"""Which reply is a valid one to a request, and which leaves the worker unusable."""

from ..devices import kind_of
from . import messages
from .verified import Verified

AFTER_TIMING = messages.Profile | messages.MeasureEnergy | messages.MeasureMemory


class InvalidReply(Exception):
    """The worker must not be used again. `status` is what becomes of the case."""

    def __init__(self, status: messages.Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def check(what: str, device: str, request: messages.Request, reply: messages.Reply) -> None:
    """Raise InvalidReply unless the reply is a valid one to a request about the case `what`.

    Also for a refusal that leaves the worker unusable: memory that it could not free, or an
    accelerator's error that sticks, would weigh on the next case. Nothing is timed after a profile
    or a measurement of energy or memory, so those may fail.
    """
    match reply:
        case messages.Refused(case, status, reason) if case == what:
            on_accelerator = kind_of(device).asynchronous
            unusable = status == "oom" or (status == "failed" and on_accelerator)
            if unusable and not isinstance(request, AFTER_TIMING):
                raise InvalidReply(status, reason)
        case _ if not _is_valid(what, request, reply):
            asked = type(request).__name__
            raise InvalidReply("failed", f"invalid worker reply to {asked}: {reply!r:.200}")


def is_possible(block: messages.Block) -> bool:
    """Whether all times in it are positive: a clock that was set, or a driver, may show others."""
    rows = (*block.quantiles_ns.values(), block.readings_ns.values())
    least = min((value for row in rows for value in row), default=1)
    return min(least, block.least_ns, block.elapsed_ns) > 0


def _is_valid(what: str, request: messages.Request, reply: messages.Reply) -> bool:
    match request, reply:
        case messages.Prepare(), messages.Prepared(case=named):
            possible = reply.step_ns > 0 and _is_answered(reply.verified)
        case messages.PrepareCeiling(), messages.CeilingPrepared(ceiling=named):
            possible = min(reply.sample_ns, reply.calls, reply.work) > 0
        case messages.Verify(), messages.CaseVerified(case=named):
            possible = _is_answered(reply.verified)
        case messages.Profile(), messages.Profiled(case=named):
            possible = True
        case messages.MeasureMemory(), messages.MemoryMeasured(case=named):
            possible = reply.peak_bytes >= 0
        case messages.TimeCompile(), messages.CompileTimed(case=named):
            possible = reply.first_step_ns > 0
        case messages.MeasureEnergy(), messages.EnergyMeasured(case=named):
            possible = min(reply.steps, reply.elapsed_ns, reply.joules) > 0
        case messages.Describe(), messages.Described(steps=steps):
            return bool(steps)
        case messages.Measure(kind=messages.PHASES_KIND), messages.PhasesRefused(case=named):
            possible = True
        case messages.Measure(), messages.Block(case=named):
            rows = reply.quantiles_ns
            possible = (
                (reply.kind, reply.samples) == (request.kind, request.samples)
                and set(rows) == set(request.series)
                and all(len(row) == len(messages.QUANTILES) for row in rows.values())
            )
        case _:
            return False
    return possible and named == what


def _is_answered(verified: Verified | None) -> bool:
    """Whether there is a ratio where one is expected; one that is no number arrives as None."""
    return verified is not None and (verified.expected is None or verified.ratio is not None)
