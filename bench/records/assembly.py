"""A run out of the events that its journal holds."""

from collections.abc import Sequence
from statistics import median
from typing import TypeVar

import msgspec

from ..machine.sampling import HealthSample
from ..protocol.messages import CEILING, PHASES_KIND, QUANTILES
from ..runner import events as happened
from ..runner.events import BlockMeasured, Event
from .run_file import (
    Blocks,
    CasePreparation,
    CaseRecord,
    CeilingPreparation,
    CeilingRecord,
    CompileTimes,
    Energy,
    FirstStep,
    Header,
    RunRecord,
    Session,
    WorkerRecord,
)

T = TypeVar("T")


class Contradiction(Exception):
    """Events that no run can have had in this order."""


def assemble(header: Header, events: Sequence[Event]) -> RunRecord:
    """The run of these events, less the blocks of replicates that were measured anew.

    Raises Contradiction, or KeyError or IndexError for the use of what is not there.
    """
    cases = {case.id: CaseRecord(case) for case in header.plan.cases}
    ceilings = {ceiling.id: CeilingRecord(ceiling) for ceiling in header.plan.ceilings}
    records: dict[str, CaseRecord | CeilingRecord] = {**cases, **ceilings}
    record = RunRecord(
        header.schema,
        header.plan,
        header.machine,
        header.reference_loop_version,
        list(cases.values()),
        ceilings=list(ceilings.values()),
    )
    measured: dict[tuple[str, str, int], list[BlockMeasured]] = {}
    left_out = _left_out(events)
    for event in events:
        match event:
            case happened.SessionStarted(at, beside_another):
                record.sessions.append(Session(at, at, beside_another=beside_another))
            case happened.WorkerReplaced():
                record.sessions[-1].lost_workers += 1
            case happened.BlockImpossible(name):
                records[name].impossible_blocks += 1
            case happened.WorkerStarted():
                if event.worker != len(record.workers):
                    raise Contradiction(
                        f"worker {event.worker} starts where {len(record.workers)} is the next"
                    )
                record.workers.append(_worker_record(event))
                record.sessions[-1].startup_s += event.startup_s
                record.sessions[-1].ended_at = event.at
            case happened.CasePrepared(prepared=prepared, samples=samples):
                case_record = cases[prepared.case]
                case_record.samples = samples
                case_record.prepared = case_record.prepared or _same(prepared, CasePreparation)
            case happened.CeilingReady(prepared=ready, samples=samples):
                ceiling = ceilings[ready.ceiling]
                ceiling.samples = samples
                ceiling.prepared = ceiling.prepared or _same(ready, CeilingPreparation)
            case BlockMeasured(worker=worker, at=at, block=block):
                if worker != len(record.workers) - 1:
                    raise Contradiction(f"worker {worker} measures, and is not the present one")
                if block.kind != CEILING:
                    record.sessions[-1].block_s += block.elapsed_ns / 1e9
                record.sessions[-1].ended_at = at
                if id(event) not in left_out:
                    measured.setdefault((block.case, block.kind, worker), []).append(event)
            case happened.CaseProfiled(name, profile, reason):
                cases[name].profile, cases[name].profile_reason = profile, reason
            case happened.CaseEnergy(name, spent, reason):
                cases[name].energy = _same(spent, Energy)
                cases[name].energy_reason = reason
            case happened.CaseMemory(name, peak_bytes, reason):
                cases[name].peak_bytes, cases[name].peak_reason = peak_bytes, reason
            case happened.HealthSampled(at, health):
                since_start = round(at - record.sessions[0].started_at, 3)
                record.health.append(HealthSample(since_start, health))
            case happened.CompileMeasured(name, cold, warm, reason):
                cases[name].compile_times = CompileTimes(
                    _same(cold, FirstStep), _same(warm, FirstStep), reason
                )
            case happened.CaseEnded(name, status, reason):
                records[name].status, records[name].reason = status, reason
            case happened.PhasesEnded(name, reason):
                cases[name].phases_reason = reason
            case happened.SessionEnded(at):
                record.sessions[-1].ended_at = at
                record.sessions[-1].complete = True
    for (name, kind, worker), group in measured.items():
        blocks = _blocks(worker, group, record.sessions[0].started_at)
        if kind == CEILING:
            ceilings[name].blocks.append(blocks)
        elif kind != PHASES_KIND or cases[name].phases_reason is None:
            # Blocks that happened to be told apart are no fair sample of a case's phases.
            cases[name].blocks.setdefault(kind, []).append(blocks)
    return record


def _left_out(events: Sequence[Event]) -> set[int]:
    """The ids (of objects) of the blocks of replicates that were interrupted, once the run goes on.

    Those are measured anew then. A part of one would count as much as a whole one, and its few
    blocks find fewer quiet moments. While nothing follows it is all there is, and stays.
    """
    left_out: set[int] = set()
    interrupted: set[int] = set()
    present: set[int] = set()
    for event in events:
        match event:
            case happened.SessionStarted():
                interrupted |= present
                present = set()
            case happened.ReplicateDone():
                present = set()
            case BlockMeasured():
                left_out |= interrupted
                interrupted = set()
                present.add(id(event))
    return left_out


def block_medians(events: Sequence[Event]) -> dict[tuple[str, str], list[int]]:
    """Id of a case or ceiling, and series, to the median of each of its blocks, nanoseconds; of
    those that are in the run."""
    left_out = _left_out(events)
    found: dict[tuple[str, str], list[int]] = {}
    for event in events:
        if isinstance(event, BlockMeasured) and id(event) not in left_out:
            for series, quantiles in event.block.quantiles_ns.items():
                medians = found.setdefault((event.block.case, series), [])
                medians.append(quantiles[QUANTILES.index(50)])
    return found


def _same(message: msgspec.Struct | None, kind: type[T]) -> T | None:
    """Those fields of a message that the file keeps, which have the same names."""
    return None if message is None else msgspec.convert(message, kind, from_attributes=True)


def _worker_record(event: happened.WorkerStarted) -> WorkerRecord:
    hello = event.hello
    facts = hello.facts.of(event.device)
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
        device_name=facts.name,
        device_platform=facts.platform,
        device_identity=facts.identity,
        sync_ns=hello.sync_ns,
    )


def _blocks(worker: int, group: Sequence[BlockMeasured], started_at: float) -> Blocks:
    blocks = [event.block for event in group]
    series = blocks[0].quantiles_ns

    def column(name: str, percentile: int) -> list[int]:
        place = QUANTILES.index(percentile)
        return [block.quantiles_ns[name][place] for block in blocks]

    return Blocks(
        worker,
        at_ms=[round(1000 * (event.at - started_at)) for event in group],
        readings_ns={
            loop: [block.readings_ns[loop] for block in blocks] for loop in blocks[0].readings_ns
        },
        p10_ns={name: column(name, 10) for name in series},
        p50_ns={name: float(median(column(name, 50))) for name in series},
        p90_ns={name: float(median(column(name, 90))) for name in series},
    )
