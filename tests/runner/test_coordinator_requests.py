"""The coordinator's requests: of which case what is asked, when, and with what it knows."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.errors import UsageError
from bench.matrix.case import Case
from bench.matrix.ceiling import Ceiling
from bench.protocol.messages import (
    CEILING,
    Measure,
    MeasureEnergy,
    MeasureMemory,
    Prepare,
    PrepareCeiling,
    Profile,
    Request,
    TimeCompile,
    kinds_of,
)
from bench.protocol.validation import AFTER_TIMING
from bench.protocol.verified import Expected
from bench.runner.after_timing import ENERGY_S
from bench.runner.coordinator import (
    CEILING_REPLICATES,
    ResumeState,
)
from bench.runner.events import (
    BlockMeasured,
    CaseEnergy,
    CaseMemory,
    CaseProfiled,
    CeilingReady,
    CompileMeasured,
    ReplicateDone,
    SessionEnded,
)
from bench.runner.process import Side
from bench.runner.schedule import MIN_CEILING_SAMPLES, MIN_SWEEPS
from tests.cases import sumnet
from tests.runner.conftest import MakeSide
from tests.runner.driving import (
    CASES,
    FIRST,
    GPUS,
    LAST,
    WRONG,
    ended,
    measure,
    only,
    plan,
    replicates_done,
)

Asked = Callable[[], list[list[Request]]]
CUDA = sumnet(device="cuda")


@pytest.mark.parametrize(
    ("case", "kinds"),
    [
        (sumnet(), ["phases", "train_step"]),
        (sumnet(optimizer="lbfgs"), ["train_step"]),
        (CUDA, ["phases", "train_step", "latency", "throughput"]),
        (sumnet(device="cuda", compile="graph"), ["train_step", "latency", "throughput"]),
        (sumnet(device="cuda", optimizer="lbfgs"), ["train_step", "latency", "throughput"]),
    ],
    ids=lambda value: value.id if isinstance(value, Case) else "",
)
def test_a_case_is_asked_for_the_kinds_of_block_it_has(
    fake_side: MakeSide, asked: Asked, case: Case, kinds: list[str]
) -> None:
    events = measure(plan([case]), fake_side(GPUS))
    reported = sorted(event.block.kind for event in only(BlockMeasured, events))
    assert reported == sorted(kinds * MIN_SWEEPS)
    requests = asked()[0]
    assert sorted(one.kind for one in requests if isinstance(one, Measure)) == reported


def test_cases_are_profiled_once_after_the_last_block_of_the_last_replicate(
    fake_side: MakeSide, asked: Asked
) -> None:
    cases = [sumnet(), sumnet(batch=64), sumnet(compile="on")]
    events = measure(plan(cases, replicates=3, profiled=True), fake_side())
    *earlier, last = asked()
    assert not any(isinstance(one, Profile) for requests in earlier for one in requests)
    assert last[-len(cases) :] == [Profile(case.id) for case in cases]
    assert not any(isinstance(one, Profile) for one in last[: -len(cases)])
    reported = [(event.case, event.reason) for event in only(CaseProfiled, events)]
    assert reported == [(case.id, None) for case in cases]
    assert all(event.profile is not None for event in only(CaseProfiled, events))


def test_each_group_is_profiled_in_the_last_worker_of_its_own(
    fake_side: MakeSide, asked: Asked
) -> None:
    cases = [sumnet(), sumnet(threads=2), sumnet(batch=64)]
    measure(plan(cases, replicates=2, profiled=True), fake_side())
    profiles = [[one.case for one in each if isinstance(one, Profile)] for each in asked()]
    assert profiles == [[], [], [cases[0].id, cases[2].id], [cases[1].id]]


def test_unasked_a_gpus_cases_are_profiled_and_a_cpus_are_not(
    fake_side: MakeSide, asked: Asked
) -> None:
    cases = [
        sumnet(),
        CUDA,
        sumnet(optimizer="lbfgs"),
        sumnet(device="cuda", compile="graph"),
    ]
    events = measure(plan(cases), fake_side(GPUS))
    profiles = [one for requests in asked() for one in requests if isinstance(one, Profile)]
    assert profiles == [Profile(CUDA.id), Profile(cases[3].id)]
    assert [event.case for event in only(CaseProfiled, events)] == [CUDA.id, cases[3].id]


GRAPHS = [
    sumnet(device="cuda", compile="graph"),
    sumnet(device="cuda", compile="on+reduce-overhead"),
    sumnet(device="cuda", compile="loss+max-autotune"),
]


def test_a_profile_of_what_graphs_launch_is_the_only_one_of_its_worker(
    fake_side: MakeSide, asked: Asked
) -> None:
    others = [CUDA, sumnet(device="cuda", compile="on"), sumnet(device="cuda", batch=64)]
    mixed = [case for pair in zip(GRAPHS, others, strict=True) for case in pair]
    events = measure(plan(mixed), fake_side(GPUS))
    assert ended(events) == {}
    profiles = [[one.case for one in each if isinstance(one, Profile)] for each in asked()]
    assert sorted(profiles) == sorted([[case.id for case in others], *([g.id] for g in GRAPHS)])
    assert all(event.profile is not None for event in only(CaseProfiled, events))


def test_a_cpu_records_no_graphs_in_any_mode(fake_side: MakeSide, asked: Asked) -> None:
    cases = [sumnet(compile="on"), sumnet(compile="on+max-autotune")]
    measure(plan(cases, profiled=True), fake_side())
    [requests] = asked()
    assert requests[-2:] == [Profile(case.id) for case in cases]


def test_traces_go_to_one_folder_wherever_the_worker_runs(
    fake_side: MakeSide, asked: Asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    measure(plan([sumnet()], profiled=True), fake_side(), traces=Path("traces"))
    [requests] = asked()
    assert requests[-1] == Profile(sumnet().id, str(tmp_path / "traces"))


@pytest.mark.parametrize("profiled", [True, False])
def test_energy_is_read_once_of_each_case_before_a_profiler_disturbs_it(
    fake_side: MakeSide, asked: Asked, profiled: bool
) -> None:
    events = measure(plan(replicates=2, energy=True, profiled=profiled), fake_side())
    first, last = asked()
    assert not any(isinstance(one, AFTER_TIMING) for one in first)
    spent = [MeasureEnergy(case.id, ENERGY_S) for case in CASES]
    profiles = [Profile(case.id) for case in CASES] if profiled else []
    counted = [MeasureMemory(case.id) for case in CASES]
    after = [*spent, *counted, *profiles]
    assert last[-len(after) :] == after
    reported = {event.case: event.spent for event in only(CaseEnergy, events)}
    assert list(reported) == [case.id for case in CASES]
    assert all(spent is not None and spent.joules == 12.5 for spent in reported.values())


def test_memory_is_counted_once_of_each_case_and_reported(
    fake_side: MakeSide, asked: Asked
) -> None:
    events = measure(plan(replicates=2), fake_side())
    first, last = asked()
    assert not any(isinstance(one, MeasureMemory) for one in first)
    assert [one.case for one in last if isinstance(one, MeasureMemory)] == [c.id for c in CASES]
    reported = {event.case: event.peak_bytes for event in only(CaseMemory, events)}
    assert reported == {case.id: 2**20 for case in CASES}


def test_why_memory_is_not_counted_is_reported(fake_side: MakeSide) -> None:
    body = """
