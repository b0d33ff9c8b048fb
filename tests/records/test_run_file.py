"""Assembling a run from its journal's events, whole or cut short."""

from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from bench.devices.facts import DeviceFacts
from bench.machine.circumstances import MeasuredDevice
from bench.machine.sampling import GpuHealth, Health, HealthSample, HostHealth
from bench.matrix.case import (
    WHOLE,
    Case,
)
from bench.matrix.ceiling import Ceiling
from bench.matrix.step import PHASES
from bench.protocol import messages as protocol
from bench.protocol.messages import CEILING
from bench.protocol.profile import StepProfile
from bench.records.assembly import Contradiction, assemble, block_medians
from bench.records.run_file import (
    SCHEMA,
    CaseRecord,
    CompileTimes,
    RunRecord,
    decode,
    encode,
    inconsistency,
)
from bench.runner.events import (
    BlockImpossible,
    CaseEnded,
    Event,
    HealthSampled,
    PhasesEnded,
    ReplicateDone,
    SessionEnded,
    SessionStarted,
    WorkerReplaced,
    WorkerStarted,
)
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import (
    CALLS,
    EPOCH,
    FACTS,
    SAMPLES,
    STARTUP_S,
    STEPS,
    block_measured,
    case_prepared,
    case_profiled,
    ceiling_ready,
    compile_measured,
    energy_spent,
    step_profile,
    verified,
    worker_started,
)

SGD = sumnet()
ADAM = sumnet(optimizer="adam")
LARGE = sumnet(batch=16384)
CUDA = sumnet(device="cuda")
COMPILED = sumnet(compile="on")
CASES = [SGD, ADAM]

FIRST: list[Event] = [
    SessionStarted(EPOCH),
    worker_started(0, EPOCH + 2),
    case_prepared(0, SGD, 1e5),
    case_prepared(0, ADAM, 2e5),
    block_measured(0, EPOCH + 3, SGD, "phases", 100_000),
    block_measured(0, EPOCH + 4, ADAM, WHOLE, 200_000),
    block_measured(0, EPOCH + 5, SGD, WHOLE, 101_000),
    block_measured(0, EPOCH + 6, SGD, "phases", 104_000),
    ReplicateDone(0, 0),
    worker_started(1, EPOCH + 8),
    case_prepared(1, SGD, 9e5),
    block_measured(1, EPOCH + 9, SGD, "phases", 108_000),
]
SECOND: list[Event] = [
    SessionStarted(EPOCH + 100),
    worker_started(2, EPOCH + 102),
    case_prepared(2, SGD, 1e5),
    block_measured(2, EPOCH + 103, SGD, WHOLE, 99_000),
    SessionEnded(EPOCH + 104),
]


def assembled(events: list[Event], cases: list[Case] = CASES) -> RunRecord:
    return assemble(synthetic.header(cases), events)


def test_empty_journal_is_a_run_of_cases_without_evidence() -> None:
    run = assembled([])
    assert [record.id for record in run.cases] == [SGD.id, ADAM.id]
    assert [(r.status, r.reason, r.samples, r.blocks) for r in run.cases] == [
        ("ok", None, None, {}),
        ("ok", None, None, {}),
    ]
    assert not run.complete
    assert run.sessions == [] and run.workers == []


def test_run_carries_what_its_header_says() -> None:
    header = synthetic.header(CASES, environment="steady", seed=7)
    run = assemble(header, [])
    assert (run.plan, run.machine, run.schema) == (header.plan, header.machine, SCHEMA)
    assert [record.case for record in run.cases] == CASES


def test_blocks_stand_by_kind_and_worker_in_the_order_measured() -> None:
    run = assembled(FIRST)
    blocks = run.cases[0].blocks
    assert {kind: [worker.worker for worker in of] for kind, of in blocks.items()} == {
        "phases": [0, 1],
        WHOLE: [0],
    }
    first, second = blocks["phases"]
    assert first.at_ms == [3000, 6000]
    assert first.readings_ns == {"dispatch": [80_000, 80_000]}
    assert set(first.p10_ns) == set(first.p50_ns) == set(first.p90_ns) == set(PHASES)
    assert first.p10_ns["forward"] == [40_000, 41_600]
    assert first.p50_ns["forward"] == (44_000 + 45_760) / 2
    assert second.p50_ns["step"] == round(108_000 * 0.2 * 1.1)
    assert (len(first), len(second)) == (2, 1)
    whole = blocks[WHOLE][0]
    assert (whole.p10_ns, whole.p50_ns, whole.p90_ns) == (
        {WHOLE: [101_000]},
        {WHOLE: 111_100},
        {WHOLE: 141_400},
    )


