"""The coordinator: what it asks of whom, and what it tells."""

from collections.abc import Callable

import msgspec
import pytest

from bench.errors import UsageError
from bench.machine.sampling import GpuHealth, Health, HostHealth
from bench.matrix.ceiling import Ceiling
from bench.matrix.plan import ENVIRONMENTS, Plan
from bench.protocol.messages import Interpreter, kinds_of
from bench.runner.coordinator import Coordinator, ResumeState
from bench.runner.events import (
    BlockImpossible,
    BlockMeasured,
    CasePrepared,
    Event,
    HealthSampled,
    ReplicateDone,
    SessionEnded,
    SessionStarted,
    WorkerReplaced,
    WorkerStarted,
)
from bench.runner.process import Side
from bench.runner.schedule import (
    BLOCK_NS,
    MAX_SAMPLES,
    MIN_SAMPLES,
    MIN_SWEEPS,
    samples_for,
)
from tests.cases import sumnet
from tests.runner.conftest import MakeSide
from tests.runner.driving import (
    CASES,
    FIRST,
    GPUS,
    LAST,
    MINIMUM,
    UNCLEAR,
    WRONG,
    blocks,
    ended,
    measure,
    only,
    plan,
    replicates_done,
    sweeps,
    workers,
)
from tests.runner.processes import is_gone

CUDA = sumnet(device="cuda")


# A run in which all goes well


def test_a_run_is_reported_from_its_start_to_its_end(fake_side: MakeSide) -> None:
    events = measure(plan(replicates=2), fake_side())
    assert isinstance(events[0], SessionStarted)
    assert isinstance(events[1], WorkerStarted)
    assert isinstance(events[-2], ReplicateDone)
    assert isinstance(events[-1], SessionEnded)
    assert ended(events) == {}
    times = [event.at for event in events if isinstance(event, (WorkerStarted, BlockMeasured))]
    times = [events[0].at, *times, events[-1].at]
    assert times == sorted(times)


def test_every_replicate_has_a_worker_of_its_own(
    fake_side: MakeSide, pids: Callable[[], list[int]]
) -> None:
    events = measure(plan(replicates=3), fake_side())
    assert workers(events) == [0, 1, 2]
    assert len(set(pids())) == len(pids()) == 3
    assert [event.pid for event in only(WorkerStarted, events)] == pids()
    for worker in range(3):
        prepared = [e.prepared.case for e in only(CasePrepared, events) if e.worker == worker]
        assert sorted(prepared) == sorted(case.id for case in CASES)
        its = [e for e in only(BlockMeasured, events) if e.worker == worker]
        assert blocks(list(its)) == dict.fromkeys((case.id for case in CASES), MINIMUM)
    assert all(is_gone(pid) for pid in pids())


def test_each_group_and_replicate_is_reported_when_it_is_done(
    fake_side: MakeSide, settings: Callable[[], list[str]]
) -> None:
    cases = [sumnet(), sumnet(threads=2), sumnet(batch=64), sumnet(threads=3)]
    events = measure(plan(cases, replicates=2), fake_side())
    done = replicates_done(events)
    assert done == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert settings() == ["cpu 1", "cpu 2", "cpu 3"] * 2
    assert blocks(events) == {case.id: 2 * MINIMUM for case in cases}
    after = events[events.index(only(ReplicateDone, events)[0]) :]
    first = next(event for event in after if isinstance(event, BlockMeasured))
    assert first.block.case == sumnet(threads=2).id


def test_the_first_worker_reports_the_facts_and_is_used_where_it_fits(
    fake_side: MakeSide, settings: Callable[[], list[str]]
) -> None:
    measure(plan([sumnet(threads=2)]), fake_side())
    assert settings() == ["cpu 2"]


def test_a_first_worker_that_does_not_fit_is_replaced(
    fake_side: MakeSide, settings: Callable[[], list[str]]
) -> None:
    events = measure(plan([sumnet(threads=9), sumnet(threads=2)]), fake_side())
    assert settings() == ["cpu 9", "cpu 2"]
    assert ended(events)[sumnet(threads=9).id][0] == "unsupported"
    assert workers(events) == [0, 1]


def test_a_worker_is_started_for_the_device_of_its_cases_and_reported_with_it(
    fake_side: MakeSide, settings: Callable[[], list[str]]
) -> None:
    cases = [
        sumnet(),
        sumnet(device="cuda:1"),
        sumnet(batch=64, device="cuda:1"),
        CUDA,
    ]
    events = measure(plan(cases), fake_side(GPUS))
    assert settings() == ["cpu 1", "cuda:1 1", "cuda 1"]
    assert [event.device for event in only(WorkerStarted, events)] == ["cpu", "cuda:1", "cuda"]
    assert ended(events) == {}


