"""The coordinator: what it asks of whom, what it tells, and what a case that goes wrong costs."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from bench.errors import MachineError, UsageError
from bench.matrix.case import Case
from bench.measure import coordinator
from bench.measure.coordinator import (
    BLOCK_NS,
    MAX_SAMPLES,
    MIN_SAMPLES,
    MIN_SWEEPS,
    Coordinator,
    Deadlines,
    Settled,
    samples_for,
)
from bench.measure.environment import ENVIRONMENTS
from bench.measure.events import (
    BlockMeasured,
    CaseEnded,
    CasePrepared,
    Event,
    Plan,
    ReplicateDone,
    SittingEnded,
    SittingStarted,
    WorkerStarted,
)
from bench.measure.protocol import KINDS
from bench.measure.worker_process import Side
from tests.measure.conftest import MakeSide
from tests.measure.processes import is_gone

T = TypeVar("T", bound=Event)

CASES = [Case(batch=batch) for batch in (2, 64, 1024)]
FIRST, WRONG, LAST = (case.id for case in CASES)
MINIMUM = MIN_SWEEPS * len(KINDS)
"""Blocks a case has of each replicate when there is no time for more."""


def plan(
    cases: list[Case] = CASES,
    replicates: int = 1,
    budget_s: float = 0,
    seed: int = 0,
    named: bool = False,
) -> Plan:
    return Plan(cases, replicates, budget_s, seed=seed, named=named)


def measure(
    plan: Plan,
    side: Side,
    settled: Settled | None = None,
    deadlines: Deadlines | None = None,
    events: list[Event] | None = None,
) -> list[Event]:
    events = [] if events is None else events
    Coordinator(plan, events.append, side=side, settled=settled, deadlines=deadlines).measure()
    return events


def only(kind: type[T], events: list[Event]) -> list[T]:
    return [event for event in events if isinstance(event, kind)]


def blocks(events: list[Event]) -> Counter[str]:
    """Case to how many blocks it has."""
    return Counter(event.block.case for event in only(BlockMeasured, events))


def ended(events: list[Event]) -> dict[str, tuple[str, str]]:
    """Case to how it ended and why."""
    told = only(CaseEnded, events)
    assert len({event.case for event in told}) == len(told), "each is told once"
    return {event.case: (event.status, event.reason) for event in told}


def workers(events: list[Event]) -> list[int]:
    return [event.worker for event in only(WorkerStarted, events)]


def sweeps(events: list[Event]) -> list[list[tuple[str, str]]]:
    """The order of cases and kinds in each sweep, where no case ended."""
    order = [(event.block.case, event.block.kind) for event in only(BlockMeasured, events)]
    size = len(set(order))
    return [order[start : start + size] for start in range(0, len(order), size)]


class Ticking:
    """A clock that goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    clock = Ticking()
    monkeypatch.setattr(coordinator, "time", clock)
    return clock


@pytest.fixture
def pids(tmp_path: Path) -> Callable[[], list[int]]:
    return lambda: [int(line.split()[0]) for line in (tmp_path / "log").read_text().splitlines()]


@pytest.fixture
def settings(tmp_path: Path) -> Callable[[], list[str]]:
    """Device and threads of each worker that was started."""
    return lambda: [line.split(" ", 1)[1] for line in (tmp_path / "log").read_text().splitlines()]


# A run in which all goes well


def test_a_run_is_told_from_its_start_to_its_end(fake_side: MakeSide) -> None:
    events = measure(plan(replicates=2), fake_side())
    assert isinstance(events[0], SittingStarted)
    assert isinstance(events[1], WorkerStarted)
    assert isinstance(events[-2], ReplicateDone)
    assert isinstance(events[-1], SittingEnded)
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
    for worker in range(3):
        prepared = [e.prepared.case for e in only(CasePrepared, events) if e.worker == worker]
        assert sorted(prepared) == sorted(case.id for case in CASES)
        its = [e for e in only(BlockMeasured, events) if e.worker == worker]
        assert blocks(list(its)) == dict.fromkeys((case.id for case in CASES), MINIMUM)
    assert all(is_gone(pid) for pid in pids())


