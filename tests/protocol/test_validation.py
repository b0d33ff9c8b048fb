"""Which replies are valid answers to a request, and which leave the worker unusable."""

from collections.abc import Callable
from itertools import product
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import replace

from bench.devices.facts import Facts
from bench.matrix.ceiling import Ceiling
from bench.matrix.step import PHASES
from bench.protocol.messages import (
    KINDS,
    PHASES_KIND,
    Block,
    CaseVerified,
    CeilingPrepared,
    CompileTimed,
    EnergyMeasured,
    Hello,
    Measure,
    MeasureEnergy,
    MeasureMemory,
    MemoryMeasured,
    PhasesRefused,
    Prepare,
    PrepareCeiling,
    Prepared,
    Profile,
    Profiled,
    Refused,
    Reply,
    Request,
    Status,
    TimeCompile,
    Verify,
    series_of,
)
from bench.protocol.validation import AFTER_TIMING, InvalidReply, check, is_possible
from bench.protocol.verified import Expected, Graphs, Verified
from tests import synthetic
from tests.cases import sumnet

CASE = sumnet()
ID = CASE.id
OTHER = "cpu/other"
GRAPHS = Graphs(loss=0, step=0, recompiled=0, breaks=(), skips=0)
VERIFIED = Verified(Expected(30.0, 1e-6, 0.5, 1e-4), 0.5, "float32", "for-loop", GRAPHS, None)
PREPARED = Prepared(ID, 1_000, 18, ("dispatch",), VERIFIED)
READY = CeilingPrepared(ID, 500_000, 7, 7e6, "how")
SPENT = EnergyMeasured(ID, 1_000, 3_000_000_000, 12.5)
COMPILED = CompileTimed(ID, 1_000, 0, 1)
COUNTED = MemoryMeasured(ID, 4096)
PROFILED = Profiled(ID, synthetic.step_profile())
ROW = [10, 20, 30, 40]
ALL_KINDS = (PHASES_KIND, *KINDS)
Rows = dict[str, list[int]]


def block(kind: str = PHASES_KIND) -> Block:
    return Block(ID, kind, 8, 50, {"dispatch": 100}, dict.fromkeys(series_of(kind, PHASES), ROW))


def measure(kind: str) -> Measure:
    return Measure(ID, kind, 8, series_of(kind, PHASES))


ANSWERS: list[tuple[Request, Reply]] = [
    (Prepare(CASE), PREPARED),
    *((measure(kind), block(kind)) for kind in ALL_KINDS),
    (measure(PHASES_KIND), PhasesRefused(ID, "they cannot be told apart")),
    (Verify(CASE), CaseVerified(ID, VERIFIED)),
    (PrepareCeiling(Ceiling("op")), READY),
    (TimeCompile(CASE), COMPILED),
    (MeasureEnergy(ID, 3.0), SPENT),
    (MeasureMemory(ID), COUNTED),
    (Profile(ID), PROFILED),
]
REQUESTS = [
    Prepare(CASE),
    PrepareCeiling(Ceiling("op")),
    measure(PHASES_KIND),
    Verify(CASE),
    TimeCompile(CASE),
    MeasureEnergy(ID, 3.0),
    MeasureMemory(ID),
    Profile(ID),
]
TIMED = [r for r in REQUESTS if not isinstance(r, AFTER_TIMING)]
REPLIES: list[Reply] = [
    Hello(Facts("2.13.0", 4, True, {}), "3.11.0", "0" * 16, 1, [0]),
    PREPARED,
    CaseVerified(ID, VERIFIED),
    COMPILED,
    Refused(OTHER, "failed", "no"),
    PhasesRefused(ID, "no"),
    block(),
    READY,
    SPENT,
    COUNTED,
    PROFILED,
]
"""One of each kind; the refusal is of a case that was not requested."""


def named(value: object) -> str:
    return type(value).__name__


def assert_invalid(request: Request, reply: Reply) -> None:
    with pytest.raises(InvalidReply, match=named(reply)) as caught:
        check(ID, "cpu", request, reply)
    assert caught.value.status == "failed"


@pytest.mark.parametrize(("request_", "reply"), ANSWERS)
def test_a_valid_reply_passes(request_: Request, reply: Reply) -> None:
    check(ID, "cpu", request_, reply)


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (request, reply)
        for request, reply in product(REQUESTS, REPLIES)
        if (named(request), named(reply)) not in {(named(a), named(b)) for a, b in ANSWERS}
    ],
    ids=named,
)
def test_a_reply_to_another_kind_of_request_is_invalid(request_: Request, reply: Reply) -> None:
    assert_invalid(request_, reply)


@pytest.mark.parametrize(("request_", "reply"), ANSWERS)
def test_a_reply_about_another_case_is_invalid(request_: Request, reply: Reply) -> None:
    name = "ceiling" if isinstance(reply, CeilingPrepared) else "case"
    assert_invalid(request_, replace(reply, **{name: OTHER}))


@pytest.mark.parametrize("request_", REQUESTS, ids=named)
@pytest.mark.parametrize("status", [status for status in get_args(Status) if status != "oom"])
def test_a_refusal_is_a_valid_reply_to_everything(request_: Request, status: Status) -> None:
    check(ID, "cpu", request_, Refused(ID, status, "it will not do"))


@pytest.mark.parametrize("request_", TIMED, ids=named)
def test_a_worker_out_of_memory_is_unusable(request_: Request) -> None:
    with pytest.raises(InvalidReply) as caught:
        check(ID, "cpu", request_, Refused(ID, "oom", "no room"))
    assert (caught.value.status, caught.value.reason) == ("oom", "no room")


