"""What happens in a run, as the coordinator reports it. A journal of these is the whole run."""

import msgspec

from ..figures import Count, Seconds
from ..machine.sampling import Health
from ..protocol import messages
from ..protocol.profile import StepProfile


class SessionStarted(msgspec.Struct, tag=True, frozen=True):
    """Measuring starts, or goes on after an interruption."""

    at: Seconds
    """Seconds since the epoch, as all times below."""
    beside_another: bool = False
    """Whether another measurement was running on the machine."""


class WorkerStarted(msgspec.Struct, tag=True, frozen=True):
    """A worker sent hello. Its number is its place among all workers of the run, from 0."""

    worker: Count
    side: str
    at: Seconds
    startup_s: Seconds
    hello: messages.Hello
    device: str = "cpu"
    pid: int = 0


class WorkerReplaced(msgspec.Struct, tag=True, frozen=True):
    """A worker was killed while it started, and is replaced."""

    reason: str


class CasePrepared(msgspec.Struct, tag=True, frozen=True):
    """A worker holds the case; `samples` is fixed for the whole run when it first is."""

    worker: Count
    prepared: messages.Prepared
    samples: Count


class BlockMeasured(msgspec.Struct, tag=True, frozen=True):
    """One block, by one worker."""

    worker: Count
    at: Seconds
    block: messages.Block


class BlockImpossible(msgspec.Struct, tag=True, frozen=True):
    """A block of the case, or of the ceiling, holds a time that is not positive: it is left out."""

    case: str


class CaseProfiled(msgspec.Struct, tag=True, frozen=True):
    """A case's profile, by a worker that had timed it; or why there is none."""

    case: str
    profile: StepProfile | None = None
    reason: str | None = None


class CaseEnergy(msgspec.Struct, tag=True, frozen=True):
    """The energy that a case's training took over some seconds; or why that is not known."""

    case: str
    spent: messages.EnergyMeasured | None = None
    reason: str | None = None


class CaseMemory(msgspec.Struct, tag=True, frozen=True):
    """The most memory that a case's training takes; or why that is not known."""

    case: str
    peak_bytes: Count | None = None
    reason: str | None = None


class CeilingReady(msgspec.Struct, tag=True, frozen=True):
    """A worker can measure the ceiling; `samples` is what its blocks hold."""

    worker: Count
    prepared: messages.CeilingPrepared
    samples: Count


class HealthSampled(msgspec.Struct, tag=True, frozen=True):
    """How the machine was, between two blocks."""

    at: Seconds
    health: Health


class CompileMeasured(msgspec.Struct, tag=True, frozen=True):
    """A case's compile times: with empty caches, and in a second process with what they held then.

    Where they could not be had, only the reason.
    """

    case: str
    cold: messages.CompileTimed | None = None
    warm: messages.CompileTimed | None = None
    reason: str | None = None


class CaseEnded(msgspec.Struct, tag=True, frozen=True):
    """The case, or the ceiling, is not measured any further, for a reason."""

    case: str
    status: messages.Status
    reason: str


class PhasesEnded(msgspec.Struct, tag=True, frozen=True):
    """The case's phases are not measured any further, for a reason; its other series are."""

    case: str
    reason: str


class ReplicateDone(msgspec.Struct, tag=True, frozen=True):
    """One group, of cases or of ceilings, has one more replicate."""

    replicate: Count
    group: Count
    spent_s: Seconds = 0.0
    """Of the budget, by all sessions, on a clock that nobody sets."""


class SessionEnded(msgspec.Struct, tag=True, frozen=True):
    """Measuring ended by itself: the run is complete."""

    at: Seconds


Event = (
    SessionStarted
    | WorkerStarted
    | WorkerReplaced
    | CasePrepared
    | BlockMeasured
    | BlockImpossible
    | CaseProfiled
    | CaseEnergy
    | CaseMemory
    | CeilingReady
    | HealthSampled
    | CompileMeasured
    | CaseEnded
    | PhasesEnded
    | ReplicateDone
    | SessionEnded
)
