"""The coordinator where things go wrong: what a case that does costs, and how a run ends early."""

from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from bench.errors import MachineError, UsageError
from bench.matrix.case import Case
from bench.matrix.ceiling import Ceiling
from bench.protocol.messages import PHASES_KIND, WHOLE_KIND, Measure, Request, kinds_of
from bench.records.assembly import assemble
from bench.runner.coordinator import Coordinator, ResumeState
from bench.runner.events import (
    BlockImpossible,
    BlockMeasured,
    CaseEnergy,
    CasePrepared,
    CaseProfiled,
    Event,
    PhasesEnded,
    ReplicateDone,
    SessionEnded,
    SessionStarted,
    WorkerReplaced,
    WorkerStarted,
)
from bench.runner.pool import STARTS, Deadlines
from bench.runner.process import Side
from bench.runner.schedule import MIN_SWEEPS, MOST_IMPOSSIBLE
from tests import synthetic
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
    gpus_lost,
    measure,
    only,
    plan,
    replicates_done,
    workers,
)
from tests.runner.processes import is_gone

# A case that goes wrong. In each of these it is the second of three, and the others are well.

INVALID = "invalid worker reply"
UNREADABLE = "the worker's reply could not be read"

PREPARING = [
    ("a hello", "hello()", INVALID),
    ("no time", "structs.replace(good, step_ns=0)", INVALID),
    (
        "no number",
        "structs.replace(good, verified=structs.replace(VERIFIED, ratio=NAN))",
        INVALID,
    ),
]
MEASURING = [
    ("a hello", "hello()", INVALID),
    ("another case", "structs.replace(good, case='cpu/other')", INVALID),
    (
        "no percentile",
        "structs.replace(good, quantiles_ns={s: [9] for s in request.series})",
        INVALID,
    ),
]
"""What the worker answers in place of a good reply, and what is said of it."""

TOOLS = """
from msgspec import structs
from bench.protocol.messages import Refused

NAN = float("nan")
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
def block(request):
    good = good_block(request)
    return {reply} if is_wrong(good.case) else good
"""


def check_cost(events: list[Event], status: str, said: str, started: int) -> None:
    """The wrong case ended so, the others were measured, by so many workers."""
    assert list(ended(events)) == [WRONG]
    assert ended(events)[WRONG][0] == status
    assert said in ended(events)[WRONG][1]
    assert len(workers(events)) == started
    last = [e for e in only(BlockMeasured, events) if e.worker == workers(events)[-1]]
    assert blocks([*last]) == {FIRST: MINIMUM, LAST: MINIMUM}
    assert replicates_done(events) == [(0, 0)]
    assert isinstance(events[-1], SessionEnded)


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
    ("prints", "shout(b'ready\\n') or good", "failed", UNREADABLE),
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


@pytest.mark.parametrize("compile", ["on", "loss", "step+max-autotune"])
def test_a_compiled_case_has_a_deadline_of_its_own(fake_side: MakeSide, compile: str) -> None:
    body = """
import time
good_prepared = prepared

def prepared(request):
    time.sleep(600 if request.case.own_values["batch"] == 64 else 0)
    return good_prepared(request)
"""
    cases = [
        sumnet(compile="on"),
        sumnet(batch=64, compile=compile),
        sumnet(batch=1024),
    ]
    deadlines = Deadlines(prepare_s=600, prepare_compiled_s=1.5)
    events = measure(plan(cases), fake_side(body), deadlines=deadlines)
    assert {case: status for case, (status, _) in ended(events).items()} == {cases[1].id: "timeout"}
    assert set(blocks(events)) == {cases[0].id, cases[2].id}


def test_a_block_of_phases_has_time_to_be_timed_twice() -> None:
    phases, whole = (Deadlines().of(Measure(FIRST, k, 9, ())) for k in (PHASES_KIND, WHOLE_KIND))
    assert phases == 2 * whole


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


