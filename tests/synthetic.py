"""Runs made from known times, for tests: what a machine of given moods would have shown."""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.matrix.case import DISPATCH, LATENCY, THROUGHPUT, WHOLE, Case
from bench.matrix.support import DeviceFacts, Facts
from bench.measure.events import (
    BlockMeasured,
    CaseEnded,
    CasePrepared,
    CaseProfiled,
    CompileMeasured,
    Event,
    Plan,
    ReplicateDone,
    SittingEnded,
    SittingStarted,
    WorkerStarted,
)
from bench.measure.protocol import (
    KINDS,
    QUANTILES,
    Block,
    CompileTimed,
    Expected,
    Graphs,
    Hello,
    Prepared,
    Profiled,
    Verified,
    kinds_of,
)
from bench.records.machine import Machine
from bench.records.schema import Header, RunRecord, assemble
from bench.records.store import write_run

EPOCH = 1_800_000_000.0
STARTUP_S = 1.5
SAMPLES = 10

READINGS_NS = {"dispatch": 80_000, "memory": 350_000}
"""What each metronome reads on the undisturbed machine."""
SHARES = {
    "forward": 0.4,
    "backward": 0.4,
    "step": 0.2,
    WHOLE: 1.0,
    DISPATCH: 0.8,
    LATENCY: 1.5,
    THROUGHPUT: 0.8,
}
"""Series to its part of a step's time."""
FACTS = Facts(
    torch="2.13.0",
    cores=4,
    isolates_compiled=True,
    devices={
        "cpu": DeviceFacts(name="x86_64", memory_bytes=8 * 2**30),
        "cuda": DeviceFacts(name="Test GPU", count=2, memory_bytes=16 * 2**30),
        "mps": DeviceFacts(unavailable="torch 2.13.0 sees no mps device here"),
    },
)
SPREAD = {10: 1.0, 25: 1.02, 50: 1.1, 90: 1.4}
"""Percentile to its ratio to the true time, which is the 10th."""


@dataclass(frozen=True)
class Moods:
    """How a machine treats the true times: each block draws a speed, and noise multiplies."""

    speeds: tuple[float, ...] = (1.0,)
    strain: float = 1.0
    """A case is slower by this power of what slows the metronomes."""
    noise: float = 0.005
    """Standard deviation of the logarithm of every reading and block."""
    between: float = 0.005
    """The same, of every replicate."""
    blocks: int = 20
    """Of each kind in each replicate."""
    seed: int = 0


def machine(name: str = "test-cpu-4c-8gib", **changes: Any) -> Machine:
    """A machine that is the same wherever the tests run."""
    fixed = Machine(
        name=name,
        cpu="Test CPU",
        cores=4,
        available_cores=4,
        memory_bytes=8 * 2**30,
        os="Linux 6.1",
        python="CPython 3.11.9",
        torch="2.13.0",
        environment={},
        commit="0123456789",
        dirty=False,
        code_hash="aaaaaaaa-bbbbbbbb",
    )
    return msgspec.structs.replace(fixed, **changes)


def header(cases: Sequence[Case], on: Machine | None = None, **changes: Any) -> Header:
    """A journal's header; `changes` are to the plan."""
    plan = Plan(list(cases), replicates=3, budget_s=30.0)
    return Header(msgspec.structs.replace(plan, **changes), on or machine())


def worker_started(
    number: int, at: float, cores: Sequence[int] = (3,), device: str = "cpu"
) -> WorkerStarted:
    hello = Hello(FACTS, "3.11.9", "0" * 16, 1, list(cores), sync_ns=0 if device == "cpu" else 7000)
    return WorkerStarted(number, "run", at, STARTUP_S, hello, device)


def verified(**changes: Any) -> Verified:
    """What a case was seen to do that does what it should."""
    fixed = Verified(
        expected=Expected(loss=32.0, loss_tolerance=1e-6, ratio=0.25, tolerance=1e-4),
        ratio=0.25001,
        products="float32",
        path="for-loop",
        graphs=Graphs(loss=0, step=0, recompiled=0, breaks=(), skips=0),
        peak_bytes=None,
    )
    return msgspec.structs.replace(fixed, **changes)


def case_prepared(worker: int, case: Case, step_ns: float = 1e5) -> CasePrepared:
    prepared = Prepared(case.id, round(step_ns), 12, tuple(_metronomes(case)), verified())
    return CasePrepared(worker, prepared, SAMPLES)