def test_one_cases_blocks_do_not_mix_with_anothers() -> None:
    run = assembled(FIRST)
    assert set(run.cases[1].blocks) == {WHOLE}
    assert run.cases[1].blocks[WHOLE][0].p10_ns[WHOLE] == [200_000]


def test_every_reference_loop_has_its_column() -> None:
    events = [*FIRST[:2], case_prepared(0, LARGE)]
    events += [block_measured(0, EPOCH + 3 + i, LARGE, WHOLE, 9e5) for i in range(3)]
    (record,) = assembled(events, [LARGE]).cases
    assert record.blocks[WHOLE][0].readings_ns == {
        "dispatch": [80_000] * 3,
        "memory": [350_000] * 3,
    }


def test_case_is_described_as_its_first_worker_found_it() -> None:
    record = assembled(FIRST).cases[0]
    assert record.prepared is not None
    assert record.prepared.step_ns == 100_000
    assert record.prepared.verified is not None
    seen = verified()
    assert record.prepared.verified.path == seen.path
    assert record.prepared.verified.expected.ratio == seen.expected.ratio
    assert record.samples == SAMPLES


@pytest.mark.parametrize("status", ["unsupported", "invalid", "failed", "oom", "timeout", "killed"])
def test_ended_case_keeps_status_reason_and_the_evidence_it_had(status: str) -> None:
    run = assembled([*FIRST, CaseEnded(SGD.id, status, "why")])
    ended, other = run.cases
    assert (ended.status, ended.reason) == (status, "why")
    assert len(ended.blocks["phases"]) == 2
    assert (other.status, other.reason) == ("ok", None)


def test_case_without_phases_keeps_the_rest_and_the_reason() -> None:
    """Of its blocks of phases those that were clear are a selection, so none is kept."""
    run = assembled([*FIRST, PhasesEnded(SGD.id, "why")])
    without, other = run.cases
    assert (without.status, without.reason, without.phases_reason) == ("ok", None, "why")
    assert set(without.blocks) == {WHOLE}
    assert other.phases_reason is None
    assert decode(encode(run)) == run
    assert inconsistency(run) is None


def test_session_adds_up_what_its_time_went_to() -> None:
    (session,) = assembled([*FIRST, SessionEnded(EPOCH + 10)]).sessions
    assert (session.started_at, session.ended_at) == (EPOCH, EPOCH + 10)
    assert session.startup_s == 2 * STARTUP_S
    steps_ns = 100_000 + 200_000 + 101_000 + 104_000 + 108_000
    assert session.block_s == pytest.approx(steps_ns * (SAMPLES + 1) / 1e9)


def test_run_is_complete_when_its_last_session_ended_by_itself() -> None:
    assert assembled([*FIRST, SessionEnded(EPOCH + 10)]).complete
    assert not assembled(FIRST).complete
    assert assembled([*FIRST, *SECOND]).complete
    assert not assembled([*FIRST, SessionEnded(EPOCH + 10), *SECOND[:-1]]).complete


def test_interrupted_session_ends_with_the_last_it_saw() -> None:
    (session,) = assembled(FIRST).sessions
    assert (session.ended_at, session.complete) == (EPOCH + 9, False)
    (only_started,) = assembled(FIRST[:2]).sessions
    assert only_started.ended_at == EPOCH + 2


def test_further_session_adds_workers_and_blocks_on_one_time_line() -> None:
    run = assembled([*FIRST, *SECOND])
    assert [(s.started_at, s.ended_at, s.complete) for s in run.sessions] == [
        (EPOCH, EPOCH + 9, False),
        (EPOCH + 100, EPOCH + 104, True),
    ]
    assert run.sessions[1].startup_s == STARTUP_S
    assert [worker.started_at - EPOCH for worker in run.workers] == [2, 8, 102]
    assert [(w.worker, w.at_ms) for w in run.cases[0].blocks[WHOLE]] == [
        (0, [5000]),
        (2, [103_000]),
    ]
    assert [w.worker for w in run.cases[0].blocks["phases"]] == [0], "1's was interrupted"