def test_phases_that_cannot_be_told_apart_cost_no_more_than_themselves(
    fake_side: MakeSide, asked: Callable[[], list[list[Request]]]
) -> None:
    events = measure(plan(replicates=2), fake_side(UNCLEAR.format("/b64/")))
    assert only(PhasesEnded, events) == [PhasesEnded(WRONG, "no")]
    assert ended(events) == {}
    assert len(workers(events)) == 2
    kinds = Counter(e.block.kind for e in only(BlockMeasured, events) if e.block.case == WRONG)
    assert kinds == {PHASES_KIND: 2, WHOLE_KIND: 2 * MIN_SWEEPS}
    assert blocks(events)[FIRST] == blocks(events)[LAST] == 2 * MINIMUM
    requests = [r for of_worker in asked() for r in of_worker if isinstance(r, Measure)]
    of_phases = [r for r in requests if (r.case, r.kind) == (WRONG, PHASES_KIND)]
    assert len(of_phases) == 3, "two that were clear, one that was not, and none after it"


def test_phases_that_an_earlier_session_gave_up_are_not_asked_for(
    fake_side: MakeSide, asked: Callable[[], list[list[Request]]]
) -> None:
    measure(plan(), fake_side(), ResumeState(without_phases={WRONG}))
    kinds = {(r.case, r.kind) for of in asked() for r in of if isinstance(r, Measure)}
    every = set(product((FIRST, WRONG, LAST), (PHASES_KIND, WHOLE_KIND)))
    assert kinds == every - {(WRONG, PHASES_KIND)}


# A device that goes wrong: the first worker below is on the CPU

GPU = [sumnet(device="cuda", batch=batch) for batch in (2, 64, 1024)]
MIXED = [CASES[0], *GPU, sumnet(device="cuda", threads=2)]
ABOVE_GPU = [Ceiling("op", "cuda"), Ceiling("node", "cuda")]


STICKY = """
from bench.protocol.messages import Refused
good_block, asked = block, 0

def block(request):
    global asked
    asked += "cuda/float32/b64/" in request.case
    if asked == 3 and place == 1:
        return Refused(request.case, "failed", "CUDA error: an illegal memory access")
    return good_block(request)
"""
ERROR = ("failed", "CUDA error: an illegal memory access")


def test_a_device_that_another_process_has_costs_its_cases_alone_and_one_start(
    fake_side: MakeSide, settings: Callable[[], list[str]]
) -> None:
    other = sumnet(device="cuda:1")
    asked = plan([*MIXED, other], replicates=2, ceilings=ABOVE_GPU, compile_timed=[MIXED[-1].id])
    events = measure(asked, fake_side(gpus_lost("True")))
    lost = [what.id for what in (*MIXED[1:], *ABOVE_GPU)]
    assert ended(events) == dict.fromkeys(lost, ("unsupported", "no context on ~"))
    of_other = 2 * MIN_SWEEPS * len(kinds_of(other))
    assert blocks(events) == {FIRST: 2 * MINIMUM, other.id: of_other}
    assert settings() == ["cpu 1", "cuda 1", "cuda:1 1", "cpu 1", "cuda:1 1"]
    assert isinstance(events[-1], SessionEnded)


def test_a_device_that_is_lost_in_the_middle_costs_its_cases_and_one_start(
    fake_side: MakeSide, settings: Callable[[], list[str]]
) -> None:
    """Cases that were measured before have failed; what they have stays."""
    asked = plan(MIXED, replicates=2, energy=True, ceilings=ABOVE_GPU)
    events = measure(asked, fake_side(gpus_lost("place > 1") + STICKY))
    found = ended(events)
    assert found.pop(GPU[1].id) == ERROR
    for case in (GPU[0], GPU[2]):
        assert found.pop(case.id) == ("failed", "no context on ~")
    never = [what.id for what in (MIXED[-1], *ABOVE_GPU)]
    assert found == dict.fromkeys(never, ("unsupported", "no context on ~"))
    assert blocks(events)[FIRST] == 2 * MINIMUM
    assert blocks(events)[GPU[1].id] == 2
    assert settings() == ["cpu 1", "cuda 1", "cuda 1", "cpu 1"]
    assert {event.case for event in only(CaseEnergy, events)} == {FIRST}
    assert isinstance(events[-1], SessionEnded)


