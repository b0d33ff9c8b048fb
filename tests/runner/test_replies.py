"""Replies: which are answers to what was asked, and which are not valid."""

from collections.abc import Callable
from itertools import product
from typing import get_args

import pytest
from msgspec.structs import replace

from bench.matrix.case import Case
from bench.matrix.ceiling import Ceiling
from bench.matrix.support import Facts
from bench.protocol.messages import (
    KINDS,
    PHASES_KIND,
    Block,
    CaseVerified,
    CeilingPrepared,
    CompileTimed,
    EnergyMeasured,
    Expected,
    Graphs,
    Hello,
    Measure,
    MeasureEnergy,
    Prepare,
    PrepareCeiling,
    Prepared,
    Profile,
    Profiled,
    Refused,
    Reply,
    Request,
    Status,
    Verified,
    Verify,
)
from bench.runner.process import WorkerLost
from bench.runner.replies import check
from tests import synthetic

CASE = Case()
ID = CASE.id
OTHER = "cpu/other"
GRAPHS = Graphs(loss=0, step=0, recompiled=0, breaks=(), skips=0)
VERIFIED = Verified(Expected(30.0, 1e-6, 0.5, 1e-4), 0.5, "float32", "for-loop", GRAPHS, None)
PREPARED = Prepared(ID, 1_000, 18, ("dispatch",), VERIFIED)
READY = CeilingPrepared(ID, 500_000, 7, 7e6, "so it is done")
SPENT = EnergyMeasured(ID, 1_000, 3_000_000_000, 12.5)
PROFILED = Profiled(ID, synthetic.step_profile())
ROW = [10, 20, 30, 40]
Rows = dict[str, list[int]]


def block(kind: str = PHASES_KIND) -> Block:
    return Block(ID, kind, 8, 50, {"dispatch": 100}, dict.fromkeys(KINDS[kind], ROW))


ANSWERS: list[tuple[Request, Reply]] = [
    (Prepare(CASE), PREPARED),
    *((Measure(ID, kind, 8), block(kind)) for kind in KINDS),
    (Verify(CASE), CaseVerified(ID, VERIFIED)),
    (PrepareCeiling(Ceiling("op")), READY),
    (MeasureEnergy(ID, 3.0), SPENT),
    (Profile(ID), PROFILED),
]
REQUESTS = [
    Prepare(CASE),
    PrepareCeiling(Ceiling("op")),
    Measure(ID, PHASES_KIND, 8),
    Verify(CASE),
    MeasureEnergy(ID, 3.0),
    Profile(ID),
]
WORDS: list[Reply] = [
    Hello(Facts("2.13.0", 4, True, {}), "3.11.0", "0" * 16, 1, [0]),
    PREPARED,
    CaseVerified(ID, VERIFIED),
    CompileTimed(ID, 1_000, 0, 1),
    Refused(OTHER, "failed", "no"),
    block(),
    READY,
    SPENT,
    PROFILED,
]
"""One of each kind; the refusal is of a case that was not asked for."""


def named(value: object) -> str:
    return type(value).__name__


def lost(request: Request, reply: Reply) -> WorkerLost:
    with pytest.raises(WorkerLost) as lost:
        check(ID, request, reply)
    return lost.value


@pytest.mark.parametrize(("request_", "reply"), ANSWERS)
def test_an_answer_to_what_was_asked_is_let_pass(request_: Request, reply: Reply) -> None:
    check(ID, request_, reply)


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (request, reply)
        for request, reply in product(REQUESTS, WORDS)
        if (named(request), named(reply)) not in {(named(a), named(b)) for a, b in ANSWERS}
    ],
    ids=named,
)
def test_an_answer_to_something_else_is_out_of_turn(request_: Request, reply: Reply) -> None:
    error = lost(request_, reply)
    assert error.status == "failed"
    assert error.reason.startswith(f"the worker answered out of turn: {named(reply)}(")


@pytest.mark.parametrize(("request_", "reply"), ANSWERS)
def test_an_answer_about_another_case_is_out_of_turn(request_: Request, reply: Reply) -> None:
    name = "ceiling" if isinstance(reply, CeilingPrepared) else "case"
    error = lost(request_, replace(reply, **{name: OTHER}))
    assert error.reason.startswith("the worker answered out of turn: ")


@pytest.mark.parametrize("request_", REQUESTS, ids=named)
@pytest.mark.parametrize("status", [status for status in get_args(Status) if status != "oom"])
def test_a_refusal_is_an_answer_to_everything(request_: Request, status: Status) -> None:
    check(ID, request_, Refused(ID, status, "it will not do"))


