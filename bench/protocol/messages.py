"""Requests to a worker and its replies: one JSON object a line, each way."""

from typing import Literal

import msgspec

from ..devices.facts import Facts
from ..figures import Amount, Count, Whole
from ..matrix.case import DISPATCH, LATENCY, THROUGHPUT, WHOLE, Case, is_phase
from ..matrix.ceiling import Ceiling
from ..matrix.step import StepDescription
from .profile import StepProfile
from .verified import Expected, Verified

PHASES_KIND = "phases"
WHOLE_KIND = WHOLE
WAITING_KIND = LATENCY
THROUGHPUT_KIND = THROUGHPUT
CEILING = "ceiling"
KINDS: dict[str, tuple[str, ...]] = {
    WHOLE_KIND: (WHOLE,),
    WAITING_KIND: (DISPATCH, LATENCY),
    THROUGHPUT_KIND: (THROUGHPUT,),
    CEILING: (CEILING,),
}
"""Kind of block to its series: the whole step; where the host runs ahead of the device, steps that
are waited for one by one, and many at once; and a ceiling's own. Blocks of PHASES_KIND have the
phases of the case, out of one pass."""
QUANTILES = (10, 25, 50, 90)
"""The percentiles that stand for a block's samples."""

OWN_THREADS = "own-threads"
"""The argument by which a worker leaves torch's threads to its environment."""
INSTALLED = "installed"
"""The argument that says that the interpreter has the subject installed."""
CHECKOUT = "checkout="
"""What stands before the folder that the subject is a copy of, in an argument."""

Status = Literal["ok", "unsupported", "invalid", "failed", "oom", "timeout", "killed"]
"""What became of a case."""


def kinds_of(case: Case) -> tuple[str, ...]:
    """The kinds of block that yield the case's series."""
    phases = (PHASES_KIND,) if case.phases else ()
    return (*phases, *(k for k, series in KINDS.items() if set(series) <= set(case.series)))


def kind_of_series(series: str) -> str:
    """The kind of block that a case's series comes from."""
    if is_phase(series):
        return PHASES_KIND
    return next(kind for kind, names in KINDS.items() if series in names)


def series_of(kind: str, phases: tuple[str, ...]) -> tuple[str, ...]:
    """The series of a kind of block, of a case with these phases. Raises KeyError."""
    return phases if kind == PHASES_KIND else KINDS[kind]


class Prepare(msgspec.Struct, tag=True, frozen=True):
    """Build, verify and warm up a case, and keep it resident.

    `lr` is the optimizer's own where it is None; `expected` is computed where it is None, unless
    another worker has `tried` to in vain.
    """

    case: Case
    lr: float | None = None
    expected: Expected | None = None
    tried: bool = False


class Verify(msgspec.Struct, tag=True, frozen=True):
    """Build and verify a case, and let it go."""

    case: Case
    lr: float | None = None


class TimeCompile(msgspec.Struct, tag=True, frozen=True):
    """Time the first step of a compiled case; the worker must not have compiled before."""

    case: Case
    lr: float | None = None


class PrepareCeiling(msgspec.Struct, tag=True, frozen=True):
    """Build a ceiling's microbenchmark, and keep it resident.

    `calls` of it make a sample; where None, as many as a sample should last.
    """

    ceiling: Ceiling
    calls: int | None = None


class Measure(msgspec.Struct, tag=True, frozen=True):
    """Time one block of a prepared case: `samples` steps, and one before them that is discarded.

    Or of a prepared ceiling, whose id is `case` then.
    """

    case: str
    kind: str
    samples: int
    series: tuple[str, ...]
    """Those that such a block has."""
    with_readings: bool = True
    """Whether reference loops are read before it: two sides in turn need none."""


class MeasureEnergy(msgspec.Struct, tag=True, frozen=True):
    """Train a prepared case for so many seconds, and measure the energy."""

    case: str
    seconds: float


class MeasureMemory(msgspec.Struct, tag=True, frozen=True):
    """Count what a prepared case allocates; nothing may be timed after it."""

    case: str


class Profile(msgspec.Struct, tag=True, frozen=True):
    """Profile a prepared case; nothing may be timed after it.

    `traces` is a folder to keep the Chrome trace and the folded stacks in.
    """

    case: str
    traces: str | None = None


class Describe(msgspec.Struct, tag=True, frozen=True):
    """Build each step once, on this device, to see what it is."""

    device: str


