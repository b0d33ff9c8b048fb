"""Runs made from known times, for tests: what a machine of given moods would have shown."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.devices import DEVICES
from bench.devices.facts import DeviceFacts, Facts
from bench.machine.circumstances import MeasuredDevice
from bench.machine.fingerprint import Machine
from bench.machine.sampling import Health
from bench.matrix.case import (
    DISPATCH,
    LATENCY,
    THROUGHPUT,
    WHOLE,
    Case,
)
from bench.matrix.ceiling import COPY, MATMUL, TRIAD, Ceiling
from bench.matrix.default_step import activations, is_known
from bench.matrix.plan import Plan
from bench.matrix.step import PHASES
from bench.protocol.messages import (
    CEILING,
    QUANTILES,
    Block,
    CeilingPrepared,
    CompileTimed,
    EnergyMeasured,
    Hello,
    Prepared,
    kinds_of,
    series_of,
)
from bench.protocol.profile import Operator, PhaseProfile, StepProfile, Work
from bench.protocol.reference_loops import LARGE_BYTES, reference_loops_for
from bench.protocol.verified import Expected, Graphs, Verified
from bench.records.assembly import assemble
from bench.records.run_file import Header, RunRecord
from bench.records.store import write_run
from bench.runner.batches import group_ceilings
from bench.runner.coordinator import CEILING_REPLICATES
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
    PhasesEnded,
    ReplicateDone,
    SessionEnded,
    SessionStarted,
    WorkerStarted,
)

EPOCH = 1_800_000_000.0
STARTUP_S = 1.5
SAMPLES = 10
CALLS = 20
"""In a sample of a ceiling."""
STEPS = 1000
"""Trained while energy is counted."""

READINGS_NS = {"dispatch": 80_000, "memory": 350_000}
"""What each reference loop reads on the undisturbed machine."""
SHARES = {
    "forward": 0.4,
    "backward": 0.4,
    "step": 0.2,
    WHOLE: 1.0,
    DISPATCH: 0.8,
    LATENCY: 1.5,
    THROUGHPUT: 0.8,
    CEILING: 1.0,
}
"""Series to its part of a step's time."""
FACTS = Facts(
    torch="2.13.0",
    cores=4,
    isolates_compiled=True,
    devices={
        **{kind: (DeviceFacts(unavailable=f"sees no {kind} device here"),) for kind in DEVICES},
        "cpu": (DeviceFacts(name="x86_64", memory_bytes=8 * 2**30),),
        "cuda": 2 * (DeviceFacts(name="Test GPU", memory_bytes=16 * 2**30),),
    },
)
GPU = MeasuredDevice("Test GPU", "CUDA 13.0", "a" * 12)
OTHER_GPUS = (
    msgspec.structs.replace(GPU, name="Other GPU"),
    msgspec.structs.replace(GPU, identity="b" * 12),
    msgspec.structs.replace(GPU, platform="CUDA 12.8"),
    MeasuredDevice("Test GPU"),
)
"""Each differs from GPU in one thing; the last is as runs had it that kept no more than a name."""
SPREAD = {10: 1.0, 25: 1.02, 50: 1.1, 90: 1.4}
"""Percentile to its ratio to the true time, which is the 10th."""


@dataclass(frozen=True)
class Moods:
    """How a machine treats the true times: each block draws a speed, and noise multiplies."""

    speeds: tuple[float, ...] = (1.0,)
    strain: float = 1.0
    """A case is slower by this power of what slows the reference loops."""
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
    prepared = Prepared(case.id, round(step_ns), 12, tuple(_reference_loops(case)), verified())
    return CasePrepared(worker, prepared, SAMPLES)


def ceiling_ready(worker: int, ceiling: Ceiling, call_ns: float = 1e4) -> CeilingReady:
    """A sample is CALLS calls, each of which moves or computes what the ceiling's size says."""
    work = {COPY: ceiling.size, TRIAD: ceiling.size, MATMUL: 2 * (ceiling.size or 0) ** 3}
    each = work.get(ceiling.what) or (2**26 if ceiling.unit else 1)
    sample_ns = round(CALLS * call_ns)
    prepared = CeilingPrepared(ceiling.id, sample_ns, CALLS, float(CALLS * each), "so it is done")
    return CeilingReady(worker, prepared, SAMPLES)