def test_interrupted_replicate_stays_until_it_is_measured_anew() -> None:
    assert [w.worker for w in assembled(FIRST).cases[0].blocks["phases"]] == [0, 1]
    refused = assembled([*FIRST, SECOND[0]])
    assert [w.worker for w in refused.cases[0].blocks["phases"]] == [0, 1]
    assert (
        block_medians([*FIRST, *SECOND])[SGD.id, "forward"]
        == block_medians(FIRST[:9])[SGD.id, "forward"]
    )


@pytest.mark.parametrize(
    "events",
    [
        [*FIRST, SECOND[0], *FIRST[1:]],
        [*FIRST, block_measured(0, EPOCH + 10, SGD, WHOLE, 99_000)],
        [*FIRST, *SECOND[:1], worker_started(3, EPOCH + 102)],
    ],
    ids=["two of one number", "one that was ended", "a number too many"],
)
def test_workers_that_contradict_each_other_are_refused(events: list[Event]) -> None:
    with pytest.raises(Contradiction):
        assembled(events)


def test_lost_workers_and_impossible_blocks_are_counted() -> None:
    more = [WorkerReplaced("SIGKILL"), BlockImpossible(SGD.id), BlockImpossible(SGD.id)]
    run = assembled([*FIRST, *more])
    assert run.sessions[0].lost_workers == 1
    assert [case.impossible_blocks for case in run.cases] == [2, 0]
    assert decode(encode(run)) == run


def test_columns_are_kept_as_differences() -> None:
    run = assembled(FIRST)
    (first, _) = encode(run)["cases"][0]["blocks"]["phases"]
    assert first["at_ms"] == [3000, 3000]
    assert first["readings_ns"] == {"dispatch": [80_000, 0]}
    assert first["p10_ns"]["forward"] == [40_000, 1_600]
    assert run == assembled(FIRST)


def test_a_file_holds_none_of_the_workers_messages() -> None:
    """The messages may change without the file, and the file without them."""
    messages = {value for value in vars(protocol).values() if isinstance(value, type)}
    met: set[Any] = set()

    def visit(kind: Any) -> None:
        struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        for part in (*get_args(kind), *(get_type_hints(kind).values() if struct else ())):
            if part not in met:
                met.add(part)
                visit(part)

    visit(RunRecord)
    assert {CaseRecord, Case, StepProfile} <= met
    assert not {kind for kind in met & messages if kind.__module__ == protocol.__name__}


def test_medians_of_blocks_stand_by_series_in_the_order_measured() -> None:
    medians = block_medians(FIRST)
    assert medians[SGD.id, "forward"] == [44_000, 45_760, 47_520]
    assert medians[ADAM.id, WHOLE] == [220_000]


def test_profile_is_kept_with_its_case_alone_or_why_there_is_none() -> None:
    profile = step_profile(busy_ns=40_000)
    events = [*FIRST[:1], case_profiled(CUDA, profile), case_profiled(SGD, "the trace is empty")]
    on_cuda, sgd, adam = assembled(events, [CUDA, SGD, ADAM]).cases
    assert (on_cuda.profile, on_cuda.profile_reason) == (profile, None)
    assert (sgd.profile, sgd.profile_reason) == (None, "the trace is empty")
    assert (adam.profile, adam.profile_reason) == (None, None)
    assert {record.status for record in (on_cuda, sgd, adam)} == {"ok"}


def test_profile_of_a_later_session_takes_the_place_of_an_earlier_ones() -> None:
    profile = step_profile()
    events = [*FIRST[:1], case_profiled(SGD, "it hung"), case_profiled(SGD, profile)]
    record = assembled(events).cases[0]
    assert (record.profile, record.profile_reason) == (profile, None)


def test_energy_is_kept_with_its_case_alone_or_why_it_is_not_known() -> None:
    events = [*FIRST[:1], energy_spent(SGD, 12.5), energy_spent(ADAM, "there is no counter")]
    sgd, adam, large = assembled(events, [SGD, ADAM, LARGE]).cases
    assert sgd.energy is not None
    assert (sgd.energy.joules, sgd.energy.steps, sgd.energy_reason) == (12.5, STEPS, None)
    assert (adam.energy, adam.energy_reason) == (None, "there is no counter")
    assert (large.energy, large.energy_reason) == (None, None)