def test_each_group_and_replicate_is_told_when_it_is_done(
    fake_side: MakeSide, settings: Callable[[], list[str]]
) -> None:
    cases = [Case(), Case(threads=2), Case(batch=64), Case(threads=3)]
    events = measure(plan(cases, replicates=2), fake_side())
    done = [(event.replicate, event.group) for event in only(ReplicateDone, events)]
    assert done == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert settings() == ["cpu 1", "cpu 2", "cpu 3"] * 2
    assert blocks(events) == {case.id: 2 * MINIMUM for case in cases}
    after = events[events.index(ReplicateDone(0, 0)) :]
    first = next(event for event in after if isinstance(event, BlockMeasured))
    assert first.block.case == Case(threads=2).id


def test_the_first_worker_tells_the_facts_and_is_used_where_it_fits(
    fake_side: MakeSide, settings: Callable[[], list[str]]
) -> None:
    measure(plan([Case(threads=2)]), fake_side())
    assert settings() == ["cpu 2"]


def test_a_first_worker_that_does_not_fit_is_replaced(
    fake_side: MakeSide, settings: Callable[[], list[str]]
) -> None:
    events = measure(plan([Case(threads=9), Case(threads=2)]), fake_side())
    assert settings() == ["cpu 9", "cpu 2"]
    assert ended(events)[Case(threads=9).id][0] == "unsupported"
    assert workers(events) == [0, 1]


def test_the_side_names_its_workers(fake_side: MakeSide) -> None:
    side = fake_side()
    events = measure(plan(), Side("head", side.python))
    assert {event.side for event in only(WorkerStarted, events)} == {"head"}


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
    return Prepared(request.case.id, step_ns, 18, 0.5, 0, ("dispatch",))
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
    return Prepared(request.case.id, 1500 * request.case.batch, 18, 0.5, 0, ("dispatch",))
"""
    events = measure(plan([Case(batch=b) for b in (10, 100, 1000)]), fake_side(body))
    assert {e.prepared.case: e.samples for e in only(CasePrepared, events)} == {
        Case(batch=10).id: 40,
        Case(batch=100).id: 20,
        Case(batch=1000).id: 8,
    }


# Sweeps


def test_every_sweep_holds_every_case_in_every_kind_once(fake_side: MakeSide) -> None:
    events = measure(plan(), fake_side())
    everything = sorted((case.id, kind) for case in CASES for kind in KINDS)
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


def test_a_further_sitting_does_not_repeat_the_order_of_the_first(fake_side: MakeSide) -> None:
    side = fake_side()
    first = sweeps(measure(plan(), side))
    assert sweeps(measure(plan(), side, Settled(workers=1))) != first


# Budget


def test_a_budget_of_nothing_still_gives_the_least_number_of_sweeps(fake_side: MakeSide) -> None:
    events = measure(plan(budget_s=0, replicates=2), fake_side())
    assert blocks(events) == {case.id: 2 * MINIMUM for case in CASES}


def test_a_budget_that_an_earlier_sitting_spent_is_not_spent_again(
    fake_side: MakeSide, clock: Ticking
) -> None:
    side = fake_side()
    fresh = measure(plan(budget_s=500), side)
    resumed = measure(plan(budget_s=500), side, Settled(spent_s=500))
    assert blocks(fresh).total() > 2 * blocks(resumed).total()
    assert blocks(resumed) == {case.id: MINIMUM for case in CASES}


@pytest.mark.parametrize("replicates", [1, 4])
def test_a_run_ends_with_its_budget(fake_side: MakeSide, clock: Ticking, replicates: int) -> None:
    events = measure(plan(replicates=replicates, budget_s=1000), fake_side())
    started, finished = events[0], events[-1]
    assert isinstance(started, SittingStarted)
    assert isinstance(finished, SittingEnded)
    assert 0.9 * 1000 < finished.at - started.at < 1.02 * 1000


def test_what_preparing_costs_is_kept_back_from_the_budget(
    fake_side: MakeSide, clock: Ticking
) -> None:
    """Each worker prepares for 90 seconds: the last one's are not on top of the budget."""

    def tell(event: Event) -> None:
        if isinstance(event, CasePrepared):
            clock.now += 30
        if isinstance(event, SittingStarted | SittingEnded):
            times.append(event.at)

    times: list[float] = []
    Coordinator(plan(replicates=5, budget_s=1000), tell, side=fake_side()).measure()
    assert 0.9 * 1000 < times[1] - times[0] < 1.05 * 1000