Request = (
    Prepare
    | PrepareCeiling
    | Verify
    | TimeCompile
    | Measure
    | MeasureEnergy
    | MeasureMemory
    | Profile
    | Describe
)


def id_of(request: Request) -> str:
    """The id of the case or ceiling that a request is about, or its device."""
    match request:
        case PrepareCeiling():
            return request.ceiling.id
        case Prepare() | Verify() | TimeCompile():
            return request.case.id
        case Measure() | MeasureEnergy() | MeasureMemory() | Profile():
            return request.case
        case Describe():
            return request.device


class Interpreter(msgspec.Struct, frozen=True):
    """What a process runs on: its Python, and the torch that it imported."""

    python: str
    """For example "CPython 3.11.7"."""
    prefix: str
    """Its sys.prefix: an environment's own."""
    torch: str
    torch_folder: str


class Hello(msgspec.Struct, tag=True, frozen=True):
    """A worker's first message: what it is and what subject it loaded."""

    facts: Facts
    python: str
    subject_hash: str
    threads: Count
    cores: list[Count]
    """The cores it is bound to; empty where it is not."""
    sync_ns: Count = 0
    """What waiting for the idle device costs at least."""
    bus_id: str | None = None
    """Where on the PCI bus its device is, by which the driver's tools know it."""
    interpreter: Interpreter | None = None
    """None only in old journals."""


class Prepared(msgspec.Struct, tag=True, frozen=True):
    """The case is verified, warm and resident."""

    case: str
    step_ns: Count
    """Duration of one warm step."""
    warmup_steps: Count
    reference_loops: tuple[str, ...]
    """The reference loops that are read before its blocks."""
    verified: Verified | None = None
    """None only in files of schema 1."""


class CeilingPrepared(msgspec.Struct, tag=True, frozen=True):
    """The ceiling can be measured."""

    ceiling: str
    sample_ns: Count
    calls: Count
    """In a sample."""
    work: Amount
    """Of a sample: bytes, FLOP, or the count of what has a cost."""
    how: str


class CaseVerified(msgspec.Struct, tag=True, frozen=True):
    """The case is what its id says, and trains as it should."""

    case: str
    verified: Verified


class CompileTimed(msgspec.Struct, tag=True, frozen=True):
    """How long a compiled case's first step took, and what the compiler's caches held."""

    case: str
    first_step_ns: Count
    hits: Count
    """Graphs that came out of the cache."""
    misses: Count


class Refused(msgspec.Struct, tag=True, frozen=True):
    """The case cannot be measured; see `validation.check` for what else that means."""

    case: str
    status: Status
    reason: str


class PhasesRefused(msgspec.Struct, tag=True, frozen=True):
    """The case's phases cannot be told apart, in two tries; what else is timed of it can be had."""

    case: str
    reason: str


class Block(msgspec.Struct, tag=True, frozen=True):
    """One block's evidence."""

    case: str
    kind: str
    samples: Count
    elapsed_ns: Whole
    """Wall time of all its steps, the discarded one too. See `is_possible` of times."""
    readings_ns: dict[str, Whole]
    """Reference loop to its reading just before the block."""
    quantiles_ns: dict[str, list[Whole]]
    """Series to its samples' percentiles, as QUANTILES has them."""
    means_ns: dict[str, Whole] = {}
    """Series to its samples' mean."""
    upper_tail_ns: dict[str, Whole] = {}
    """Series to the mean of its slow samples: timing.upper_tail_mean."""
    least_ns: Whole = 1
    """The least sample of all series, where that is not positive."""


class EnergyMeasured(msgspec.Struct, tag=True, frozen=True):
    """The energy of training for a while."""

    case: str
    steps: Count
    elapsed_ns: Count
    joules: Amount
    unchecked: str | None = None
    """Why a GPU's counter was not held against the power it shows; None where it was."""


class MemoryMeasured(msgspec.Struct, tag=True, frozen=True):
    """The most memory that training takes, above the net and its data."""

    case: str
    peak_bytes: Count


class Profiled(msgspec.Struct, tag=True, frozen=True):
    """What a step of the case does."""

    case: str
    profile: StepProfile


class Described(msgspec.Struct, tag=True, frozen=True):
    """The steps there are."""

    steps: tuple[StepDescription, ...]


Reply = (
    Hello
    | Described
    | Prepared
    | CeilingPrepared
    | CaseVerified
    | CompileTimed
    | Refused
    | PhasesRefused
    | Block
    | EnergyMeasured
    | MemoryMeasured
    | Profiled
)