def block_measured(
    worker: int,
    at: float,
    case: Case,
    kind: str,
    time_ns: float,
    readings_ns: Mapping[str, float] = READINGS_NS,
    shares: Mapping[str, float] = SHARES,
) -> BlockMeasured:
    """A block of a step that takes `time_ns`."""
    block = Block(
        case=case.id,
        kind=kind,
        samples=SAMPLES,
        elapsed_ns=round(time_ns * (SAMPLES + 1)),
        readings_ns={name: round(readings_ns[name]) for name in _metronomes(case)},
        quantiles_ns={
            series: [round(time_ns * shares[series] * SPREAD[q]) for q in QUANTILES]
            for series in KINDS[kind]
        },
    )
    return BlockMeasured(worker, at, block)


def case_profiled(worker: int, case: Case, busy_ns: float | None) -> CaseProfiled:
    return CaseProfiled(worker, Profiled(case.id, None if busy_ns is None else round(busy_ns)))


def compile_measured(
    case: Case, cold_s: float | None = None, warm_s: float | None = None, reason: str | None = None
) -> CompileMeasured:
    cold = None if cold_s is None else CompileTimed(case.id, round(cold_s * 1e9), 0, 2)
    warm = None if warm_s is None else CompileTimed(case.id, round(warm_s * 1e9), 2, 0)
    return CompileMeasured(case.id, cold, warm, reason)


def events(
    times_ns: Mapping[Case, float],
    *,
    replicates: int = 3,
    moods: Moods | None = None,
    ended: Mapping[Case, tuple[str, str]] | None = None,
    busy_ns: Mapping[Case, float | None] | None = None,
    shares: Mapping[str, float] | None = None,
    compiled: Sequence[CompileMeasured] = (),
) -> list[Event]:
    """One sitting, in which the cases of `ended` ended with their status and reason.

    `busy_ns` is what profilers told of some cases, `shares` replaces some of SHARES, and `compiled`
    are the compile times. Each replicate has a worker on each device.
    """
    how = moods or Moods()
    chance = random.Random(how.seed)
    parts = {**SHARES, **(shares or {})}

    def noisy(value: float, deviation: float) -> float:
        return value * math.exp(chance.gauss(0, deviation))

    now = EPOCH
    worker = -1
    devices = list(dict.fromkeys(case.device for case in times_ns))
    told: list[Event] = [SittingStarted(now)]
    for replicate in range(replicates):
        for group, device in enumerate(devices):
            now += STARTUP_S
            worker += 1
            cores = (3,) if device == "cpu" else ()
            told.append(worker_started(worker, now, cores, device))
            there = {case: time for case, time in times_ns.items() if case.device == device}
            truth = {case: noisy(time, how.between) for case, time in there.items()}
            told += [case_prepared(worker, case, time) for case, time in truth.items()]
            order = [(case, kind) for case in truth for kind in kinds_of(case)]
            for _ in range(how.blocks):
                chance.shuffle(order)
                for case, kind in order:
                    now += 0.005
                    speed = chance.choice(how.speeds)
                    readings = {n: noisy(v * speed, how.noise) for n, v in READINGS_NS.items()}
                    time = noisy(truth[case] * speed**how.strain, how.noise)
                    told.append(block_measured(worker, now, case, kind, time, readings, parts))
            told += [
                case_profiled(worker, case, busy)
                for case, busy in (busy_ns or {}).items()
                if case.device == device
            ]
            told.append(ReplicateDone(replicate, group))
    told += [CaseEnded(case.id, *why) for case, why in (ended or {}).items()]
    return [*told, *compiled, SittingEnded(now)]


def run(
    times_ns: Mapping[Case, float],
    *,
    replicates: int = 3,
    moods: Moods | None = None,
    ended: Mapping[Case, tuple[str, str]] | None = None,
    busy_ns: Mapping[Case, float | None] | None = None,
    shares: Mapping[str, float] | None = None,
    compiled: Sequence[CompileMeasured] = (),
    on: Machine | None = None,
    **plan: Any,
) -> RunRecord:
    """The run in which these cases took these times, nanoseconds a step."""
    cases = list(dict.fromkeys([*times_ns, *(ended or {})]))
    told = events(
        times_ns,
        replicates=replicates,
        moods=moods,
        ended=ended,
        busy_ns=busy_ns,
        shares=shares,
        compiled=compiled,
    )
    plan |= {"replicates": replicates, "compile_timed": [event.case for event in compiled]}
    return assemble(header(cases, on, **plan), told)


def run_file(path: Path, record: RunRecord) -> Path:
    """Write a run where it can be read back from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_run(path, {"benchmarks": [], "sumnet": msgspec.to_builtins(record)})
    return path


def _metronomes(case: Case) -> Iterable[str]:
    return READINGS_NS if case.batch > 4096 else ["dispatch"]