@pytest.mark.parametrize(
    "request_", [r for r in REQUESTS if not isinstance(r, Profile | MeasureEnergy)], ids=named
)
def test_a_refusal_for_want_of_memory_counts_as_losing_the_worker(request_: Request) -> None:
    error = lost(request_, Refused(ID, "oom", "no room"))
    assert (error.status, error.reason) == ("oom", "no room")


def test_a_failure_on_an_accelerator_counts_as_losing_the_worker() -> None:
    """Its errors stick: every case after it would fail too."""
    case = Case(device="cuda")
    reply = Refused(case.id, "failed", "CUDA error: device-side assert triggered")
    with pytest.raises(WorkerLost, match="device-side assert"):
        check(case.id, Verify(case), reply)
    check(case.id, Verify(case), Refused(case.id, "invalid", "the loss does not fall"))


@pytest.mark.parametrize("request_", [MeasureEnergy("cuda/it", 3.0), Profile("cuda/it")], ids=named)
def test_a_failure_in_a_closer_look_loses_no_worker(request_: Request) -> None:
    """Nothing is timed after it, and what the others are asked is not what it could not do."""
    check("cuda/it", request_, Refused("cuda/it", "failed", "the trace is empty"))
    check("cuda/it", request_, Refused("cuda/it", "oom", "no room"))


@pytest.mark.parametrize(
    ("what", "reply"),
    [
        ("a step of no time", replace(PREPARED, step_ns=0)),
        ("a step of negative time", replace(PREPARED, step_ns=-5)),
        ("nothing verified", replace(PREPARED, verified=None)),
    ],
)
def test_a_case_that_cannot_be_so_prepared_is_not_valid(what: str, reply: Reply) -> None:
    error = lost(Prepare(CASE), reply)
    assert error.status == "failed"
    assert error.reason.startswith("the worker's reply is not valid: Prepared(")


@pytest.mark.parametrize("changes", [{"sample_ns": 0}, {"calls": 0}, {"work": -1.0}])
def test_a_ceiling_that_cannot_be_so_prepared_is_not_valid(changes: dict[str, float]) -> None:
    error = lost(PrepareCeiling(Ceiling("op")), replace(READY, **changes))
    assert error.status == "failed"
    assert error.reason.startswith("the worker's reply is not valid: CeilingPrepared(")


@pytest.mark.parametrize("changes", [{"steps": 0}, {"elapsed_ns": 0}, {"joules": 0.0}])
def test_energy_that_no_training_takes_is_not_valid(changes: dict[str, float]) -> None:
    error = lost(MeasureEnergy(ID, 3.0), replace(SPENT, **changes))
    assert error.status == "failed"
    assert error.reason.startswith("the worker's reply is not valid: Spent(")


@pytest.mark.parametrize(
    ("what", "reply"),
    [
        ("more samples", replace(block(), samples=9)),
        ("fewer samples", replace(block(), samples=7)),
        ("another kind", block("train_step")),
        ("nothing at all", replace(block(), readings_ns={}, quantiles_ns={})),
    ],
)
def test_a_block_that_was_not_asked_for_is_told_as_that(what: str, reply: Reply) -> None:
    error = lost(Measure(ID, PHASES_KIND, 8), reply)
    assert error.status == "failed"
    assert error.reason == "the worker answered a block that was not asked for"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("what", "rows"),
    [
        ("a negative time", lambda good: good | {next(iter(good)): [-1, 20, 30, 40]}),
        ("no time", lambda good: good | {next(iter(good)): [0, 20, 30, 40]}),
        ("too few percentiles", lambda good: dict.fromkeys(good, ROW[1:])),
        ("too many percentiles", lambda good: {series: [*ROW, 50] for series in good}),
        ("no percentiles", lambda good: {series: [] for series in good}),
        ("one series less", lambda good: dict.fromkeys([*good][1:], ROW)),
        ("one series more", lambda good: good | {"warm-up": ROW}),
        ("another series", lambda good: dict.fromkeys(map(str.upper, good), ROW)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_block_whose_times_cannot_be_is_not_valid(
    kind: str, what: str, rows: Callable[[Rows], Rows]
) -> None:
    good = block(kind)
    error = lost(Measure(ID, kind, 8), replace(good, quantiles_ns=rows(good.quantiles_ns)))
    assert error.status == "failed"
    assert error.reason.startswith("the worker's reply is not valid: Block(")


@pytest.mark.parametrize("reading", [0, -1])
def test_a_reading_that_cannot_be_is_not_valid(reading: int) -> None:
    error = lost(Measure(ID, PHASES_KIND, 8), replace(block(), readings_ns={"dispatch": reading}))
    assert error.reason.startswith("the worker's reply is not valid: Block(")


def test_a_long_answer_is_quoted_in_part() -> None:
    error = lost(Prepare(CASE), replace(PREPARED, step_ns=0, reference_loops=("x" * 1000,)))
    assert len(error.reason) < 300
