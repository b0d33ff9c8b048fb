"""The run file: plain JSON, written by `encode`, read by `decode`, of SCHEMA alone.

Its `benchmarks`, `machine_info` and `commit_info` are pytest-benchmark's summaries, for what reads
those. Its `sumnet` key is a RunRecord as JSON. A field that is left out has its default.

Columns (`at_ms`, `readings_ns`, `p10_ns` of Blocks) hold their first value, then how much each is
above the one before: a running sum gives the values back. They are what another run's floors may
choose from. Of a worker's medians and 90th percentiles only the median block counts, so that
only that is kept: with a column for each of four percentiles, a file would be three times as long.
"""

import copy
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ..figures import MOST, Amount, AtLeastOne, Count, Positive, Seconds, Whole
from ..machine.circumstances import MeasuredDevice
from ..machine.fingerprint import Machine
from ..machine.sampling import HealthSample
from ..matrix.case import WHOLE, Case, is_consistent
from ..matrix.ceiling import Ceiling
from ..matrix.plan import Plan
from ..protocol.messages import CEILING, KINDS, PHASES_KIND, series_of
from ..protocol.profile import StepProfile
from ..protocol.reference_loops import VERSION
from ..protocol.verified import Verified

SCHEMA = 5

FloorTimes = dict[str, Positive]
"""Key of a floor to it, nanoseconds."""


class Header(msgspec.Struct, frozen=True):
    """The first line of a journal: what was to be measured, where."""

    plan: Plan
    machine: Machine
    schema: int = SCHEMA
    reference_loop_version: int = VERSION

    @property
    def devices(self) -> dict[str, MeasuredDevice]:
        """None yet: workers name them, and none has started."""
        return {}


class Blocks(msgspec.Struct):
    """One worker's blocks of one kind for one case or ceiling, in the order they were measured."""

    worker: Count
    at_ms: list[Whole]
    """Milliseconds since the run's first session began."""
    readings_ns: dict[str, list[Whole]]
    """Reference loop to its reading just before each block."""
    p10_ns: dict[str, list[Whole]]
    """Series to the 10th percentile of each block's samples."""
    p50_ns: dict[str, AtLeastOne]
    """Series to the median block's median."""
    p90_ns: dict[str, AtLeastOne]
    """Series to the median block's 90th percentile."""

    def __len__(self) -> int:
        return len(self.at_ms)


class CasePreparation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A case as its first worker found it."""

    step_ns: Count
    """Duration of one warm step."""
    warmup_steps: Count
    verified: Verified | None = None
    """None in runs from before cases were verified."""


class CeilingPreparation(msgspec.Struct, frozen=True):
    """What a sample of a ceiling does."""

    sample_ns: Positive
    calls: Positive
    work: AtLeastOne
    """Bytes, FLOP, or how many of what costs are asked for."""
    how: str


class FirstStep(msgspec.Struct, frozen=True):
    """The first step of a compiled case, and what the compiler's caches gave to it."""

    first_step_ns: Positive
    hits: Count
    """Graphs that came out of the cache."""
    misses: Count


class CompileTimes(msgspec.Struct, omit_defaults=True):
    """How long the first step of a compiled case took, or why that is not known."""

    cold: FirstStep | None = None
    """With empty caches, in a process of its own."""
    warm: FirstStep | None = None
    """In the next process, with what those caches held then."""
    reason: str | None = None


