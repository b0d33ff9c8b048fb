"""The shape of a run: the `sumnet` key of a run file, assembled from the events of its journal."""

import math
from collections.abc import Iterable

import msgspec

from bench.errors import UsageError
from bench.machine.fingerprint import Machine
from bench.machine.sampling import HealthSample
from bench.matrix.axes import AXES, Value
from bench.matrix.case import Case, case_from_id
from bench.matrix.ceiling import Ceiling
from bench.matrix.plan import Plan
from bench.protocol.messages import (
    CEILING,
    KINDS,
    QUANTILES,
    CeilingPrepared,
    CompileTimed,
    EnergyMeasured,
    Hello,
    Prepared,
)
from bench.protocol.profile import StepProfile
from bench.protocol.reference_loops import VERSION
from bench.runner.events import (
    BlockMeasured,
    CaseEnded,
    CaseEnergy,
    CasePrepared,
    CaseProfiled,
    CeilingReady,
    CompileMeasured,
    Event,
    HealthSampled,
    ReplicateDone,
    SessionEnded,
    SessionStarted,
    WorkerStarted,
)

SCHEMA = 3
"""Older files are read: those of schema 1 know less of a case, and only of CPUs; those before 3
have neither profiles nor ceilings, and nothing of the machine's health."""


class Header(msgspec.Struct, frozen=True):
    """The first line of a journal: what was to be measured, where."""

    plan: Plan
    machine: Machine
    schema: int = SCHEMA
    reference_loop_version: int = VERSION


class Blocks(msgspec.Struct):
    """One worker's blocks of one kind for one case or ceiling, as columns in the order they were
    measured."""

    worker: int
    at_s: list[float] = msgspec.field(default_factory=list)
    """Seconds since the run's first session began."""
    readings_ns: dict[str, list[int]] = msgspec.field(default_factory=dict)
    """Reference loop to its reading just before each block."""
    percentiles_ns: dict[str, dict[str, list[int]]] = msgspec.field(default_factory=dict)
    """Series to percentile ("p10") to one value a block."""


class CompileTimes(msgspec.Struct):
    """How long the first step of a compiled case took, or why that is not known."""

    cold: CompileTimed | None = None
    """With empty caches, in a process of its own."""
    warm: CompileTimed | None = None
    """In the next process, with what those caches held then."""
    reason: str | None = None


class CaseRecord(msgspec.Struct):
    """What is known of one case. A case with no evidence says why in its status and reason."""

    id: str
    axes: dict[str, Value]
    status: str = "ok"
    reason: str | None = None
    samples: int | None = None
    """Samples a block holds."""
    prepared: Prepared | None = None
    """As its first worker found it."""
    blocks: dict[str, list[Blocks]] = msgspec.field(default_factory=dict)
    """Kind of block to the blocks of each worker: each a replicate."""
    profile: StepProfile | None = None
    profile_reason: str | None = None
    """Why there is no profile, where one was asked for."""
    energy: EnergyMeasured | None = None
    energy_reason: str | None = None
    """Why there is no energy, where it was asked for."""
    compile_times: CompileTimes | None = None
    """None where they were not asked for."""


class CeilingRecord(msgspec.Struct):
    """What is known of one ceiling: how it was measured, and its blocks, of samples."""

    id: str
    ceiling: Ceiling
    status: str = "ok"
    reason: str | None = None
    samples: int | None = None
    """Samples a block holds."""
    prepared: CeilingPrepared | None = None
    """What a sample does."""
    blocks: list[Blocks] = msgspec.field(default_factory=list)
    """Of each worker: each a replicate."""


class WorkerRecord(msgspec.Struct):
    """One worker process."""

    side: str
    started_at: float
    startup_s: float
    python: str
    torch: str
    subject_hash: str
    threads: int
    cores: list[int]
    """The cores it was bound to; empty where it was not."""
    device: str = "cpu"
    device_name: str = ""
    sync_ns: int = 0
    """What waiting for the idle device cost at least."""


class Session(msgspec.Struct):
    """One uninterrupted stretch of measuring. Times in seconds."""

    started_at: float
    ended_at: float
    startup_s: float = 0.0
    """Spent on starting workers."""
    block_s: float = 0.0
    """Spent inside blocks of cases."""
    complete: bool = False


class Drift(msgspec.Struct, frozen=True):
    """How runs of one plan on one machine differ beyond what their replicates show."""

    deviation: float
    """Standard deviation of a run's log time."""
    freedom: float = math.inf
    """Degrees of freedom of that; infinite where it is an assumption."""
    runs: int = 0
    """How many it was estimated from; none where it is an assumption."""


class RunRecord(msgspec.Struct):
    """Everything one run saw."""

    schema: int
    plan: Plan
    machine: Machine
    reference_loop_version: int
    cases: list[CaseRecord]
    workers: list[WorkerRecord] = msgspec.field(default_factory=list)
    sessions: list[Session] = msgspec.field(default_factory=list)
    floors_ns: dict[str, int] = msgspec.field(default_factory=dict)
    """Key of a floor to the one that served this run when it was written. In files from before
    `lowest_floors_ns`, to the lowest that the machine's name had shown."""
    lowest_floors_ns: dict[str, int] = msgspec.field(default_factory=dict)
    """Likewise, to the lowest that this machine had shown."""
    drift: dict[str, Drift] = msgspec.field(default_factory=dict)
    """Statistic to the drift among this machine's runs of this plan when the run was written;
    empty where they were too few."""
    ceilings: list[CeilingRecord] = msgspec.field(default_factory=list)
    health: list[HealthSample] = msgspec.field(default_factory=list)

    @property
    def complete(self) -> bool:
        return bool(self.sessions) and self.sessions[-1].complete