from bench.protocol.messages import Refused

def counted(request):
    return Refused(request.case, "unsupported", "no count")
"""
    events = measure(plan(), fake_side(body))
    reported = {event.case: event.reason for event in only(CaseMemory, events)}
    assert reported == {case.id: "no count" for case in CASES}


def test_unasked_no_energy_is_read(fake_side: MakeSide, asked: Asked) -> None:
    events = measure(plan([sumnet(), CUDA]), fake_side(GPUS))
    assert not any(isinstance(one, MeasureEnergy) for requests in asked() for one in requests)
    assert only(CaseEnergy, events) == []


def test_a_case_that_ended_is_looked_at_no_closer(fake_side: MakeSide, asked: Asked) -> None:
    settled = ResumeState(ended={WRONG})
    measure(plan(energy=True, profiled=True), fake_side(), settled)
    [requests] = asked()
    closer = [one.case for one in requests if isinstance(one, AFTER_TIMING)]
    assert closer == 3 * [FIRST, LAST]


def test_a_group_that_is_done_is_not_looked_at_again(fake_side: MakeSide, asked: Asked) -> None:
    settled = ResumeState(done={(0, 0)})
    events = measure(plan(energy=True, profiled=True), fake_side(), settled)
    assert asked() == [[]]
    assert only(CaseProfiled, events) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
def test_a_real_gpus_case_is_measured_in_every_kind_and_keeps_it_busy() -> None:
    case = sumnet(device="cuda", batch=1024)
    events = measure(plan([case]), Side())
    assert ended(events) == {}
    kinds = Counter(event.block.kind for event in only(BlockMeasured, events))
    assert kinds == dict.fromkeys(kinds_of(case), MIN_SWEEPS)
    [reported] = only(CaseProfiled, events)
    assert reported.reason is None and reported.profile is not None
    assert (reported.profile.busy_ns or 0) > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
def test_a_real_gpus_graphs_are_profiled_beside_its_other_cases() -> None:
    cases = [
        sumnet(device="cuda", compile="graph"),
        sumnet(device="cuda"),
        sumnet(device="cuda", batch=64, compile="graph"),
    ]
    profiles = {one.case: one for one in only(CaseProfiled, measure(plan(cases), Side()))}
    assert {*profiles} == {case.id for case in cases}
    for case in (cases[0], cases[2]):
        profile = profiles[case.id].profile
        assert profile is not None, profiles[case.id].reason
        [whole] = profile.phases.values()
        assert whole.launches == 1
        assert whole.kernels > 10


EACH_ITS_OWN = """
own = msgspec.structs.replace(EXPECTED, loss=float(1 + number()))