class Energy(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a stretch of training took."""

    steps: Positive
    elapsed_ns: Positive
    joules: Amount
    unchecked: str | None = None
    """Why a GPU's counter was not held against the power it shows; None where it was, or in runs
    from before that was done."""


class CaseRecord(msgspec.Struct, omit_defaults=True):
    """What is known of one case. A case with no evidence says why in its status and reason."""

    case: Case
    status: str = "ok"
    reason: str | None = None
    samples: Count | None = None
    """Samples a block holds."""
    prepared: CasePreparation | None = None
    blocks: dict[str, list[Blocks]] = {}
    """Kind of block to the blocks of each worker: each a replicate."""
    phases_reason: str | None = None
    """Why there are no phases, where the step was to be timed phase by phase."""
    profile: StepProfile | None = None
    profile_reason: str | None = None
    """Why there is no profile, where one was asked for."""
    energy: Energy | None = None
    energy_reason: str | None = None
    """Why there is no energy, where it was asked for."""
    peak_bytes: Count | None = None
    """The most memory that training takes, above the net and its data."""
    peak_reason: str | None = None
    """Why that is not known, in runs that asked for it."""
    compile_times: CompileTimes | None = None
    """None where they were not asked for."""
    impossible_blocks: Count = 0
    """Blocks that were left out because a time in them was not positive."""

    @property
    def id(self) -> str:
        return self.case.id


class CeilingRecord(msgspec.Struct, omit_defaults=True):
    """What is known of one ceiling: how it was measured, and its blocks."""

    ceiling: Ceiling
    status: str = "ok"
    reason: str | None = None
    samples: Count | None = None
    """Samples a block holds."""
    prepared: CeilingPreparation | None = None
    blocks: list[Blocks] = []
    """Of each worker: each a replicate."""
    impossible_blocks: Count = 0
    """See CaseRecord."""

    @property
    def id(self) -> str:
        return self.ceiling.id


class WorkerRecord(msgspec.Struct):
    """One worker process."""

    side: str
    started_at: Seconds
    startup_s: Seconds
    python: str
    torch: str
    subject_hash: str
    threads: Count
    cores: list[Count]
    """The cores it was bound to; empty where it was not."""
    device: str = "cpu"
    device_name: str = ""
    device_platform: str = ""
    device_identity: str = ""
    """See MeasuredDevice; empty in runs from before these were asked for."""
    sync_ns: Count = 0
    """What waiting for the idle device cost at least."""


class Session(msgspec.Struct, omit_defaults=True):
    """One uninterrupted stretch of measuring. Times in seconds."""

    started_at: Seconds
    ended_at: Seconds
    startup_s: Seconds = 0.0
    """Spent on starting workers."""
    block_s: Seconds = 0.0
    """Spent inside blocks of cases."""
    complete: bool = False
    beside_another: bool = False
    """Whether another measurement was running on the machine when this one began."""
    lost_workers: Count = 0
    """Workers that were killed while they started, and were replaced."""


class Drift(msgspec.Struct, frozen=True):
    """How runs of one plan on one machine differ beyond what their replicates show."""

    deviation: Annotated[float, Meta(ge=0, le=10)]
    """Standard deviation of a run's log time."""
    freedom: AtLeastOne = math.inf
    """Degrees of freedom of that; infinite where it is an assumption."""
    runs: Count = 0
    """How many it was estimated from; none where it is an assumption."""


class RunRecord(msgspec.Struct, omit_defaults=True):
    """Everything one run saw."""

    schema: int
    plan: Plan
    machine: Machine
    reference_loop_version: int
    cases: list[CaseRecord]
    workers: list[WorkerRecord] = []
    sessions: list[Session] = []
    floors_ns: FloorTimes = {}
    """Those that served this run when it was written."""
    lowest_floors_ns: FloorTimes = {}
    """The lowest that this machine had shown then."""
    drift: dict[str, Drift] = {}
    """Statistic to the drift among this machine's runs of this plan when the run was written;
    empty where they were too few."""
    ceilings: list[CeilingRecord] = []
    health: list[HealthSample] = []

    @property
    def devices(self) -> dict[str, MeasuredDevice]:
        """Those that were measured besides the CPU, by what cases call them.

        Each as its first worker found it: one that finds another device measures nothing on it.
        """
        return {
            worker.device: MeasuredDevice(
                worker.device_name, worker.device_platform, worker.device_identity
            )
            for worker in reversed(self.workers)
            if worker.device != "cpu" and worker.device_name
        }

    @property
    def complete(self) -> bool:
        return bool(self.sessions) and self.sessions[-1].complete

    def measured(self) -> Iterator[tuple[Case | Ceiling, Blocks]]:
        """Every worker's blocks of every kind, and what they are of."""
        for case in self.cases:
            for workers in case.blocks.values():
                yield from ((case.case, blocks) for blocks in workers)
        for ceiling in self.ceilings:
            yield from ((ceiling.ceiling, blocks) for blocks in ceiling.blocks)


def encode(record: RunRecord) -> dict[str, Any]:
    """What the `sumnet` key of a run file holds."""
    record = copy.deepcopy(record)
    for column in _columns(record):
        column[1:] = [after - before for before, after in itertools.pairwise(column)]
    encoded: dict[str, Any] = msgspec.to_builtins(record)
    return encoded


def decode(encoded: object) -> RunRecord:
    """The reverse of `encode`. Raises msgspec.ValidationError for what has another shape."""
    record = msgspec.convert(encoded, RunRecord)
    for column in _columns(record):
        column[:] = itertools.accumulate(column)
    return record


def _columns(record: RunRecord) -> Iterator[list[int]]:
    for _, blocks in record.measured():
        yield from (blocks.at_ms, *blocks.readings_ns.values(), *blocks.p10_ns.values())


def inconsistency(record: RunRecord) -> str | None:
    """What is wrong with a run that has the right shape, or None: it may have been edited."""
    if not record.cases and not record.ceilings:
        return "it has no cases"
    planned = [*(case.id for case in record.plan.cases), *(c.id for c in record.plan.ceilings)]
    measured = [*(case.id for case in record.cases), *(c.id for c in record.ceilings)]
    for name, times in [*Counter(planned).items(), *Counter(measured).items()]:
        if times > 1:
            return f"it has {name} twice"
    for case in record.cases:
        if not is_consistent(case.case):
            return f"{case.id} is no case: a value is not one that its axis has"
        if (wrong := _wrong_blocks(case.blocks, case.case.phases)) is not None:
            return f"{case.id} {wrong}"
        if case.profile and not _is_of(case.profile, case.case):
            return f"{case.id} has a profile of other phases than its own"
    for ceiling in record.ceilings:
        if ceiling.blocks and ceiling.prepared is None:
            return f"{ceiling.id} has blocks, and not what a sample of them does"
        if ceiling.blocks and (wrong := _wrong_blocks({CEILING: ceiling.blocks})) is not None:
            return f"{ceiling.id} {wrong}"
    return None


def _is_of(profile: StepProfile, case: Case) -> bool:
    return set(profile.phases) == set(profile.work) == set(case.phases or (WHOLE,))


def _wrong_blocks(
    blocks: Mapping[str, Sequence[Blocks]], phases: tuple[str, ...] = ()
) -> str | None:
    for kind, workers in blocks.items():
        if not workers or kind not in (PHASES_KIND, *KINDS):
            return f"has no blocks of kind {kind}"
        if len({worker.worker for worker in workers}) < len(workers):
            return f"has {kind} blocks of one worker twice"
        for worker in workers:
            series = set(series_of(kind, phases))
            if not series == set(worker.p10_ns) == set(worker.p50_ns) == set(worker.p90_ns):
                return f"lacks a series of {kind}, or has one too many"
            columns = [*worker.readings_ns.values(), *worker.p10_ns.values()]
            lengths = {len(column) for column in columns}
            if lengths != {len(worker)} or not (worker.at_ms and worker.readings_ns and series):
                return "has columns of unequal length, or none"
            quantiles = [*worker.p50_ns.values(), *worker.p90_ns.values()]
            if min(*map(min, columns), *quantiles) <= 0:
                return "has times that are not positive"
            if max(map(max, (*columns, worker.at_ms))) > MOST or min(worker.at_ms) < -MOST:
                return "has times that are too long"  # which are sums of what a file has
    return None