def block_measured(
    worker: int,
    at: float,
    what: Case | Ceiling,
    kind: str,
    time_ns: float,
    readings_ns: Mapping[str, float] = READINGS_NS,
    shares: Mapping[str, float] = SHARES,
) -> BlockMeasured:
    """A block of a step that takes `time_ns`, or of a ceiling whose samples do."""
    block = Block(
        case=what.id,
        kind=kind,
        samples=SAMPLES,
        elapsed_ns=round(time_ns * (SAMPLES + 1)),
        readings_ns={name: round(readings_ns[name]) for name in _reference_loops(what)},
        quantiles_ns={
            series: [round(time_ns * share_of(series, what, shares) * SPREAD[q]) for q in QUANTILES]
            for series in series_of(kind, () if isinstance(what, Ceiling) else what.phases)
        },
    )
    return BlockMeasured(worker, at, block)


def phase_profile(share: float = 1.0, **changes: Any) -> PhaseProfile:
    """What a phase does that calls eight operators."""
    fixed = PhaseProfile(
        share=share,
        in_operators=0.5,
        ops=8,
        nodes=0,
        launches=0,
        kernels=0,
        operators=(Operator("aten::addmm", 2, 0.3), Operator("aten::mul", 6, 0.2)),
    )
    return msgspec.structs.replace(fixed, **changes)


def step_profile(
    phases: Sequence[str] | Mapping[str, PhaseProfile] = PHASES,
    busy_ns: float | None = None,
    **changes: Any,
) -> StepProfile:
    """A profile whose phases take their shares of a step; `changes` are to the whole of it.

    The device is at work for `busy_ns` of a step, in each phase for its share of that.
    """
    if isinstance(phases, Mapping):
        told = dict(phases)
    else:
        told = {phase: phase_profile(SHARES[phase]) for phase in phases}
    if busy_ns is not None:
        done = 0.0
        for phase, of_phase in told.items():
            before, done = done, done + of_phase.share * busy_ns
            busy = round(done) - round(before)
            told[phase] = msgspec.structs.replace(
                of_phase, launches=of_phase.ops, kernels=of_phase.ops, kernels_ns=busy, busy_ns=busy
            )
    work = {phase: Work(flops=1000, bytes=16_000) for phase in told}
    return msgspec.structs.replace(StepProfile(8, told, work, state_elements=0), **changes)


def case_profiled(case: Case, profile: StepProfile | str) -> CaseProfiled:
    """A profile, or why there is none."""
    if isinstance(profile, str):
        return CaseProfiled(case.id, reason=profile)
    return CaseProfiled(case.id, profile)


def energy_spent(case: Case, joules: float | str, step_ns: float = 1e5) -> CaseEnergy:
    """What STEPS steps took, or why that is not known."""
    if isinstance(joules, str):
        return CaseEnergy(case.id, reason=joules)
    return CaseEnergy(case.id, EnergyMeasured(case.id, STEPS, round(STEPS * step_ns), joules))


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
    ended: Mapping[Case | Ceiling, tuple[str, str]] | None = None,
    profiles: Mapping[Case, StepProfile | str] | None = None,
    energy: Mapping[Case, float | str] | None = None,
    ceilings: Mapping[Ceiling, float] | None = None,
    health: Sequence[Health] = (),
    shares: Mapping[str, float] | None = None,
    compiled: Sequence[CompileMeasured] = (),
    without_phases: Mapping[Case, str] | None = None,
) -> list[Event]:
    """One session, in which what is in `ended` ended with its status and reason.

    `profiles` are what a profiler told of some cases, `energy` the joules that STEPS steps of some
    took; a text is the reason why it is not known. `ceilings` has the nanoseconds of a call, see
    `ceiling_ready`. The samples of `health` lie evenly from the first event to the last. `shares`
    replaces some of SHARES, and `compiled` are the compile times. `without_phases` are the cases
    whose phases could not be told apart at the end, and why. Each replicate has a worker on each
    device.
    """
    how = moods or Moods()
    chance = random.Random(how.seed)
    parts = {**SHARES, **(shares or {})}

    def noisy(value: float, deviation: float) -> float:
        return value * math.exp(chance.gauss(0, deviation))

    now = EPOCH
    worker = -1
    told: list[Event] = [SessionStarted(now)]

    def start(device: str) -> None:
        nonlocal now, worker
        now += STARTUP_S
        worker += 1
        told.append(worker_started(worker, now, (3,) if device == "cpu" else (), device))

    def sweep(truth: Mapping[Any, float], order: list[tuple[Case | Ceiling, str]]) -> None:
        nonlocal now
        for _ in range(how.blocks):
            chance.shuffle(order)
            for what, kind in order:
                now += 0.005
                speed = chance.choice(how.speeds)
                readings = {n: noisy(v * speed, how.noise) for n, v in READINGS_NS.items()}
                time = noisy(truth[what] * speed**how.strain, how.noise)
                told.append(block_measured(worker, now, what, kind, time, readings, parts))

    devices = list(dict.fromkeys(case.device for case in times_ns))
    for replicate in range(replicates):
        for group, device in enumerate(devices):
            start(device)
            there = {case: time for case, time in times_ns.items() if case.device == device}
            truth = {case: noisy(time, how.between) for case, time in there.items()}
            told += [case_prepared(worker, case, time) for case, time in truth.items()]
            sweep(truth, [(case, kind) for case in truth for kind in kinds_of(case)])
            if replicate == replicates - 1:
                spent, seen = energy or {}, profiles or {}
                told += [energy_spent(c, spent[c], truth[c]) for c in truth if c in spent]
                told += [case_profiled(c, seen[c]) for c in truth if c in seen]
            told.append(ReplicateDone(replicate, group))
    for replicate in range(min(replicates, CEILING_REPLICATES)):
        for group, above in enumerate(group_ceilings(ceilings or {}), start=len(devices)):
            start(above[0].device)
            calls = {ceiling: noisy((ceilings or {})[ceiling], how.between) for ceiling in above}
            told += [ceiling_ready(worker, ceiling, call_ns) for ceiling, call_ns in calls.items()]
            samples = {ceiling: CALLS * call_ns for ceiling, call_ns in calls.items()}
            sweep(samples, [(ceiling, CEILING) for ceiling in above])
            told.append(ReplicateDone(replicate, group))
    told += [CaseEnded(what.id, *why) for what, why in (ended or {}).items()]
    told += [PhasesEnded(case.id, why) for case, why in (without_phases or {}).items()]
    return [*_with_health(told, health, now), *compiled, SessionEnded(now)]