def test_a_name_that_has_become_another_device_ends_what_is_left_of_it(
    fake_side: MakeSide,
) -> None:
    """A driver that lost one of several may number the others anew."""
    body = """
identity = "first" if place < 2 else "second"
ACCELERATORS = {"cuda": (DeviceFacts(name="a GPU", memory_bytes=2**33, identity=identity),)}
"""
    events = measure(plan(MIXED[:2], replicates=2), fake_side(TOOLS + "place = number()" + body))
    ((name, (status, reason)),) = ended(events).items()
    assert (name, status) == (GPU[0].id, "failed")
    assert reason.startswith("cuda is another device than the one that was measured")
    assert blocks(events)[FIRST] == 2 * MINIMUM
    run = assemble(synthetic.header(MIXED[:2], replicates=2), events)
    assert run.devices["cuda"].identity == "first", "on which alone it was measured"


def test_a_worker_that_dies_at_its_start_on_a_device_costs_that_device(
    fake_side: MakeSide, settings: Callable[[], list[str]]
) -> None:
    """A driver can end a process without an exception."""
    start = """
good_start = start

def start():
    return os._exit(3) if DEVICE == "cuda" else good_start()
"""
    asked = plan([*MIXED, sumnet(threads=2)], replicates=2)
    events = measure(asked, fake_side(gpus_lost("False") + start))
    reason = "a worker did not start: the worker exited with status 3"
    lost = {case.id: ("unsupported", reason) for case in MIXED[1:]}
    assert ended(events) == lost
    assert blocks(events)[FIRST] == blocks(events)[sumnet(threads=2).id] == 2 * MINIMUM
    assert settings().count("cuda 1") == 1
    assert isinstance(events[-1], SessionEnded)


@pytest.mark.parametrize("cases", [MIXED[:2], MIXED[1::-1]], ids=["cpu first", "gpu first"])
def test_a_case_asked_for_by_name_whose_device_another_process_has_is_no_success(
    fake_side: MakeSide, cases: list[Case]
) -> None:
    asked = plan(cases, named=True)
    if cases[0] is MIXED[0]:
        found = ended(measure(asked, fake_side(gpus_lost("True"))))
        assert found == {GPU[0].id: ("failed", "no context on ~")}
    else:
        with pytest.raises(UsageError, match="cannot run here"):
            measure(asked, fake_side(gpus_lost("True")))


@pytest.mark.parametrize("status", ["failed", "oom"])
def test_a_device_that_comes_back_costs_one_case(
    fake_side: MakeSide, settings: Callable[[], list[str]], status: str
) -> None:
    body = gpus_lost("False") + STICKY.replace('"failed"', repr(status))
    events = measure(plan(MIXED[:-1]), fake_side(body))
    assert ended(events) == {GPU[1].id: (status, ERROR[1])}
    assert settings() == ["cpu 1", "cuda 1", "cuda 1"]
    last = [e for e in only(BlockMeasured, events) if e.worker == 2]
    assert set(blocks([*last])) == {GPU[0].id, GPU[2].id}


LOST = f"the worker was lost over {WRONG}: "
AFTER_TIMING = pytest.mark.parametrize(
    ("deed", "wrong", "after"),
    [
        ("Refused(request.case, 'failed', 'it cannot')", "it cannot", None),
        ("Refused(request.case, 'oom', 'no room')", "no room", None),
        ("hello()", f"{LOST}{INVALID}", f"{LOST}{INVALID}"),
        ("os._exit(3)", f"{LOST}the worker exited", f"{LOST}the worker exited"),
        ("__import__('time').sleep(600)", f"{LOST}no answer", f"{LOST}no answer"),
    ],
    ids=["refused", "oom", "out of turn", "exits", "hangs"],
)
"""What the worker does about the second of three, and what is said of it and of the third."""


def wrong_at(what: str, deed: str) -> str:
    return f"""{TOOLS}
good_answer = {what}

def {what}(request):
    return {deed} if is_wrong(request.case) else good_answer(request)
"""