def prepared(request):
    seen = msgspec.structs.replace(VERIFIED, expected=request.expected or own)
    return Prepared(request.case.id, 1_000_000, 18, ("dispatch",), seen)
"""
"""Each worker that is not given what training should do computes a loss of its own."""


def losses_told(requests: list[Request]) -> dict[str, float | None]:
    """Case to the loss that a worker was given to expect."""
    return {
        one.case.id: one.expected and one.expected.loss
        for one in requests
        if isinstance(one, Prepare)
    }


def test_what_the_first_worker_expects_of_training_is_reported_to_the_later_ones(
    fake_side: MakeSide, asked: Asked
) -> None:
    measure(plan(replicates=3), fake_side(EACH_ITS_OWN))
    first, *later = map(losses_told, asked())
    assert first == dict.fromkeys((FIRST, WRONG, LAST))
    assert later == 2 * [dict.fromkeys((FIRST, WRONG, LAST), 1.0)]


def test_what_an_earlier_session_expected_of_training_is_reported_to_its_workers(
    fake_side: MakeSide, asked: Asked
) -> None:
    settled = ResumeState(expected={WRONG: Expected(7.0, 1e-6, 0.5, 1e-4)})
    measure(plan(replicates=2), fake_side(EACH_ITS_OWN), settled)
    first, second = map(losses_told, asked())
    assert first == {FIRST: None, WRONG: 7.0, LAST: None}
    assert second == {FIRST: 1.0, WRONG: 7.0, LAST: 1.0}


@pytest.mark.parametrize("lr", [0.25, None])
def test_the_learning_rate_reaches_the_workers(
    fake_side: MakeSide, asked: Asked, lr: float | None
) -> None:
    timed = sumnet(compile="on")
    measure(plan([*CASES, timed], lr=lr, compile_timed=[timed.id]), fake_side())
    kinds = Prepare | TimeCompile
    building = [one for requests in asked() for one in requests if isinstance(one, kinds)]
    assert len(building) == 4 + 2, "four cases are prepared, one compiled twice"
    assert {one.lr for one in building if isinstance(one, Prepare | TimeCompile)} == {lr}


# Ceilings

ABOVE = [Ceiling("op"), Ceiling("copy", size=2**15)]


def prepared_ceilings(requests: list[Request]) -> dict[str, int | None]:
    """Ceiling to the calls that a worker was given for a sample."""
    return {one.ceiling.id: one.calls for one in requests if isinstance(one, PrepareCeiling)}


def test_ceilings_are_measured_in_fresh_workers_when_all_cases_are(
    fake_side: MakeSide, asked: Asked
) -> None:
    replicates = CEILING_REPLICATES + 1
    events = measure(plan(replicates=replicates, ceilings=ABOVE), fake_side())
    of_cases, of_ceilings = asked()[:replicates], asked()[replicates:]
    assert len(of_ceilings) == CEILING_REPLICATES
    assert not any(prepared_ceilings(requests) for requests in of_cases)
    for requests in of_ceilings:
        assert set(prepared_ceilings(requests)) == {above.id for above in ABOVE}
        measured = Counter(one.case for one in requests if isinstance(one, Measure))
        assert measured == {above.id: MIN_SWEEPS for above in ABOVE}
        assert {one.kind for one in requests if isinstance(one, Measure)} == {CEILING}
    done = replicates_done(events)
    assert done == [(n, 0) for n in range(replicates)] + [(n, 1) for n in range(CEILING_REPLICATES)]


def test_a_run_of_fewer_replicates_has_as_few_of_its_ceilings(
    fake_side: MakeSide, asked: Asked
) -> None:
    measure(plan([sumnet()], replicates=1, ceilings=ABOVE), fake_side())
    assert [bool(prepared_ceilings(requests)) for requests in asked()] == [False, True]


def test_ceilings_are_measured_without_any_cases(fake_side: MakeSide, asked: Asked) -> None:
    events = measure(plan([], replicates=2, ceilings=ABOVE), fake_side())
    assert [len(prepared_ceilings(requests)) for requests in asked()] == [2, 2]
    assert isinstance(events[-1], SessionEnded)


def test_each_setting_of_ceilings_has_workers_of_its_own(
    fake_side: MakeSide, settings: Callable[[], list[str]]
) -> None:
    above = [Ceiling("op"), Ceiling("op", threads=2), Ceiling("op", "cuda:1"), ABOVE[1]]
    events = measure(plan([sumnet()], replicates=2, ceilings=above), fake_side(GPUS))
    assert settings() == ["cpu 1"] * 2 + ["cpu 1", "cpu 2", "cuda:1 1"] * 2
    assert ended(events) == {}


def test_a_ceilings_sample_is_the_same_calls_and_its_blocks_of_one_size_all_through(
    fake_side: MakeSide, asked: Asked
) -> None:
    body = """