def run(
    times_ns: Mapping[Case, float],
    *,
    replicates: int = 3,
    moods: Moods | None = None,
    ended: Mapping[Case | Ceiling, tuple[str, str]] | None = None,
    profiles: Mapping[Case, StepProfile | str] | None = None,
    energy: Mapping[Case, float | str] | None = None,
    ceilings: Mapping[Ceiling, float] | None = None,
    health: Sequence[Health] = (),
    shares: Mapping[str, float] | None = None,
    compiled: Sequence[CompileMeasured] = (),
    without_phases: Mapping[Case, str] | None = None,
    on: Machine | None = None,
    **plan: Any,
) -> RunRecord:
    """The run in which these cases took these times, nanoseconds a step; see `events`."""
    everything = list(dict.fromkeys([*times_ns, *(ceilings or {}), *(ended or {})]))
    told = events(
        times_ns,
        replicates=replicates,
        moods=moods,
        ended=ended,
        profiles=profiles,
        energy=energy,
        ceilings=ceilings,
        health=health,
        shares=shares,
        compiled=compiled,
        without_phases=without_phases,
    )
    told_of = {
        "replicates": replicates,
        "compile_timed": [event.case for event in compiled],
        "profiled": bool(profiles),
        "energy": bool(energy),
        "ceilings": [what for what in everything if isinstance(what, Ceiling)],
    }
    cases = [what for what in everything if isinstance(what, Case)]
    return assemble(header(cases, on, **(told_of | plan)), told)


def measured_on(run: RunRecord, device: MeasuredDevice, name: str = "cuda") -> RunRecord:
    """The run, as it would be had what it calls by that name been this device."""
    for worker in run.workers:
        if worker.device == name:
            worker.device_name = device.name
            worker.device_platform = device.platform
            worker.device_identity = device.identity
    return run


def run_file(path: Path, record: RunRecord) -> Path:
    """Write a run where it can be read back from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_run(path, record, {"benchmarks": []})
    return path


def _with_health(told: list[Event], health: Sequence[Health], end: float) -> list[Event]:
    """With the samples among the events, where their times put them."""
    steps = max(len(health) - 1, 1)
    due = [
        HealthSampled(end - (end - EPOCH) * (len(health) - 1 - number) / steps, sample)
        for number, sample in enumerate(health)
    ]
    whole: list[Event] = []
    for event in told:
        at = getattr(event, "at", None)
        while due and at is not None and due[0].at < at:
            whole.append(due.pop(0))
        whole.append(event)
    return [*whole, *due]


def share_of(series: str, what: Case | Ceiling, shares: Mapping[str, float]) -> float:
    """A series' part of a step's time; phases that `shares` does not have are alike."""
    phases = () if isinstance(what, Ceiling) else what.phases
    return shares[series] if series in shares else 1 / len(phases)


def _reference_loops(what: Case | Ceiling) -> tuple[str, ...]:
    if isinstance(what, Ceiling):
        return reference_loops_for(what.size or 0 if what.what in (COPY, TRIAD) else 0)
    return reference_loops_for(4 * activations(what) if is_known(what) else LARGE_BYTES + 1)
