"""What happens in a run, as the coordinator tells it. A journal of these is the whole run."""

import msgspec

from bench.matrix.case import Case
from bench.matrix.ceiling import Ceiling
from bench.measure.breakdown import StepProfile
from bench.measure.health import Health
from bench.measure.protocol import (
    Block,
    CeilingPrepared,
    CompileTimed,
    Hello,
    Prepared,
    Spent,
    Status,
)


class Plan(msgspec.Struct, frozen=True):
    """What is to be measured."""

    cases: list[Case]
    replicates: int
    budget_s: float
    """Wall seconds the whole run may take; each replicate gets a fair share of what is left."""
    environment: str = "stock"
    seed: int = 0
    """Seeds the order of blocks."""
    lr: float | None = None
    """Of every case's optimizer; each its own where it is None."""
    preset: str | None = None
    """The preset the cases came from, where they came from one."""
    named: bool = False
    """Whether the cases were asked for by name, so that one that cannot run is an error."""
    compile_timed: list[str] = []
    """Ids of compiled cases whose compile times are measured too, when all else is."""
    profiled: bool = False
    """Whether each case is profiled too, after its last block."""
    energy: bool = False
    """Whether what each case's training takes is read from the device's counter of energy."""
    ceilings: list[Ceiling] = []
    """What this machine is measured to reach, when all cases are measured."""


class SittingStarted(msgspec.Struct, tag=True, frozen=True):
    """Measuring starts, or goes on after an interruption."""

    at: float
    """Seconds since the epoch, as all times below."""


class WorkerStarted(msgspec.Struct, tag=True, frozen=True):
    """A worker said hello. Its number is its place among all workers of the run, from 0."""

    worker: int
    side: str
    at: float
    startup_s: float
    hello: Hello
    device: str = "cpu"
    pid: int = 0


class CasePrepared(msgspec.Struct, tag=True, frozen=True):
    """A worker holds the case; `samples` is fixed for the whole run when it first is."""

    worker: int
    prepared: Prepared
    samples: int


class BlockMeasured(msgspec.Struct, tag=True, frozen=True):
    """One block, by one worker."""

    worker: int
    at: float
    block: Block


class CaseProfiled(msgspec.Struct, tag=True, frozen=True):
    """What a profiler told of a case, in a worker that had timed it; or why it told nothing."""

    case: str
    profile: StepProfile | None = None
    reason: str | None = None


class EnergySpent(msgspec.Struct, tag=True, frozen=True):
    """The energy that a case's training took over some seconds; or why that is not known."""

    case: str
    spent: Spent | None = None
    reason: str | None = None


class CeilingReady(msgspec.Struct, tag=True, frozen=True):
    """A worker can measure the ceiling; `samples` is what its blocks hold."""

    worker: int
    prepared: CeilingPrepared
    samples: int


class HealthSampled(msgspec.Struct, tag=True, frozen=True):
    """How the machine was, between two blocks."""

    at: float
    health: Health


class CompileMeasured(msgspec.Struct, tag=True, frozen=True):
    """A case's compile times: with empty caches, and in a second process with what they held then.

    Where they could not be had, only the reason.
    """

    case: str
    cold: CompileTimed | None = None
    warm: CompileTimed | None = None
    reason: str | None = None


class CaseEnded(msgspec.Struct, tag=True, frozen=True):
    """The case, or the ceiling, is not measured any further, for a reason."""

    case: str
    status: Status
    reason: str


class ReplicateDone(msgspec.Struct, tag=True, frozen=True):
    """One group, of cases or of ceilings, has one more replicate."""

    replicate: int
    group: int


class SittingEnded(msgspec.Struct, tag=True, frozen=True):
    """Measuring ended by itself: the run is complete."""

    at: float


Event = (
    SittingStarted
    | WorkerStarted
    | CasePrepared
    | BlockMeasured
    | CaseProfiled
    | EnergySpent
    | CeilingReady
    | HealthSampled
    | CompileMeasured
    | CaseEnded
    | ReplicateDone
    | SittingEnded
)