def check_nothing_is_lost(events: list[Event]) -> None:
    """All that was measured before that stands, and the run goes on after it."""
    assert ended(events) == {}
    assert blocks(events) == {case.id: MINIMUM for case in CASES}
    assert len(workers(events)) == 1
    assert [type(event) for event in events[-2:]] == [ReplicateDone, SessionEnded]


def said(reason: str | None, wanted: str | None) -> bool:
    return reason is None if wanted is None else str(reason).startswith(wanted)


@AFTER_TIMING
def test_a_case_that_goes_wrong_when_it_is_profiled_loses_nothing_that_was_measured(
    fake_side: MakeSide, deed: str, wrong: str, after: str | None
) -> None:
    hasty = Deadlines(measure_s=1.5)
    events = measure(plan(profiled=True), fake_side(wrong_at("profiled", deed)), deadlines=hasty)
    check_nothing_is_lost(events)
    reported = {event.case: event for event in only(CaseProfiled, events)}
    assert list(reported) == [FIRST, WRONG, LAST]
    for case, reason in zip(reported, (None, wrong, after), strict=True):
        assert said(reported[case].reason, reason)
        assert (reported[case].profile is None) == (reason is not None)


@AFTER_TIMING
def test_a_case_that_goes_wrong_when_its_energy_is_read_loses_nothing_that_was_measured(
    fake_side: MakeSide, deed: str, wrong: str, after: str | None
) -> None:
    """A worker that is lost over it cannot profile either."""
    side = fake_side(wrong_at("spent", deed))
    hasty = Deadlines(measure_s=1.5)
    events = measure(plan(energy=True, profiled=True), side, deadlines=hasty)
    check_nothing_is_lost(events)
    reported = {event.case: event for event in only(CaseEnergy, events)}
    assert list(reported) == [FIRST, WRONG, LAST]
    for case, reason in zip(reported, (None, wrong, after), strict=True):
        assert said(reported[case].reason, reason)
        assert (reported[case].spent is None) == (reason is not None)
    assert [event.reason for event in only(CaseProfiled, events)] == 3 * [reported[LAST].reason]


def test_a_failure_on_a_gpu_after_timing_leaves_the_others_theirs(fake_side: MakeSide) -> None:
    body = GPUS + wrong_at("profiled", "Refused(request.case, 'failed', 'no kernels')")
    cases = [sumnet(device="cuda", batch=batch) for batch in (2, 64, 1024)]
    events = measure(plan(cases), fake_side(body))
    reasons = [event.reason for event in only(CaseProfiled, events)]
    assert reasons == [None, "no kernels", None]


# A ceiling that goes wrong: the others are well, and so are the cases

ABOVE = [Ceiling("op"), Ceiling("copy", size=2**15), Ceiling("node")]


@pytest.mark.parametrize(
    ("what", "deed", "status", "said", "started"),
    [
        ("ceiling_prepared", "Refused(name, 'unsupported', 'not so')", "unsupported", "not so", 2),
        ("ceiling_prepared", "Refused(name, 'oom', 'no room')", "oom", "no room", 3),
        ("ceiling_prepared", "os._exit(3)", "failed", "exited with status 3", 3),
        ("ceiling_prepared", "hello()", "failed", INVALID, 3),
        ("ceiling_prepared", "structs.replace(good, work=0.0)", "failed", INVALID, 3),
        ("block", "Refused(name, 'invalid', 'too fast')", "invalid", "too fast", 2),
        ("block", "os.kill(os.getpid(), 9)", "killed", "killed by SIGKILL", 3),
        ("block", "__import__('time').sleep(600)", "timeout", "no answer within", 3),
    ],
)
def test_a_ceiling_that_goes_wrong_costs_itself_alone(
    fake_side: MakeSide, what: str, deed: str, status: str, said: str, started: int
) -> None:
    body = f"""{TOOLS}
good_answer = {what}

def {what}(request):
    good = good_answer(request)
    name = good.case if isinstance(good, Block) else good.ceiling
    return {deed} if "/copy/" in name else good
"""
    deadlines = Deadlines(measure_s=1.5)
    events = measure(plan(ceilings=ABOVE), fake_side(body), deadlines=deadlines)
    assert list(ended(events)) == [ABOVE[1].id]
    assert ended(events)[ABOVE[1].id][0] == status
    assert said in ended(events)[ABOVE[1].id][1]
    last = [e for e in only(BlockMeasured, events) if e.worker == workers(events)[-1]]
    assert blocks([*last]) == {ABOVE[0].id: MIN_SWEEPS, ABOVE[2].id: MIN_SWEEPS}
    assert all(blocks(events)[case.id] == MINIMUM for case in CASES)
    assert len(workers(events)) == started
    assert replicates_done(events) == [(0, 0), (0, 1)]
    assert isinstance(events[-1], SessionEnded)