def test_the_side_names_its_workers(fake_side: MakeSide) -> None:
    side = fake_side()
    events = measure(plan(), Side("head", side.python))
    assert {event.side for event in only(WorkerStarted, events)} == {"head"}


def test_paths_that_a_worker_gives_are_reported_without_their_user(
    fake_side: MakeSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/people/alice")
    body = """
from bench.protocol.messages import Interpreter
good_hello = hello

def hello():
    found = Interpreter("CPython 3.11.7", "/people/alice/env", "2.13.0", "/people/alice/env/torch")
    return msgspec.structs.replace(good_hello(), interpreter=found)
"""
    (event,) = only(WorkerStarted, measure(plan(), fake_side(body)))
    reported = Interpreter("CPython 3.11.7", "~/env", "2.13.0", "~/env/torch")
    assert event.hello.interpreter == reported


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_without_a_side_it_is_this_interpreter_in_the_plans_environment(environment: str) -> None:
    side = Coordinator(Plan(CASES, 1, 0, environment=environment), print)._side
    assert side == Side(environment=ENVIRONMENTS[environment])


# Samples


@pytest.mark.parametrize(
    ("step_ns", "samples"),
    [
        (1, MAX_SAMPLES),
        (BLOCK_NS // MAX_SAMPLES, MAX_SAMPLES),
        (BLOCK_NS // 20, 20),
        (BLOCK_NS // MIN_SAMPLES, MIN_SAMPLES),
        (10**12, MIN_SAMPLES),
    ],
)
def test_a_block_holds_as_many_samples_as_fill_its_time_within_bounds(
    step_ns: int, samples: int
) -> None:
    assert samples_for(step_ns) == samples


def test_samples_are_fixed_by_the_first_worker_and_kept_by_all(fake_side: MakeSide) -> None:
    """The first finds the step slow, the others quick: all blocks are of one size."""
    body = """
step_ns = [300_000, 100_000, 75_000][number()]

def prepared(request):
    return Prepared(request.case.id, step_ns, 18, ("dispatch",), VERIFIED)
"""
    events = measure(plan(replicates=3), fake_side(body))
    assert {event.prepared.step_ns for event in only(CasePrepared, events)} == {
        300_000,
        100_000,
        75_000,
    }
    assert {event.samples for event in only(CasePrepared, events)} == {10}
    assert {event.block.samples for event in only(BlockMeasured, events)} == {10}


def test_each_case_has_samples_of_its_own(fake_side: MakeSide) -> None:
    body = """
def prepared(request):
    step_ns = 1500 * request.case.own_values["batch"]
    return Prepared(request.case.id, step_ns, 18, ("dispatch",), VERIFIED)
"""
    events = measure(plan([sumnet(batch=b) for b in (10, 100, 1000)]), fake_side(body))
    assert {e.prepared.case: e.samples for e in only(CasePrepared, events)} == {
        sumnet(batch=10).id: 40,
        sumnet(batch=100).id: 20,
        sumnet(batch=1000).id: 8,
    }


# Sweeps


def test_every_sweep_holds_every_case_in_every_kind_once(fake_side: MakeSide) -> None:
    events = measure(plan(), fake_side())
    everything = sorted((case.id, kind) for case in CASES for kind in kinds_of(case))
    assert len(sweeps(events)) == MIN_SWEEPS
    assert all(sorted(sweep) == everything for sweep in sweeps(events))


def test_sweeps_are_shuffled_each_anew_and_so_are_replicates(fake_side: MakeSide) -> None:
    orders = sweeps(measure(plan(replicates=2), fake_side()))
    assert len({tuple(order) for order in orders}) == 2 * MIN_SWEEPS


def test_the_seed_decides_the_order(fake_side: MakeSide) -> None:
    side = fake_side()
    first, again, other = (sweeps(measure(plan(seed=seed), side)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_further_session_does_not_repeat_the_order_of_the_first(fake_side: MakeSide) -> None:
    side = fake_side()
    first = sweeps(measure(plan(), side))
    assert sweeps(measure(plan(), side, ResumeState(workers=1))) != first


# Cases that cannot run here


def test_unsupported_cases_end_with_their_reason_and_the_rest_are_measured(
    fake_side: MakeSide,
) -> None:
    cuda, threads = sumnet(device="cuda:1"), sumnet(threads=9)
    events = measure(plan([cuda, *CASES, threads], replicates=2), fake_side())
    assert ended(events) == {
        cuda.id: ("unsupported", "no cuda device here"),
        threads.id: ("unsupported", "needs 9 cores, one per thread; this process may use 4"),
    }
    assert blocks(events) == {case.id: 2 * MINIMUM for case in CASES}


def test_an_unsupported_case_asked_for_by_name_is_wrong_usage(
    fake_side: MakeSide, pids: Callable[[], list[int]]
) -> None:
    events: list[Event] = []
    cuda = sumnet(device="cuda")
    with pytest.raises(UsageError) as error:
        measure(plan([sumnet(), cuda], named=True), fake_side(), events=events)
    assert str(error.value) == f"cannot run here:\n  {cuda.id}: no cuda device here"
    assert blocks(events).total() == 0
    assert ended(events) == {}
    assert all(is_gone(pid) for pid in pids())


def test_supported_cases_asked_for_by_name_are_measured(fake_side: MakeSide) -> None:
    assert blocks(measure(plan(named=True), fake_side())).total() == len(CASES) * MINIMUM


def test_where_nothing_can_run_that_is_wrong_usage_with_every_reason(fake_side: MakeSide) -> None:
    cuda, mps = sumnet(device="cuda"), sumnet(device="mps")
    with pytest.raises(UsageError) as error:
        measure(plan([cuda, mps]), fake_side())
    assert str(error.value) == (
        "nothing asked for can run here:\n"
        f"  {cuda.id}: no cuda device here\n"
        f"  {mps.id}: no mps device here"
    )


# Earlier sessions


def test_what_earlier_sessions_did_is_not_done_again(fake_side: MakeSide) -> None:
    settled = ResumeState(done={(0, 0), (2, 0)}, samples={FIRST: 33}, workers=5)
    events = measure(plan(replicates=4), fake_side(), settled)
    assert replicates_done(events) == [(1, 0), (3, 0)]
    assert workers(events) == [5, 6]
    samples = {event.prepared.case: event.samples for event in only(CasePrepared, events)}
    assert samples == {FIRST: 33, WRONG: MIN_SAMPLES, LAST: MIN_SAMPLES}


def test_cases_that_ended_earlier_are_neither_measured_nor_reported_again(
    fake_side: MakeSide,
) -> None:
    cuda = sumnet(device="cuda")
    settled = ResumeState(ended={WRONG, cuda.id})
    events = measure(plan([*CASES, cuda]), fake_side(), settled)
    assert ended(events) == {}
    assert blocks(events) == {FIRST: MINIMUM, LAST: MINIMUM}
    assert {event.prepared.case for event in only(CasePrepared, events)} == {FIRST, LAST}


def test_a_run_with_nothing_left_ends_at_once(fake_side: MakeSide) -> None:
    settled = ResumeState(done={(0, 0), (1, 0)})
    events = measure(plan(replicates=2), fake_side(), settled)
    assert [type(event) for event in events] == [SessionStarted, WorkerStarted, SessionEnded]


def test_a_run_whose_every_case_ended_earlier_needs_no_further_worker(fake_side: MakeSide) -> None:
    settled = ResumeState(ended={case.id for case in CASES})
    events = measure(plan(replicates=2), fake_side(), settled)
    assert len(workers(events)) == 1
    assert replicates_done(events) == [(0, 0), (1, 0)]


# A journal


def test_events_read_back_from_a_journal_as_they_were_reported(fake_side: MakeSide) -> None:
    cases = [
        sumnet(),
        CUDA,
        sumnet(device="mps"),
        sumnet(compile="on"),
        sumnet(batch=3),
    ]
    asked = plan(
        cases,
        compile_timed=[cases[3].id],
        profiled=True,
        energy=True,
        ceilings=[Ceiling("op"), Ceiling("op", "mps"), Ceiling("copy", "cuda", size=2**20)],
    )
    events = measure(asked, fake_side(GPUS + UNCLEAR.format("/b3/")))
    healthy = Health(HostHealth(steal=0.01), GpuHealth(throttle=("thermal",)))
    events.append(HealthSampled(1.5, healthy))  # which whoever drives the coordinator tells
    events += [WorkerReplaced("SIGKILL"), BlockImpossible(sumnet().id)]  # of which none came
    assert {type(event) for event in events} == set(Event.__args__)
    for event in events:
        assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
    there = msgspec.json.decode(msgspec.json.encode(asked), type=Plan)
    assert there == asked