sample_ns = [400_000, 50_000, 100_000_000][number()]

def ceiling_prepared(request):
    return CeilingPrepared(request.ceiling.id, sample_ns, request.calls or 7, 7.0, "so")
"""
    events = measure(plan([], replicates=3, ceilings=ABOVE[:1]), fake_side(body))
    assert [prepared_ceilings(requests)[ABOVE[0].id] for requests in asked()] == [None, 7, 7]
    assert {event.samples for event in only(CeilingReady, events)} == {8}
    assert {event.block.samples for event in only(BlockMeasured, events)} == {8}


def test_a_slow_ceilings_blocks_hold_few_samples(fake_side: MakeSide) -> None:
    body = """
def ceiling_prepared(request):
    return CeilingPrepared(request.ceiling.id, 100_000_000, 1, 7.0, "so")
"""
    events = measure(plan([], ceilings=ABOVE), fake_side(body))
    assert {event.samples for event in only(CeilingReady, events)} == {MIN_CEILING_SAMPLES}


def test_what_an_earlier_session_did_of_the_ceilings_is_not_done_again(
    fake_side: MakeSide, asked: Asked
) -> None:
    op, copy = (above.id for above in ABOVE)
    settled = ResumeState(
        done={(0, 0), (1, 0), (2, 0), (0, 1)}, samples={op: 33}, calls={op: 11}, workers=4
    )
    events = measure(plan(replicates=3, ceilings=ABOVE), fake_side(), settled)
    assert replicates_done(events) == [(1, 1), (2, 1)]
    assert [prepared_ceilings(requests) for requests in asked()] == [
        {op: 11, copy: None},
        {op: 11, copy: 7},
    ]
    assert {e.samples for e in only(CeilingReady, events) if e.prepared.ceiling == op} == {33}


def test_a_ceiling_that_ended_earlier_is_not_measured_again(
    fake_side: MakeSide, asked: Asked
) -> None:
    settled = ResumeState(ended={ABOVE[0].id})
    events = measure(plan([sumnet()], ceilings=ABOVE), fake_side(), settled)
    assert list(prepared_ceilings(asked()[-1])) == [ABOVE[1].id]
    assert ended(events) == {}


def test_ceilings_of_what_is_not_there_end_with_the_reason(
    fake_side: MakeSide, asked: Asked
) -> None:
    above = [*ABOVE, Ceiling("op", "cuda"), Ceiling("op", threads=9)]
    events = measure(plan([sumnet()], ceilings=above), fake_side())
    assert ended(events) == {
        above[2].id: ("unsupported", "no cuda device here"),
        above[3].id: ("unsupported", "needs 9 cores, one per thread; this process may use 4"),
    }
    assert set(prepared_ceilings(asked()[-1])) == {ABOVE[0].id, ABOVE[1].id}


def test_ceilings_alone_of_what_is_not_there_are_wrong_usage(fake_side: MakeSide) -> None:
    above = [Ceiling("op", "cuda"), Ceiling("sync", "cuda"), Ceiling("op", "mps")]
    with pytest.raises(UsageError) as error:
        measure(plan([], ceilings=above), fake_side())
    assert str(error.value) == (
        "nothing asked for can run here:\n  cuda: no cuda device here\n  mps: no mps device here"
    )


def test_where_no_case_can_run_its_ceilings_are_no_reason_to_go_on(fake_side: MakeSide) -> None:
    with pytest.raises(UsageError) as error:
        measure(plan([CUDA], ceilings=ABOVE), fake_side())
    assert str(error.value) == (
        f"nothing asked for can run here:\n  {CUDA.id}: no cuda device here"
    )


# Compile times

COMPILED = [
    sumnet(compile="on"),
    sumnet(batch=64, compile="step"),
    sumnet(batch=1024, compile="loss"),
]
NAMES = [case.id for case in COMPILED]


def timed(asked: Asked) -> list[str]:
    """The cases whose compile times were asked for, one for each time."""
    reported = [one for requests in asked() for one in requests if isinstance(one, TimeCompile)]
    return [one.case.id for one in reported]


def test_compile_times_are_taken_of_planned_cases_alone_when_all_else_is_done(
    fake_side: MakeSide, asked: Asked
) -> None:
    wanted = [NAMES[0], NAMES[2]]
    events = measure(plan(COMPILED, replicates=2, compile_timed=wanted), fake_side())
    *_, done, first, second, end = events
    assert isinstance(done, ReplicateDone)
    assert only(CompileMeasured, events) == [first, second]
    assert isinstance(end, SessionEnded)
    assert [event.case for event in only(CompileMeasured, events)] == wanted
    assert all(event.cold and event.warm for event in only(CompileMeasured, events))
    assert timed(asked) == [NAMES[0], NAMES[0], NAMES[2], NAMES[2]]
    assert [len(requests) for requests in asked()[2:]] == [1, 1, 1, 1], "a worker for each time"


def test_compile_times_that_an_earlier_session_took_are_not_taken_again(
    fake_side: MakeSide, asked: Asked
) -> None:
    settled = ResumeState(done={(0, 0)}, compile_timed={NAMES[0]})
    events = measure(plan(COMPILED, compile_timed=NAMES[:2]), fake_side(), settled)
    assert [event.case for event in only(CompileMeasured, events)] == [NAMES[1]]
    assert timed(asked) == [NAMES[1], NAMES[1]]


def test_compile_times_are_not_taken_of_a_case_that_ended(
    fake_side: MakeSide, asked: Asked
) -> None:
    body = """
from bench.protocol.messages import Refused
good = prepared

def prepared(request):
    ends = request.case.compile == "loss"
    return Refused(request.case.id, "invalid", "no") if ends else good(request)
"""
    fused = sumnet(implementation="fused", compile="on")
    cases = [fused, *COMPILED]
    wanted = [case.id for case in cases]
    events = measure(plan(cases, compile_timed=wanted), fake_side(body), ResumeState({NAMES[0]}))
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
    assert isinstance(events[-1], SessionEnded)