def test_every_case_may_go_wrong_and_the_run_still_ends(fake_side: MakeSide) -> None:
    body = "def prepared(request): os._exit(3)"
    events = measure(plan(replicates=2), fake_side(body))
    assert {status for status, _ in ended(events).values()} == {"failed"}
    assert set(ended(events)) == {case.id for case in CASES}
    assert len(workers(events)) == len(CASES)
    assert blocks(events).total() == 0
    assert isinstance(events[-1], SessionEnded)


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
    assert [type(event) for event in events] == [SessionStarted]


def test_a_worker_that_never_sends_hello_ends_the_run(script_side: MakeSide) -> None:
    with pytest.raises(MachineError, match="a worker did not start: no answer"):
        measure(plan(), script_side("exec sleep 600"), deadlines=Deadlines(hello_s=0.2))


def test_a_later_worker_that_does_not_start_ends_the_run_and_keeps_what_was_reported(
    fake_side: MakeSide,
) -> None:
    events: list[Event] = []
    with pytest.raises(MachineError, match="the worker exited with status 5"):
        measure(plan(replicates=2), fake_side("if number(): os._exit(5)"), events=events)
    assert replicates_done(events) == [(0, 0)]
    assert only(SessionEnded, events) == []
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


# Workers that are killed while they start

KILLED_AT_FIRST = """
import signal
place, well = number(), start

def start():
    if place {which}:
        os.kill(os.getpid(), signal.SIGKILL)
    well()
"""


def test_one_that_is_killed_while_it_starts_is_replaced_and_counted(fake_side: MakeSide) -> None:
    events = measure(plan(), fake_side(KILLED_AT_FIRST.format(which="in (0, 1)")))
    assert ended(events) == {}
    replaced = only(WorkerReplaced, events)
    assert len(replaced) == 2 and "SIGKILL" in replaced[0].reason
    assert [event.worker for event in only(WorkerStarted, events)] == [0]


def test_a_run_ends_where_none_will_start(fake_side: MakeSide) -> None:
    events: list[Event] = []
    with pytest.raises(MachineError, match="SIGKILL"):
        measure(plan(), fake_side(KILLED_AT_FIRST.format(which=">= 0")), events=events)
    assert len(only(WorkerReplaced, events)) == STARTS - 1


# Times that are impossible

IMPOSSIBLE = f"""{TOOLS}
wrong = 0

def block(request):
    global wrong
    good = good_block(request)
    if not is_wrong(good.case) or wrong == {{most}}:
        return good
    wrong += 1
    return structs.replace(good, elapsed_ns=-1)
"""


def test_an_impossible_block_is_left_out_and_counted(fake_side: MakeSide) -> None:
    events = measure(plan(), fake_side(IMPOSSIBLE.format(most=3)))
    assert ended(events) == {}
    assert [event.case for event in only(BlockImpossible, events)] == [WRONG] * 3
    assert blocks(events) == {FIRST: MINIMUM, WRONG: MINIMUM - 3, LAST: MINIMUM}


def test_a_case_whose_blocks_stay_impossible_is_invalid(fake_side: MakeSide) -> None:
    events = measure(plan(), fake_side(IMPOSSIBLE.format(most=-1)))
    ((case, (status, reason)),) = ended(events).items()
    assert (case, status) == (WRONG, "invalid")
    assert f"{MOST_IMPOSSIBLE} blocks" in reason
    assert blocks(events) == {FIRST: MINIMUM, LAST: MINIMUM}