def test_worker_keeps_what_its_torch_says_of_its_device() -> None:
    gpu = DeviceFacts(name="AMD Instinct MI300X", platform="ROCm 6.4", identity="c" * 12)
    told = worker_started(0, EPOCH + 1, (), "cuda")
    facts = msgspec.structs.replace(FACTS, devices={**FACTS.devices, "cuda": (gpu,)})
    hello = msgspec.structs.replace(told.hello, facts=facts)
    event = msgspec.structs.replace(told, hello=hello)
    missing = worker_started(1, EPOCH + 2, (), "mps")
    run = assembled([FIRST[0], event, missing, worker_started(2, EPOCH + 3)])
    amd = MeasuredDevice("AMD Instinct MI300X", "ROCm 6.4", "c" * 12)
    assert run.devices == {"cuda": amd}
    assert decode(encode(run)).devices == {"cuda": amd}


def test_run_from_before_devices_had_identities_goes_by_their_names() -> None:
    encoded = encode(assembled([FIRST[0], worker_started(0, EPOCH + 1, (), "cuda")]))
    for name in ("device_platform", "device_identity"):
        del encoded["workers"][0][name]
    assert decode(encoded).devices == {"cuda": MeasuredDevice("Test GPU")}


def test_energy_keeps_why_its_counter_was_not_checked() -> None:
    spent = energy_spent(SGD, 12.5)
    assert spent.spent is not None
    unchecked = msgspec.structs.replace(spent.spent, unchecked="no power")
    event = msgspec.structs.replace(spent, spent=unchecked)
    (sgd,) = assembled([*FIRST[:1], event], [SGD]).cases
    assert sgd.energy is not None and sgd.energy.unchecked == "no power"


def test_health_is_on_the_time_line_of_the_whole_run() -> None:
    seen = [Health(HostHealth(load=load)) for load in (0.5, 1.5)]
    events = [*FIRST, HealthSampled(EPOCH + 9.5, seen[0])]
    events += [SECOND[0], HealthSampled(EPOCH + 101.25, seen[1]), *SECOND[1:]]
    run = assembled(events)
    assert run.health == [HealthSample(9.5, seen[0]), HealthSample(101.25, seen[1])]
    assert run.sessions == assembled([*FIRST, *SECOND]).sessions


# Ceilings

OP, COPY = Ceiling("op"), Ceiling("copy", size=2**20)
MEASURED: list[Event] = [
    *FIRST,
    worker_started(2, EPOCH + 20),
    ceiling_ready(2, COPY, 50_000),
    ceiling_ready(2, OP, 1_000),
    block_measured(2, EPOCH + 21, COPY, CEILING, 1_000_000),
    block_measured(2, EPOCH + 22, OP, CEILING, 20_000),
    block_measured(2, EPOCH + 23, COPY, CEILING, 1_100_000),
    ReplicateDone(0, 1),
    worker_started(3, EPOCH + 30),
    ceiling_ready(3, COPY, 70_000),
    block_measured(3, EPOCH + 31, COPY, CEILING, 1_200_000),
]


LATER: list[Event] = [
    SECOND[0],
    worker_started(4, EPOCH + 102),
    block_measured(4, EPOCH + 103, SGD, WHOLE, 99_000),
    SessionEnded(EPOCH + 104),
]
"""A further session after those."""


def with_ceilings(events: list[Event], cases: list[Case] = CASES) -> RunRecord:
    return assemble(synthetic.header(cases, ceilings=[OP, COPY]), events)


def test_blocks_of_ceilings_stand_by_worker_beside_those_of_cases() -> None:
    run = with_ceilings(MEASURED)
    op, copy = run.ceilings
    assert [(record.id, record.ceiling) for record in run.ceilings] == [
        ("cpu/t1/op", OP),
        ("cpu/t1/copy/1048576", COPY),
    ]
    assert [(b.worker, b.at_ms) for b in copy.blocks] == [(2, [21_000, 23_000]), (3, [31_000])]
    assert copy.blocks[0].p10_ns[CEILING] == [1_000_000, 1_100_000]
    assert set(copy.blocks[0].readings_ns) == {"dispatch", "memory"}
    assert [(b.worker, b.at_ms) for b in op.blocks] == [(2, [22_000])]
    assert set(op.blocks[0].readings_ns) == {"dispatch"}
    assert run.cases == assembled(FIRST).cases


