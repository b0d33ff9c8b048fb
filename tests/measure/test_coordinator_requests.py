"""The coordinator's requests: of which case what is asked, when, and with what it knows."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from bench.matrix.case import Case
from bench.measure.coordinator import MIN_SWEEPS, Settled
from bench.measure.events import (
    BlockMeasured,
    CaseProfiled,
    CompileMeasured,
    ReplicateDone,
    SittingEnded,
)
from bench.measure.protocol import (
    Expected,
    Measure,
    Prepare,
    Profile,
    Request,
    TimeCompile,
    kinds_of,
)
from bench.measure.worker_process import Side
from tests.measure.conftest import MakeSide
from tests.measure.driving import CASES, FIRST, GPUS, LAST, WRONG, ended, measure, only, plan

Asked = Callable[[], list[list[Request]]]
CUDA = Case(device="cuda")


@pytest.mark.parametrize(
    ("case", "kinds"),
    [
        (Case(), ["phases", "train_step"]),
        (Case(optimizer="lbfgs"), ["train_step"]),
        (CUDA, ["phases", "train_step", "latency", "throughput"]),
        (Case("cuda", compile="graph"), ["train_step", "latency", "throughput"]),
        (Case("cuda", optimizer="lbfgs"), ["train_step", "latency", "throughput"]),
    ],
    ids=lambda value: value.id if isinstance(value, Case) else "",
)
def test_a_case_is_asked_for_the_kinds_of_block_it_has(
    fake_side: MakeSide, asked: Asked, case: Case, kinds: list[str]
) -> None:
    events = measure(plan([case]), fake_side(GPUS))
    told = sorted(event.block.kind for event in only(BlockMeasured, events))
    assert told == sorted(kinds * MIN_SWEEPS)
    [requests] = asked()
    assert sorted(one.kind for one in requests if isinstance(one, Measure)) == told


def test_a_gpus_cases_are_profiled_once_a_replicate_after_all_its_blocks(
    fake_side: MakeSide, asked: Asked
) -> None:
    cases = [CUDA, Case("cuda", batch=64), Case("cuda", compile="graph")]
    events = measure(plan(cases, replicates=2), fake_side(GPUS))
    assert len(asked()) == 2
    for requests in asked():
        profiles = [one.case for one in requests[-len(cases) :] if isinstance(one, Profile)]
        assert sorted(profiles) == sorted(case.id for case in cases)
        assert not any(isinstance(one, Profile) for one in requests[: -len(cases)])
    told = [(event.worker, event.profiled.case) for event in only(CaseProfiled, events)]
    assert sorted(told) == sorted((worker, case.id) for worker in (0, 1) for case in cases)


def test_a_cpus_cases_are_not_profiled(fake_side: MakeSide, asked: Asked) -> None:
    events = measure(plan([Case(), CUDA, Case(optimizer="lbfgs")]), fake_side(GPUS))
    profiles = [one for requests in asked() for one in requests if isinstance(one, Profile)]
    assert profiles == [Profile(CUDA.id)]
    assert [event.profiled.case for event in only(CaseProfiled, events)] == [CUDA.id]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
def test_a_real_gpus_case_is_measured_in_every_kind_and_keeps_it_busy() -> None:
    case = Case("cuda", batch=1024)
    events = measure(plan([case]), Side())
    assert ended(events) == {}
    kinds = Counter(event.block.kind for event in only(BlockMeasured, events))
    assert kinds == dict.fromkeys(kinds_of(case), MIN_SWEEPS)
    [told] = only(CaseProfiled, events)
    assert told.profiled.busy_ns is not None
    assert told.profiled.busy_ns > 0


EACH_ITS_OWN = """
own = msgspec.structs.replace(EXPECTED, loss=float(1 + number()))

def prepared(request):
    seen = msgspec.structs.replace(VERIFIED, expected=request.expected or own)
    return Prepared(request.case.id, 1_000_000, 18, ("dispatch",), seen)