def test_replicates_share_the_budget_fairly(fake_side: MakeSide, clock: Ticking) -> None:
    events = measure(plan(replicates=4, budget_s=1000), fake_side())
    of_each = Counter(event.worker for event in only(BlockMeasured, events))
    assert set(of_each) == {0, 1, 2, 3}
    assert max(of_each.values()) < 1.2 * min(of_each.values())


def test_a_group_gets_time_by_its_number_of_cases(fake_side: MakeSide, clock: Ticking) -> None:
    cases = [*(Case(batch=batch) for batch in (2, 4, 8)), Case(threads=2)]
    events = measure(plan(cases, budget_s=2000), fake_side())
    spans = []
    for worker in workers(events):
        times = [event.at for event in only(BlockMeasured, events) if event.worker == worker]
        spans.append(times[-1] - times[0])
    assert spans[0] / spans[1] == pytest.approx(3, rel=0.05)


def test_a_group_that_is_dear_to_prepare_leaves_the_others_their_share(
    fake_side: MakeSide, clock: Ticking
) -> None:
    """Twelve cases of one thread prepare for 120 seconds, one of two threads for ten."""
    cases = [*(Case(batch=batch) for batch in range(1, 13)), Case(threads=2)]
    events: list[Event] = []

    def tell(event: Event) -> None:
        events.append(event)
        if isinstance(event, CasePrepared):
            clock.now += 10

    Coordinator(plan(cases, replicates=3, budget_s=4000), tell, side=fake_side()).measure()
    of_each = blocks(events)
    assert of_each[cases[-1].id] > 0.5 * of_each[cases[0].id] > MINIMUM
    assert events[-1].at - events[0].at < 1.1 * 4000  # type: ignore[union-attr]


def test_the_learning_rate_reaches_the_worker(fake_side: MakeSide, tmp_path: Path) -> None:
    side = fake_side("""
def prepared(request):
    (FOLDER / "rates").open("a").write(f"{request.lr} ")
    return Prepared(request.case.id, 1_000_000, 18, 0.5, 0, ("dispatch",))
""")
    measure(msgspec.structs.replace(plan(), lr=0.25), side)
    assert set((tmp_path / "rates").read_text().split()) == {"0.25"}


# Cases that cannot run here


def test_unsupported_cases_end_with_their_reason_and_the_rest_are_measured(
    fake_side: MakeSide,
) -> None:
    cuda, threads = Case(device="cuda:1"), Case(threads=9)
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
    cuda = Case(device="cuda")
    with pytest.raises(UsageError) as error:
        measure(plan([Case(), cuda], named=True), fake_side(), events=events)
    assert str(error.value) == f"cannot run here:\n  {cuda.id}: no cuda device here"
    assert blocks(events).total() == 0
    assert ended(events) == {}
    assert all(is_gone(pid) for pid in pids())


def test_supported_cases_asked_for_by_name_are_measured(fake_side: MakeSide) -> None:
    assert blocks(measure(plan(named=True), fake_side())).total() == len(CASES) * MINIMUM


def test_where_nothing_can_run_that_is_wrong_usage_with_every_reason(fake_side: MakeSide) -> None:
    cuda, mps = Case(device="cuda"), Case(device="mps")
    with pytest.raises(UsageError) as error:
        measure(plan([cuda, mps]), fake_side())
    assert str(error.value) == (
        "nothing asked for can run here:\n"
        f"  {cuda.id}: no cuda device here\n"
        f"  {mps.id}: no mps device here"
    )


# Earlier sittings


def test_what_earlier_sittings_did_is_not_done_again(fake_side: MakeSide) -> None:
    settled = Settled(done={(0, 0), (2, 0)}, samples={FIRST: 33}, workers=5)
    events = measure(plan(replicates=4), fake_side(), settled)
    assert only(ReplicateDone, events) == [ReplicateDone(1, 0), ReplicateDone(3, 0)]
    assert workers(events) == [5, 6]
    samples = {event.prepared.case: event.samples for event in only(CasePrepared, events)}
    assert samples == {FIRST: 33, WRONG: MIN_SAMPLES, LAST: MIN_SAMPLES}