def test_ceiling_is_described_as_its_first_worker_found_it() -> None:
    op, copy = with_ceilings(MEASURED).ceilings
    assert copy.prepared is not None and op.prepared is not None
    assert copy.prepared.sample_ns == CALLS * 50_000
    assert (copy.prepared.calls, copy.prepared.work) == (CALLS, CALLS * 2**20)
    assert (op.prepared.work, op.samples) == (CALLS, SAMPLES)


def test_time_in_blocks_is_that_of_cases() -> None:
    before, after = assembled(FIRST).sessions[0], with_ceilings(MEASURED).sessions[0]
    assert after.block_s == before.block_s
    assert (after.ended_at, after.startup_s) == (EPOCH + 31, 4 * STARTUP_S)


def test_ended_ceiling_keeps_status_reason_and_the_evidence_it_had() -> None:
    run = with_ceilings([*MEASURED, CaseEnded(COPY.id, "oom", "no room")])
    op, copy = run.ceilings
    assert (copy.status, copy.reason, len(copy.blocks)) == ("oom", "no room", 2)
    assert (op.status, op.reason) == ("ok", None)
    assert {record.status for record in run.cases} == {"ok"}


def test_run_of_ceilings_alone_has_no_cases_and_is_whole() -> None:
    started = [event for event in FIRST if isinstance(event, SessionStarted | WorkerStarted)]
    run = with_ceilings([*started, *MEASURED[len(FIRST) :], SessionEnded(EPOCH + 40)], [])
    assert (run.cases, run.complete) == ([], True)
    assert [len(record.blocks) for record in run.ceilings] == [1, 2]
    assert inconsistency(run) is None


def test_compile_times_are_kept_with_their_case_alone() -> None:
    events = [*FIRST[:1], compile_measured(COMPILED, cold_s=20.0, warm_s=2.0)]
    eager, compiled = assembled(events, [SGD, COMPILED]).cases
    assert eager.compile_times is None
    assert compiled.compile_times is not None
    cold, warm = compiled.compile_times.cold, compiled.compile_times.warm
    assert cold is not None and warm is not None
    assert (cold.first_step_ns, warm.first_step_ns) == (20_000_000_000, 2_000_000_000)
    assert (cold.hits, warm.misses) == (0, 0)
    assert compiled.compile_times.reason is None


def test_compile_times_that_could_not_be_had_keep_the_reason() -> None:
    events = [*FIRST[:1], compile_measured(COMPILED, reason="no compiler")]
    (record,) = assembled(events, [COMPILED]).cases
    assert record.compile_times == CompileTimes(reason="no compiler")
    assert (record.status, record.reason) == ("ok", None)


def test_worker_is_described_with_its_device_and_what_waiting_for_it_costs() -> None:
    events = [*FIRST[:2], worker_started(1, EPOCH + 3, (), "cuda:1")]
    on_cpu, on_cuda = assembled(events).workers
    assert (on_cpu.device, on_cpu.device_name, on_cpu.sync_ns) == ("cpu", "x86_64", 0)
    assert (on_cuda.device, on_cuda.device_name) == ("cuda:1", "Test GPU")
    assert (on_cuda.sync_ns, on_cuda.cores) == (7000, [])


CLOSER: list[Event] = [
    energy_spent(SGD, 12.5),
    case_profiled(SGD, step_profile(busy_ns=40_000)),
    HealthSampled(EPOCH + 32, Health(HostHealth(steal=0.1), GpuHealth(throttle=("thermal",)))),
]


@pytest.mark.parametrize("told", range(len(MEASURED + CLOSER + LATER) + 1))
def test_any_part_of_a_journal_is_a_run_that_survives_its_file_format(told: int) -> None:
    run = with_ceilings([*MEASURED, *CLOSER, *LATER][:told])
    assert decode(msgspec.json.decode(msgspec.json.encode(encode(run)))) == run
    assert inconsistency(run) is None
    workers = [worker for record in run.ceilings for worker in record.blocks]
    workers += [each for record in run.cases for of in record.blocks.values() for each in of]
    for worker in workers:
        columns = [*worker.p10_ns.values(), *worker.readings_ns.values()]
        assert {len(column) for column in columns} == {len(worker)}