def test_a_worker_with_a_failed_accelerator_is_unusable() -> None:
    """Its errors stick: every case after it would fail too."""
    case = sumnet(device="cuda")
    reply = Refused(case.id, "failed", "CUDA error: device-side assert triggered")
    with pytest.raises(InvalidReply, match="device-side assert"):
        check(case.id, case.device, Verify(case), reply)
    check(case.id, case.device, Verify(case), Refused(case.id, "invalid", "the loss does not fall"))


@pytest.mark.parametrize(
    "request_",
    [MeasureEnergy("cuda/it", 3.0), MeasureMemory("cuda/it"), Profile("cuda/it")],
    ids=named,
)
def test_a_failed_profile_or_energy_measurement_leaves_the_worker_usable(request_: Request) -> None:
    check("cuda/it", "cuda", request_, Refused("cuda/it", "failed", "the trace is empty"))
    check("cuda/it", "cuda", request_, Refused("cuda/it", "oom", "no room"))


@pytest.mark.parametrize("changes", [{"step_ns": 0}, {"step_ns": -5}, {"verified": None}])
def test_an_impossible_case_is_invalid(changes: dict[str, Any]) -> None:
    assert_invalid(Prepare(CASE), replace(PREPARED, **changes))


@pytest.mark.parametrize("changes", [{"sample_ns": 0}, {"calls": 0}, {"work": -1.0}])
def test_an_impossible_ceiling_is_invalid(changes: dict[str, float]) -> None:
    assert_invalid(PrepareCeiling(Ceiling("op")), replace(READY, **changes))


@pytest.mark.parametrize("changes", [{"steps": 0}, {"elapsed_ns": 0}, {"joules": 0.0}])
def test_an_impossible_energy_is_invalid(changes: dict[str, float]) -> None:
    assert_invalid(MeasureEnergy(ID, 3.0), replace(SPENT, **changes))


def test_an_impossible_compile_time_is_invalid() -> None:
    assert_invalid(TimeCompile(CASE), replace(COMPILED, first_step_ns=0))


@pytest.mark.parametrize(
    "reply",
    [
        replace(block(), samples=9),
        replace(block(), samples=7),
        block("train_step"),
        replace(block(), readings_ns={}, quantiles_ns={}),
    ],
    ids=["more samples", "fewer samples", "another kind", "nothing"],
)
def test_a_block_that_was_not_requested_is_invalid(reply: Reply) -> None:
    assert_invalid(measure(PHASES_KIND), reply)


@pytest.mark.parametrize("ratio", [float("nan"), float("inf")])
def test_a_loss_ratio_that_is_no_number_is_invalid_where_one_is_expected(ratio: float) -> None:
    seen = replace(VERIFIED, ratio=ratio)
    said: list[tuple[Request, Reply]] = [
        (Prepare(CASE), replace(PREPARED, verified=seen)),
        (Verify(CASE), CaseVerified(ID, seen)),
    ]
    for request, reply in said:
        assert_invalid(request, msgspec.json.decode(msgspec.json.encode(reply), type=Reply))


def test_a_step_whose_loss_is_not_known_has_no_ratio() -> None:
    unknown = replace(VERIFIED, expected=None, ratio=None)
    check(ID, "cpu", Prepare(CASE), replace(PREPARED, verified=unknown))
    check(ID, "cpu", Verify(CASE), CaseVerified(ID, unknown))


@pytest.mark.parametrize("kind", KINDS)
def test_phases_are_refused_only_where_they_were_requested(kind: str) -> None:
    assert_invalid(measure(kind), PhasesRefused(ID, "no"))


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize(
    ("what", "rows"),
    [
        ("too few percentiles", lambda good: dict.fromkeys(good, ROW[1:])),
        ("too many percentiles", lambda good: {series: [*ROW, 50] for series in good}),
        ("no percentiles", lambda good: {series: [] for series in good}),
        ("one series less", lambda good: dict.fromkeys([*good][1:], ROW)),
        ("one series more", lambda good: good | {"warm-up": ROW}),
        ("another series", lambda good: dict.fromkeys(map(str.upper, good), ROW)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_block_of_another_shape_is_invalid(
    kind: str, what: str, rows: Callable[[Rows], Rows]
) -> None:
    good = block(kind)
    assert_invalid(measure(kind), replace(good, quantiles_ns=rows(good.quantiles_ns)))


@pytest.mark.parametrize("time_ns", [0, -1])
def test_a_block_with_a_time_that_is_not_positive_is_valid_and_impossible(time_ns: int) -> None:
    good = block()
    assert is_possible(good)
    rows = good.quantiles_ns | {next(iter(good.quantiles_ns)): [time_ns, 20, 30, 40]}
    for name, value in (
        ("quantiles_ns", rows),
        ("readings_ns", {"dispatch": time_ns}),
        ("elapsed_ns", time_ns),
        ("least_ns", time_ns),
    ):
        wrong: Block = replace(good, **{name: value})
        check(ID, "cpu", measure(PHASES_KIND), wrong)
        assert not is_possible(wrong)


def test_a_long_reply_is_quoted_in_part() -> None:
    reply = replace(PREPARED, step_ns=0, reference_loops=("x" * 1000,))
    with pytest.raises(InvalidReply) as caught:
        check(ID, "cpu", Prepare(CASE), reply)
    assert len(caught.value.reason) < 300