"""
"""Each worker that is not told what training should do reckons a loss of its own."""


def losses_told(requests: list[Request]) -> dict[str, float | None]:
    """Case to the loss that a worker was told to expect."""
    return {
        one.case.id: one.expected and one.expected.loss
        for one in requests
        if isinstance(one, Prepare)
    }


def test_what_the_first_worker_expects_of_training_is_told_to_the_later_ones(
    fake_side: MakeSide, asked: Asked
) -> None:
    measure(plan(replicates=3), fake_side(EACH_ITS_OWN))
    first, *later = map(losses_told, asked())
    assert first == dict.fromkeys((FIRST, WRONG, LAST))
    assert later == 2 * [dict.fromkeys((FIRST, WRONG, LAST), 1.0)]


def test_what_an_earlier_sitting_expected_of_training_is_told_to_its_workers(
    fake_side: MakeSide, asked: Asked
) -> None:
    settled = Settled(expected={WRONG: Expected(7.0, 1e-6, 0.5, 1e-4)})
    measure(plan(replicates=2), fake_side(EACH_ITS_OWN), settled)
    first, second = map(losses_told, asked())
    assert first == {FIRST: None, WRONG: 7.0, LAST: None}
    assert second == {FIRST: 1.0, WRONG: 7.0, LAST: 1.0}


@pytest.mark.parametrize("lr", [0.25, None])
def test_the_learning_rate_reaches_the_workers(
    fake_side: MakeSide, asked: Asked, lr: float | None
) -> None:
    timed = Case(compile="on")
    measure(plan([*CASES, timed], lr=lr, compile_timed=[timed.id]), fake_side())
    building = [one for requests in asked() for one in requests if not isinstance(one, Measure)]
    assert len(building) == 4 + 2, "four cases are prepared, one compiled twice"
    assert {one.lr for one in building if isinstance(one, Prepare | TimeCompile)} == {lr}


# Compile times

COMPILED = [Case(compile="on"), Case(batch=64, compile="step"), Case(batch=1024, compile="loss")]
NAMES = [case.id for case in COMPILED]


def timed(asked: Asked) -> list[str]:
    """The cases whose compile times were asked for, one for each time."""
    told = [one for requests in asked() for one in requests if isinstance(one, TimeCompile)]
    return [one.case.id for one in told]


def test_compile_times_are_taken_of_planned_cases_alone_when_all_else_is_done(
    fake_side: MakeSide, asked: Asked
) -> None:
    wanted = [NAMES[0], NAMES[2]]
    events = measure(plan(COMPILED, replicates=2, compile_timed=wanted), fake_side())
    *_, done, first, second, end = events
    assert isinstance(done, ReplicateDone)
    assert only(CompileMeasured, events) == [first, second]
    assert isinstance(end, SittingEnded)
    assert [event.case for event in only(CompileMeasured, events)] == wanted
    assert all(event.cold and event.warm for event in only(CompileMeasured, events))
    assert timed(asked) == [NAMES[0], NAMES[0], NAMES[2], NAMES[2]]
    assert [len(requests) for requests in asked()[2:]] == [1, 1, 1, 1], "a worker for each time"


def test_compile_times_that_an_earlier_sitting_took_are_not_taken_again(
    fake_side: MakeSide, asked: Asked
) -> None:
    settled = Settled(done={(0, 0)}, compile_timed={NAMES[0]})
    events = measure(plan(COMPILED, compile_timed=NAMES[:2]), fake_side(), settled)
    assert [event.case for event in only(CompileMeasured, events)] == [NAMES[1]]
    assert timed(asked) == [NAMES[1], NAMES[1]]


def test_compile_times_are_not_taken_of_a_case_that_ended(
    fake_side: MakeSide, asked: Asked
) -> None:
    body = """
from bench.measure.protocol import Refused
good = prepared

def prepared(request):
    ends = request.case.compile == "loss"
    return Refused(request.case.id, "invalid", "no") if ends else good(request)
"""
    fused = Case(implementation="fused", compile="on")
    cases = [fused, *COMPILED]
    wanted = [case.id for case in cases]
    events = measure(plan(cases, compile_timed=wanted), fake_side(body), Settled({NAMES[0]}))
    assert {case: status for case, (status, _) in ended(events).items()} == {
        fused.id: "unsupported",
        NAMES[2]: "invalid",
    }
    assert timed(asked) == [NAMES[1], NAMES[1]]


def test_compile_times_that_cannot_be_had_end_no_case(fake_side: MakeSide) -> None:
    body = "def compile_timed(request): os._exit(3)"
    events = measure(plan(COMPILED, compile_timed=NAMES[:2]), fake_side(body))
    assert only(CompileMeasured, events) == [
        CompileMeasured(name, reason="the worker exited with status 3") for name in NAMES[:2]
    ]
    assert ended(events) == {}
    assert isinstance(events[-1], SittingEnded)