def test_cases_that_ended_earlier_are_neither_measured_nor_told_again(fake_side: MakeSide) -> None:
    cuda = Case(device="cuda")
    settled = Settled(ended={WRONG, cuda.id})
    events = measure(plan([*CASES, cuda]), fake_side(), settled)
    assert ended(events) == {}
    assert blocks(events) == {FIRST: MINIMUM, LAST: MINIMUM}
    assert {event.prepared.case for event in only(CasePrepared, events)} == {FIRST, LAST}


def test_a_run_with_nothing_left_ends_at_once(fake_side: MakeSide) -> None:
    settled = Settled(done={(0, 0), (1, 0)})
    events = measure(plan(replicates=2), fake_side(), settled)
    assert [type(event) for event in events] == [SittingStarted, WorkerStarted, SittingEnded]


def test_a_run_whose_every_case_ended_earlier_needs_no_further_worker(fake_side: MakeSide) -> None:
    settled = Settled(ended={case.id for case in CASES})
    events = measure(plan(replicates=2), fake_side(), settled)
    assert len(workers(events)) == 1
    assert only(ReplicateDone, events) == [ReplicateDone(0, 0), ReplicateDone(1, 0)]


# A case that goes wrong. In each of these it is the second of three, and the others are well.

NO_BLOCK = "the worker answered a block that was not asked for"
OUT_OF_TURN = "the worker answered out of turn"
NONSENSE = "the worker answered nonsense"

PREPARING = [
    ("a hello", "hello()", OUT_OF_TURN),
    ("another case", "structs.replace(good, case='cpu/other')", OUT_OF_TURN),
    ("a block", "block(Measure(good.case, 'phases', 8))", OUT_OF_TURN),
    ("another's refusal", "Refused('cpu/other', 'failed', 'no')", OUT_OF_TURN),
    ("a step of no time", "structs.replace(good, step_ns=0)", NONSENSE),
    ("a step of negative time", "structs.replace(good, step_ns=-5)", NONSENSE),
    ("a loss that is no number", "structs.replace(good, loss_ratio=float('nan'))", NONSENSE),
]
MEASURING = [
    ("a hello", "hello()", OUT_OF_TURN),
    ("another case", "structs.replace(good, case='cpu/other')", OUT_OF_TURN),
    ("prepared", "Prepared(good.case, 1, 1, 0.5, 0, ())", OUT_OF_TURN),
    ("another's refusal", "Refused('cpu/other', 'failed', 'no')", OUT_OF_TURN),
    ("more samples", "structs.replace(good, samples=good.samples + 1)", NO_BLOCK),
    ("the other kind", "structs.replace(good, kind=other(good.kind))", NO_BLOCK),
    ("nothing", "structs.replace(good, readings_ns={}, quantiles_ns={})", NO_BLOCK),
    ("a negative time", "structs.replace(good, quantiles_ns=times(good, [-1, 2, 3, 4]))", NONSENSE),
    ("no time", "structs.replace(good, quantiles_ns=times(good, [0, 2, 3, 4]))", NONSENSE),
    ("a negative reading", "structs.replace(good, readings_ns={'dispatch': -1})", NONSENSE),
    ("too few percentiles", "structs.replace(good, quantiles_ns=times(good, [1]))", NONSENSE),
    ("no percentiles", "structs.replace(good, quantiles_ns=times(good, []))", NONSENSE),
    ("one series less", "structs.replace(good, quantiles_ns=rows(good)[1:])", NONSENSE),
    ("one series more", "structs.replace(good, quantiles_ns=rows(good) + ['x'])", NONSENSE),
]
"""What the worker answers in place of a good reply, and what is said of it."""

TOOLS = """
from msgspec import structs
from bench.measure.protocol import Refused

def other(kind):
    return next(name for name in KINDS if name != kind)

def times(good, row):
    return {series: row for series in good.quantiles_ns}

good_prepared, good_block = prepared, block

def is_wrong(case):
    return "/b64/" in case
"""


def wrong_at_preparing(reply: str) -> str:
    return f"""{TOOLS}
def prepared(request):
    good = good_prepared(request)
    return {reply} if is_wrong(good.case) else good
"""


def wrong_at_measuring(reply: str) -> str:
    return f"""{TOOLS}
def rows(good):
    return [*good.quantiles_ns]

def block(request):
    good = good_block(request)
    if not is_wrong(good.case):
        return good
    wrong = {reply}
    if isinstance(getattr(wrong, "quantiles_ns", None), list):
        wrong = structs.replace(wrong, quantiles_ns=dict.fromkeys(wrong.quantiles_ns, [1, 2, 3, 4]))
    return wrong
"""