def assemble(header: Header, events: Iterable[Event]) -> RunRecord:
    """The run that these events tell of."""
    records = {case.id: _case_record(case) for case in header.plan.cases}
    above = {ceiling.id: CeilingRecord(ceiling.id, ceiling) for ceiling in header.plan.ceilings}
    run = RunRecord(
        header.schema,
        header.plan,
        header.machine,
        header.reference_loop_version,
        list(records.values()),
        ceilings=list(above.values()),
    )
    for event in events:
        match event:
            case SessionStarted(at):
                run.sessions.append(Session(at, at))
            case WorkerStarted():
                run.workers.append(_worker_record(event, event.hello))
                run.sessions[-1].startup_s += event.startup_s
                run.sessions[-1].ended_at = event.at
            case CasePrepared():
                record = records[event.prepared.case]
                record.samples = event.samples
                record.prepared = record.prepared or event.prepared
            case CeilingReady(prepared=ready, samples=samples):
                ceiling = above[ready.ceiling]
                ceiling.samples = samples
                ceiling.prepared = ceiling.prepared or ready
            case BlockMeasured(block=block):
                if block.kind == CEILING:
                    of_kind = above[block.case].blocks
                else:
                    of_kind = records[block.case].blocks.setdefault(block.kind, [])
                    run.sessions[-1].block_s += block.elapsed_ns / 1e9
                _add_block(run, of_kind, event)
            case CaseProfiled(case_id, profile, reason):
                records[case_id].profile = profile
                records[case_id].profile_reason = reason
            case CaseEnergy(case_id, spent, reason):
                records[case_id].energy = spent
                records[case_id].energy_reason = reason
            case HealthSampled(at, health):
                since_start = round(at - run.sessions[0].started_at, 3)
                run.health.append(HealthSample(since_start, health))
            case CompileMeasured(case_id, cold, warm, reason):
                records[case_id].compile_times = CompileTimes(cold, warm, reason)
            case CaseEnded(ended, status, reason):
                of: CaseRecord | CeilingRecord = records.get(ended) or above[ended]
                of.status = status
                of.reason = reason
            case SessionEnded(at):
                run.sessions[-1].ended_at = at
                run.sessions[-1].complete = True
            case ReplicateDone():
                pass
    return run


def inconsistency(run: RunRecord) -> str | None:
    """What is wrong with a run that has the right shape, or None: it may have been edited."""
    if not run.cases and not run.ceilings:
        return "it has no cases"
    if min([*run.floors_ns.values(), *run.lowest_floors_ns.values()], default=1) <= 0:
        return "a floor is not positive"
    for drift in run.drift.values():
        if not (drift.deviation >= 0 and drift.freedom > 0):
            return "a drift is not positive"
    for case in run.cases:
        if set(case.axes) != set(AXES):
            return f"{case.id} has the axes {', '.join(case.axes)}"
        try:
            case_from_id("/".join(f"{AXES[n].prefix}{case.axes[n]}" for n in AXES))
        except UsageError as error:
            return str(error)
        for kind, workers in case.blocks.items():
            if not workers or kind not in KINDS:
                return f"{case.id} has no blocks of kind {kind}"
            if (wrong := _wrong_columns(workers, kind)) is not None:
                return f"{case.id} {wrong}"
    for ceiling in run.ceilings:
        if ceiling.blocks and ceiling.prepared is None:
            return f"{ceiling.id} has blocks of nobody knows what"
        if (wrong := _wrong_columns(ceiling.blocks, CEILING)) is not None:
            return f"{ceiling.id} {wrong}"
    return None


def _wrong_columns(workers: Iterable[Blocks], kind: str) -> str | None:
    for blocks in workers:
        series = [c for of in blocks.percentiles_ns.values() for c in of.values()]
        columns = [*blocks.readings_ns.values(), *series]
        if set(blocks.percentiles_ns) != set(KINDS[kind]) or not blocks.readings_ns:
            return "lacks a series or its reference loops"
        if any(len(c) != len(blocks.at_s) or min(c, default=0) <= 0 for c in columns):
            return "has columns of unequal length, or times that are not positive"
    return None


def _case_record(case: Case) -> CaseRecord:
    return CaseRecord(case.id, case.axes)


def _worker_record(event: WorkerStarted, hello: Hello) -> WorkerRecord:
    return WorkerRecord(
        side=event.side,
        started_at=event.at,
        startup_s=event.startup_s,
        python=hello.python,
        torch=hello.facts.torch,
        subject_hash=hello.subject_hash,
        threads=hello.threads,
        cores=hello.cores,
        device=event.device,
        device_name=hello.facts.devices[event.device.partition(":")[0]].name,
        sync_ns=hello.sync_ns,
    )


def _add_block(run: RunRecord, of_kind: list[Blocks], event: BlockMeasured) -> None:
    block = event.block
    run.sessions[-1].ended_at = event.at
    if not of_kind or of_kind[-1].worker != event.worker:
        of_kind.append(Blocks(event.worker))
    columns = of_kind[-1]
    columns.at_s.append(round(event.at - run.sessions[0].started_at, 3))
    for loop_name, reading in block.readings_ns.items():
        columns.readings_ns.setdefault(loop_name, []).append(reading)
    for series, values in block.quantiles_ns.items():
        column = columns.percentiles_ns.setdefault(series, {f"p{q}": [] for q in QUANTILES})
        for percent, value in zip(QUANTILES, values, strict=True):
            column[f"p{percent}"].append(value)