def check_cost(events: list[Event], status: str, said: str, started: int) -> None:
    """The wrong case ended so, the others were measured, by so many workers."""
    assert list(ended(events)) == [WRONG]
    assert ended(events)[WRONG][0] == status
    assert said in ended(events)[WRONG][1]
    assert len(workers(events)) == started
    last = [e for e in only(BlockMeasured, events) if e.worker == workers(events)[-1]]
    assert blocks([*last]) == {FIRST: MINIMUM, LAST: MINIMUM}
    assert only(ReplicateDone, events) == [ReplicateDone(0, 0)]
    assert isinstance(events[-1], SittingEnded)


def ids(rows: list[tuple[str, str, str]]) -> list[str]:
    return [row[0] for row in rows]


@pytest.mark.parametrize(("what", "reply", "said"), PREPARING, ids=ids(PREPARING))
def test_a_wrong_answer_to_preparing_costs_its_case_and_its_worker(
    fake_side: MakeSide, what: str, reply: str, said: str
) -> None:
    events = measure(plan(), fake_side(wrong_at_preparing(reply)))
    check_cost(events, "failed", said, started=2)
    assert blocks(events)[WRONG] == 0


@pytest.mark.parametrize(("what", "reply", "said"), MEASURING, ids=ids(MEASURING))
def test_a_wrong_answer_to_measuring_costs_its_case_and_its_worker(
    fake_side: MakeSide, what: str, reply: str, said: str
) -> None:
    events = measure(plan(), fake_side(wrong_at_measuring(reply)))
    check_cost(events, "failed", said, started=2)
    assert blocks(events)[WRONG] == 0


@pytest.mark.parametrize("status", ["failed", "invalid"])
@pytest.mark.parametrize("wrong", [wrong_at_preparing, wrong_at_measuring])
def test_a_refusal_costs_its_case_and_the_worker_goes_on(
    fake_side: MakeSide, wrong: Callable[[str], str], status: str
) -> None:
    side = fake_side(wrong(f"Refused(good.case, {status!r}, 'it will not do')"))
    events = measure(plan(), side)
    check_cost(events, status, "it will not do", started=1)


@pytest.mark.parametrize("wrong", [wrong_at_preparing, wrong_at_measuring])
def test_a_refusal_for_want_of_memory_costs_the_worker_too(
    fake_side: MakeSide, wrong: Callable[[str], str], pids: Callable[[], list[int]]
) -> None:
    events = measure(plan(), fake_side(wrong("Refused(good.case, 'oom', 'no room')")))
    check_cost(events, "oom", "no room", started=2)
    assert len(set(pids())) == 2


DEATHS = [
    ("exits", "os._exit(3)", "failed", "exited with status 3"),
    ("is killed", "os.kill(os.getpid(), 9)", "killed", "killed by SIGKILL"),
    ("crashes", "os.kill(os.getpid(), 11)", "killed", "killed by SIGSEGV"),
    ("prints", "shout(b'ready\\n') or good", "failed", NONSENSE),
    ("hangs", "__import__('time').sleep(600)", "timeout", "no answer within"),
]


@pytest.mark.parametrize(
    ("what", "deed", "status", "said"), DEATHS, ids=[death[0] for death in DEATHS]
)
@pytest.mark.parametrize("wrong", [wrong_at_preparing, wrong_at_measuring])
def test_a_worker_that_is_lost_costs_one_case(
    fake_side: MakeSide,
    wrong: Callable[[str], str],
    what: str,
    deed: str,
    status: str,
    said: str,
    pids: Callable[[], list[int]],
) -> None:
    hasty = Deadlines(prepare_s=1.5, measure_s=1.5)
    events = measure(plan(), fake_side(wrong(deed)), deadlines=hasty)
    check_cost(events, status, said, started=2)
    assert all(is_gone(pid) for pid in pids())


def test_a_compiled_case_has_a_deadline_of_its_own(fake_side: MakeSide) -> None:
    body = """
import time
good_prepared = prepared

def prepared(request):
    time.sleep(600 if request.case.batch == 64 else 0)
    return good_prepared(request)
"""
    cases = [Case(compile="on"), Case(batch=64, compile="on"), Case(batch=1024)]
    deadlines = Deadlines(prepare_s=600, prepare_compiled_s=1.5)
    events = measure(plan(cases), fake_side(body), deadlines=deadlines)
    assert {case: status for case, (status, _) in ended(events).items()} == {cases[1].id: "timeout"}
    assert set(blocks(events)) == {cases[0].id, cases[2].id}


def test_a_case_that_ends_late_keeps_the_blocks_it_has_and_is_not_asked_again(
    fake_side: MakeSide,
) -> None:
    """It dies in its fourth block of the second replicate."""
    body = """
good_block, asked = block, 0
replicate = number()

def block(request):
    global asked
    asked += "/b64/" in request.case
    if asked == 4 and replicate == 1:
        os._exit(9)
    return good_block(request)
"""
    events = measure(plan(replicates=3), fake_side(body))
    assert list(ended(events)) == [WRONG]
    assert blocks(events)[WRONG] == MINIMUM + 3
    assert len(workers(events)) == 4, "one each, and one for the one that was lost"
    assert [event.replicate for event in only(ReplicateDone, events)] == [0, 1, 2]
    prepared = [(e.worker, e.prepared.case) for e in only(CasePrepared, events)]
    assert [worker for worker, case in prepared if case == WRONG] == [0, 1]
    assert [worker for worker, case in prepared if case == LAST] == [0, 1, 2, 3]


def test_every_case_may_go_wrong_and_the_run_still_ends(fake_side: MakeSide) -> None:
    body = "def prepared(request): os._exit(3)"
    events = measure(plan(replicates=2), fake_side(body))
    assert {status for status, _ in ended(events).values()} == {"failed"}
    assert set(ended(events)) == {case.id for case in CASES}
    assert len(workers(events)) == len(CASES)
    assert blocks(events).total() == 0
    assert isinstance(events[-1], SittingEnded)


def test_every_case_may_be_refused_and_the_run_still_ends(fake_side: MakeSide) -> None:
    body = f"{TOOLS}\ndef prepared(request): return Refused(request.case.id, 'invalid', 'no')"
    events = measure(plan(replicates=2), fake_side(body))
    assert ended(events) == dict.fromkeys((case.id for case in CASES), ("invalid", "no"))
    assert len(workers(events)) == 1


# The machine, and an end from outside


def test_an_interpreter_that_is_not_there_ends_the_run(tmp_path: Path) -> None:
    events: list[Event] = []
    with pytest.raises(MachineError, match="cannot start"):
        measure(plan(), Side(python=str(tmp_path / "none")), events=events)
    assert [type(event) for event in events] == [SittingStarted]


def test_a_worker_that_never_says_hello_ends_the_run(script_side: MakeSide) -> None:
    with pytest.raises(MachineError, match="a worker did not start: no answer"):
        measure(plan(), script_side("exec sleep 600"), deadlines=Deadlines(hello_s=0.2))


def test_a_later_worker_that_does_not_start_ends_the_run_and_keeps_what_was_told(
    fake_side: MakeSide,
) -> None:
    events: list[Event] = []
    with pytest.raises(MachineError, match="the worker exited with status 5"):
        measure(plan(replicates=2), fake_side("if number(): os._exit(5)"), events=events)
    assert only(ReplicateDone, events) == [ReplicateDone(0, 0)]
    assert only(SittingEnded, events) == []
    assert blocks(events) == {case.id: MINIMUM for case in CASES}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("kind", [WorkerStarted, CasePrepared, BlockMeasured])
def test_an_end_from_outside_leaves_no_worker_running(
    fake_side: MakeSide,
    pids: Callable[[], list[int]],
    kind: type[Event],
    error: type[BaseException],
) -> None:
    def interrupted(event: Event) -> None:
        if isinstance(event, kind):
            raise error

    with pytest.raises(error):
        Coordinator(plan(), interrupted, side=fake_side()).measure()
    assert len(pids()) == 1
    assert is_gone(pids()[0])


def test_events_read_back_from_a_journal_as_they_were_told(fake_side: MakeSide) -> None:
    cuda = Case(device="cuda")
    events = measure(plan([*CASES, cuda]), fake_side())
    assert {type(event) for event in events} == set(Event.__args__)
    for event in events:
        assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
