"""What a worker answers: replies to requests, and refusals where something goes wrong."""

import contextlib
import gc
import itertools
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from bench.devices import DEVICES, available_cores, device_named
from bench.devices.cpu import Cpu
from bench.devices.energy import CounterCheck
from bench.matrix.case import Case
from bench.matrix.ceiling import Ceiling
from bench.matrix.step import PHASES
from bench.protocol.messages import (
    CEILING,
    KINDS,
    PHASES_KIND,
    QUANTILES,
    WHOLE_KIND,
    Block,
    CaseVerified,
    CeilingPrepared,
    CompileTimed,
    EnergyMeasured,
    Measure,
    MeasureEnergy,
    PhasesRefused,
    Prepare,
    PrepareCeiling,
    Prepared,
    Profile,
    Profiled,
    Refused,
    Status,
    TimeCompile,
    Verify,
    kinds_of,
    series_of,
)
from bench.protocol.reference_loops import DISPATCH, LARGE_BYTES, MEMORY, reference_loops_for
from bench.protocol.subject import ROOT, subject_hash
from bench.worker.refusals import InvalidCase, PhasesUnclear, TraceError
from bench.worker.server import Server
from bench.worker.verify.float64_run import STEPS, expect
from tests.cases import sumnet
from tests.loops import SUITE
from tests.synthetic import FACTS

CASE = sumnet(optimizer="adam")
NO_MEMORY = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you"


@pytest.fixture(scope="module", autouse=True)
def process_as_it_was() -> Iterator[list[int]]:
    """A worker sets up its whole process; this one goes on after it. Its cores, where known."""
    process, threads = psutil.Process(), torch.get_num_threads()
    config = torch._dynamo.config
    fails = config.fail_on_recompile_limit_hit
    cores = process.cpu_affinity() if hasattr(process, "cpu_affinity") else []
    yield cores
    if cores:
        process.cpu_affinity(cores)
    torch.set_num_threads(threads)
    config.fail_on_recompile_limit_hit = fails
    gc.enable()
    gc.unfreeze()


CXX = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
needs_compiler = pytest.mark.skipif(
    not shutil.which(CXX), reason="torch.compile needs a C++ compiler"
)
quiet = pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")


@pytest.fixture
def compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture(scope="module")
def answers() -> Server:
    return Server(SUITE, "cpu", 1)


@pytest.fixture
def with_case(answers: Server) -> Server:
    assert isinstance(answers.answer(Prepare(CASE)), Prepared)
    return answers


def measure(case: Case, kind: str, samples: int) -> Measure:
    return Measure(case.id, kind, samples, series_of(kind, case.phases))


def prepared(answers: Server, case: Case = CASE) -> Any:
    return answers._cases[case.id]


# Hello


def test_hello_says_what_the_worker_is_and_what_subject_it_loaded(answers: Server) -> None:
    hello = answers.hello()
    assert hello.python == platform.python_version()
    assert hello.facts.torch == torch.__version__
    assert hello.subject_hash == subject_hash(ROOT / "sumnet")
    assert hello.bus_id is None, "a CPU is on no bus"


@pytest.mark.parametrize("threads", [1, 2])
def test_the_process_has_the_threads_and_cores_it_says(
    process_as_it_was: list[int], threads: int
) -> None:
    if process_as_it_was:
        psutil.Process().cpu_affinity(process_as_it_was)
    before = available_cores()
    answers = Server(SUITE, "cpu", threads)
    hello = answers.hello()
    assert hello.threads == torch.get_num_threads() == threads
    assert hello.facts.cores == before, "as many as there were before it was bound to some"
    if hasattr(os, "sched_getaffinity"):
        assert set(hello.cores) == os.sched_getaffinity(0)
        assert len(hello.cores) == min(threads, before)
    else:
        assert hello.cores == []


def test_hello_says_what_waiting_for_the_idle_device_costs_at_least(
    process_as_it_was: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Cpu):
        def synchronize(self) -> None:
            time.sleep(0.001)

    monkeypatch.setattr("bench.worker.server.device_named", lambda name: Slow())
    assert Server(SUITE, "cpu", 1).hello().sync_ns > 500_000


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a cuda device")
def test_a_worker_whose_device_is_not_there_says_so(process_as_it_was: list[int]) -> None:
    answers = Server(SUITE, "cuda:1", 1)
    unavailable = answers.hello().facts.of("cuda:1").unavailable
    assert unavailable is not None
    assert "sees no cuda device" in unavailable


class Unusable(Cpu):
    """A device that is there, and fails when it is used."""

    def _fail(self, *arguments: object) -> Any:
        raise torch.AcceleratorError("CUDA error: device(s) is/are busy\nSearch for it online")


@pytest.mark.parametrize("failing", ["enter", "synchronize", "bus_id"])
def test_a_worker_whose_device_fails_starts_says_why_and_runs_nothing_elsewhere_instead(
    process_as_it_was: list[int], monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    monkeypatch.setattr(Unusable, failing, Unusable._fail)
    monkeypatch.setitem(DEVICES, "cuda", Unusable)
    monkeypatch.setattr("bench.worker.server.probe", lambda: FACTS)
    answers = Server(SUITE, "cuda", 1)
    facts = answers.hello().facts
    reason = facts.of("cuda").unavailable
    assert reason is not None
    assert reason.startswith(
        "cuda cannot be used: AcceleratorError: CUDA error: device(s) is/are busy;"
    )
    assert facts == FACTS.without("cuda", reason)
    there = sumnet(device="cuda")
    for request in (Prepare(there), Verify(there), TimeCompile(there)):
        assert answers.answer(request) == Refused(there.id, "unsupported", reason)
    above = Ceiling("op", "cuda")
    assert answers.answer(PrepareCeiling(above)) == Refused(above.id, "unsupported", reason)
    assert isinstance(answers.answer(Prepare(CASE)), Prepared)


# Answers


def test_a_prepared_case_can_be_measured(with_case: Server) -> None:
    for kind in (PHASES_KIND, *KINDS):
        if kind == CEILING:
            continue
        series = series_of(kind, PHASES)
        block = with_case.answer(measure(CASE, kind, 9))
        assert isinstance(block, Block)
        assert (block.case, block.kind, block.samples) == (CASE.id, kind, 9)
        assert tuple(block.quantiles_ns) == series
        for row in block.quantiles_ns.values():
            assert len(row) == len(QUANTILES)
            assert 0 < row[0] <= row[1] <= row[2] <= row[3]
        assert list(block.readings_ns) == [DISPATCH]
        assert block.readings_ns[DISPATCH] > 0
        assert block.elapsed_ns > 9 * sum(row[0] for row in block.quantiles_ns.values()) / 2


def test_large_cases_read_both_reference_loops(answers: Server) -> None:
    large = sumnet(batch=LARGE_BYTES // 40 + 1)
    prepared = answers.answer(Prepare(large))
    assert isinstance(prepared, Prepared)
    block = answers.answer(measure(large, WHOLE_KIND, 8))
    assert isinstance(block, Block)
    assert tuple(block.readings_ns) == prepared.reference_loops == (DISPATCH, MEMORY)


def test_every_block_starts_from_the_state_the_case_was_verified_in(
    with_case: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = prepared(with_case)._loop
    starts = []
    time_block = prepared(with_case).time

    def recording(kind: str, samples: int) -> Any:
        weight = loop.model[0].weight
        starts.append((weight.detach().clone(), loop.optimizer.state[weight]["step"].item()))
        return time_block(kind, samples)

    monkeypatch.setattr(prepared(with_case), "time", recording)
    for kind in (PHASES_KIND, WHOLE_KIND, PHASES_KIND):
        assert isinstance(with_case.answer(measure(CASE, kind, 8)), Block)
    assert [counter for _, counter in starts] == [STEPS] * 3
    assert all(torch.equal(weight, starts[0][0]) for weight, _ in starts)


def test_reference_loops_are_read_just_before_the_block_and_after_the_state_is_restored(
    with_case: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def noting(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            done.append(what)
            return function(*arguments)

        return noted

    case = prepared(with_case)
    monkeypatch.setattr(case, "restore", noting("restore", case.restore))
    monkeypatch.setattr(case, "time", noting("time", case.time))
    monkeypatch.setattr("bench.worker.server.read_loop", noting("read", lambda *_: 1))
    with_case.answer(measure(CASE, PHASES_KIND, 8))
    assert done == ["restore", "read", "time"]


@pytest.mark.parametrize("unclear", [1, 2])
def test_phases_that_are_unclear_are_timed_once_more_and_then_refused_alone(
    with_case: Server, monkeypatch: pytest.MonkeyPatch, unclear: int
) -> None:
    case, done = prepared(with_case), list[str]()
    restore, time_block = case.restore, case.time

    def restoring() -> None:
        done.append("restore")
        restore()

    def timing(kind: str, samples: int) -> Any:
        done.append("time")
        if done.count("time") <= unclear:
            raise PhasesUnclear("no longer with step than without it")
        return time_block(kind, samples)

    with monkeypatch.context() as patch:
        patch.setattr(case, "restore", restoring)
        patch.setattr(case, "time", timing)
        reply = with_case.answer(measure(CASE, PHASES_KIND, 8))
    assert done == ["restore", "time"] * 2
    if unclear == 1:
        assert isinstance(reply, Block)
    else:
        assert reply == PhasesRefused(CASE.id, "no longer with step than without it")
    assert isinstance(with_case.answer(measure(CASE, WHOLE_KIND, 8)), Block)


def test_no_garbage_is_collected_inside_a_block(
    with_case: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    collections: list[str] = []
    inside = False

    def seen(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            collections.append("inside" if inside else "between")

    time_block = prepared(with_case).time

    def littering(kind: str, samples: int) -> Any:
        nonlocal inside
        inside = True
        litter: list[list[Any]] = [[] for _ in range(20_000)]
        for item in litter:
            item.append(item)
        result = time_block(kind, samples)
        inside = False
        return result

    monkeypatch.setattr(prepared(with_case), "time", littering)
    gc.callbacks.append(seen)
    try:
        for _ in range(3):
            assert isinstance(with_case.answer(measure(CASE, PHASES_KIND, 8)), Block)
    finally:
        gc.callbacks.remove(seen)
    assert collections == ["between"] * 3


def test_cases_stay_resident_beside_each_other(with_case: Server) -> None:
    other = sumnet(batch=64)
    with_case.answer(Prepare(other))
    for case in (CASE, other, CASE):
        block = with_case.answer(measure(case, WHOLE_KIND, 8))
        assert isinstance(block, Block)
        assert block.case == case.id


def test_a_case_is_prepared_with_the_rate_and_the_expectation_it_is_given(
    answers: Server,
) -> None:
    expected = expect(CASE, 0.003)
    prepared = answers.answer(Prepare(CASE, lr=0.003, expected=expected))
    assert isinstance(prepared, Prepared)
    assert prepared.verified is not None
    assert prepared.verified.expected == expected
    assert isinstance(answers.answer(Prepare(CASE, lr=0.004, expected=expected)), Refused)


def test_a_case_that_is_verified_is_held_and_let_go(answers: Server) -> None:
    case = sumnet(optimizer="adagrad", batch=5)
    held = answers.answer(Verify(case))
    assert isinstance(held, CaseVerified)
    assert (held.case, held.verified.expected) == (case.id, expect(case))
    refused = answers.answer(measure(case, WHOLE_KIND, 8))
    assert refused == Refused(case.id, "failed", f"KeyError: '{case.id}'")


def test_a_case_is_verified_with_the_rate_it_is_given(answers: Server) -> None:
    held = answers.answer(Verify(CASE, lr=0.003))
    assert isinstance(held, CaseVerified)
    assert held.verified.expected == expect(CASE, 0.003)
    refused = answers.answer(Verify(CASE, lr=1e30))
    assert isinstance(refused, Refused)
    assert refused.status == "invalid"


def test_a_case_is_profiled_and_its_trace_is_kept_where_that_is_asked_for(
    with_case: Server, tmp_path: Path
) -> None:
    profiled = with_case.answer(Profile(CASE.id))
    assert isinstance(profiled, Profiled)
    assert (profiled.case, tuple(profiled.profile.phases)) == (CASE.id, PHASES)
    assert list(tmp_path.iterdir()) == []
    assert isinstance(with_case.answer(Profile(CASE.id, str(tmp_path))), Profiled)
    name = CASE.id.replace("/", "-")
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.trace.json", f"{name}.folded"}


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (TraceError("the trace is empty"), "failed", "the trace is empty"),
        (RuntimeError("no profiler"), "failed", "RuntimeError: no profiler"),
    ],
)
def test_a_profile_that_cannot_be_had_is_a_refusal(
    with_case: Server,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: Status,
    reason: str,
) -> None:
    def profile_step(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr("bench.worker.prepared_case.profile_step", profile_step)
    assert with_case.answer(Profile(CASE.id)) == Refused(CASE.id, status, reason)


def test_energy_is_measured_where_the_device_counts_it_and_refused_elsewhere(
    with_case: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = iter([None, 100.0, 112.5])
    monkeypatch.setattr(prepared(with_case)._device, "joules", lambda: next(shown))
    refused = with_case.answer(MeasureEnergy(CASE.id, 0.01))
    assert isinstance(refused, Refused)
    assert (refused.case, refused.status) == (CASE.id, "unsupported")
    spent = with_case.answer(MeasureEnergy(CASE.id, 0.01))
    assert isinstance(spent, EnergyMeasured)
    assert (spent.case, spent.joules) == (CASE.id, 12.5)


def test_a_counter_is_checked_once_a_worker(
    with_case: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = itertools.count(100)
    device = prepared(with_case)._device
    monkeypatch.setattr(device, "joules", lambda: float(next(counts)))
    checks: list[CounterCheck] = []

    def unchecked(counter: CounterCheck, train: object) -> str:
        checks.append(counter)
        return "no power"

    monkeypatch.setattr(CounterCheck, "unchecked", unchecked)
    for _ in range(2):
        spent = with_case.answer(MeasureEnergy(CASE.id, 0.01))
        assert isinstance(spent, EnergyMeasured)
        assert spent.unchecked == "no power"
    first, second = checks
    assert first is second


@pytest.mark.parametrize("ask", [lambda case: MeasureEnergy(case, 0.01), Profile])
def test_a_case_that_was_not_prepared_cannot_be_profiled(
    answers: Server, ask: Callable[[str], MeasureEnergy | Profile]
) -> None:
    unprepared = sumnet(batch=97).id
    assert answers.answer(ask(unprepared)) == Refused(
        unprepared, "failed", f"KeyError: '{unprepared}'"
    )


def test_a_prepared_ceiling_can_be_measured_beside_the_cases(with_case: Server) -> None:
    for ceiling in (Ceiling("op"), Ceiling("copy", size=2**20)):
        prepared = with_case.answer(PrepareCeiling(ceiling))
        assert isinstance(prepared, CeilingPrepared)
        assert prepared.ceiling == ceiling.id
        block = with_case.answer(Measure(ceiling.id, CEILING, 8, (CEILING,)))
        assert isinstance(block, Block)
        assert (block.case, block.kind, block.samples) == (ceiling.id, CEILING, 8)
        assert list(block.quantiles_ns) == [CEILING]
        assert min(block.quantiles_ns[CEILING]) > 0
        assert tuple(block.readings_ns) == reference_loops_for(ceiling.size or 0)
    assert isinstance(with_case.answer(measure(CASE, WHOLE_KIND, 8)), Block)


def test_a_sample_of_a_ceiling_is_as_many_calls_as_it_is_asked(answers: Server) -> None:
    own = answers.answer(PrepareCeiling(Ceiling("op")))
    given = answers.answer(PrepareCeiling(Ceiling("op"), calls=3))
    assert isinstance(own, CeilingPrepared) and isinstance(given, CeilingPrepared)
    assert own.calls > given.calls == 3
    assert (own.work, given.work) == (own.calls, 3)


@pytest.mark.parametrize(
    ("ceiling", "status", "said"),
    [
        (Ceiling("matmul", dtype="tf32", size=64), "unsupported", "cpu has none"),
        (Ceiling("matmul", dtype="float8", size=64), "failed", "KeyError: 'float8'"),
        (Ceiling("juggling"), "failed", "KeyError: 'juggling'"),
    ],
)
def test_a_ceiling_that_cannot_be_measured_is_a_refusal(
    answers: Server, ceiling: Ceiling, status: Status, said: str
) -> None:
    reply = answers.answer(PrepareCeiling(ceiling))
    assert isinstance(reply, Refused)
    assert (reply.case, reply.status) == (ceiling.id, status)
    assert said in reply.reason
    assert isinstance(answers.answer(Measure(ceiling.id, CEILING, 8, (CEILING,))), Refused)


@pytest.mark.parametrize("error", [InvalidCase("no longer than the call"), MemoryError()])
def test_what_goes_wrong_in_a_ceilings_block_is_a_refusal(
    answers: Server, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def time(kind: str, samples: int) -> Any:
        raise error

    ceiling = Ceiling("allocation")
    answers.answer(PrepareCeiling(ceiling))
    monkeypatch.setattr(answers._prepared[ceiling.id], "time", time)
    reply = answers.answer(Measure(ceiling.id, CEILING, 8, (CEILING,)))
    assert isinstance(reply, Refused)
    assert reply.status == ("oom" if isinstance(error, MemoryError) else "invalid")


def test_a_first_step_is_timed_on_a_device_that_is_warm(
    answers: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a library and a first kernel take to start is no part of compiling."""
    done: list[str] = []

    class Warm(Cpu):
        def warm_up(self) -> None:
            done.append("warm up")

    def clock() -> int:
        done.append("clock")
        return len(done)

    linear = torch.nn.functional.linear
    with monkeypatch.context() as patch:
        patch.setattr(answers, "_device", Warm())
        patch.setattr("bench.worker.server.time", SimpleNamespace(perf_counter_ns=clock))
        patch.setattr(
            torch.nn.functional, "linear", lambda *given: done.append("product") or linear(*given)
        )
        assert isinstance(answers.answer(TimeCompile(CASE)), CompileTimed)
    assert done == ["warm up", "clock", "product", "product", "clock"]


@needs_compiler
@quiet
@pytest.mark.slow
def test_a_first_step_is_compiled_anew_and_then_comes_out_of_the_cache(
    answers: Server, compiler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    request = TimeCompile(sumnet(compile="loss", batch=6, hidden=11))
    cold = answers.answer(request)
    torch.compiler.reset()
    warm = answers.answer(request)
    assert isinstance(cold, CompileTimed)
    assert isinstance(warm, CompileTimed)
    assert cold.case == warm.case == request.case.id
    assert cold.hits == 0
    assert cold.misses >= 1, "the loss, and its backward"
    assert warm.hits >= 1
    assert warm.misses == 0
    assert min(cold.first_step_ns, warm.first_step_ns) > 0
    assert any(tmp_path.iterdir())


@contextlib.contextmanager
def shared_caches() -> Iterator[None]:
    """torch.compile as it was before it could keep loops apart, with room for one of them."""
    with pytest.MonkeyPatch.context() as patch, torch._dynamo.config.patch(recompile_limit=1):
        patch.setattr(
            "bench.worker.loop._compile",
            lambda function, mode: torch.compile(function, dynamic=False, mode=mode),
        )
        yield


@needs_compiler
@quiet
@pytest.mark.slow
def test_a_case_that_passes_the_recompile_limit_is_invalid_and_not_a_failure(
    answers: Server, compiler: None
) -> None:
    first, second = (sumnet(compile="loss", batch=batch) for batch in (2, 3))
    with shared_caches():
        assert isinstance(answers.answer(Prepare(first)), Prepared)
        assert answers.answer(Prepare(second)) == Refused(
            second.id, "invalid", "it passed torch.compile's recompile limit: it ran eager"
        )
    torch.compiler.reset()
    assert isinstance(answers.answer(Prepare(second)), Prepared)


@pytest.mark.slow
@needs_compiler
@quiet
def test_of_a_case_that_was_verified_the_compiler_keeps_nothing(
    answers: Server, compiler: None
) -> None:
    with shared_caches():
        for batch in (2, 3):
            assert isinstance(
                answers.answer(Verify(sumnet(compile="loss", batch=batch))), CaseVerified
            )


@pytest.mark.slow
@needs_compiler
@quiet
def test_a_compiled_case_that_would_compile_anew_inside_a_block_is_a_refusal(
    answers: Server, compiler: None
) -> None:
    case = sumnet(compile="loss")
    assert isinstance(answers.answer(Prepare(case)), Prepared)
    assert isinstance(answers.answer(measure(case, WHOLE_KIND, 8)), Block)
    prepared(answers, case)._loop.model.double()
    reply = answers.answer(measure(case, WHOLE_KIND, 8))
    assert isinstance(reply, Refused)
    assert reply.status == "failed"
    assert "recompile" in reply.reason.lower()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
def test_cuda_answers_each_kind_of_request(process_as_it_was: list[int]) -> None:
    answers, case = Server(SUITE, "cuda", 1), sumnet(device="cuda", batch=1024)
    assert isinstance(answers.answer(Verify(case)), CaseVerified)
    assert isinstance(answers.answer(Prepare(case)), Prepared)
    for kind in kinds_of(case):
        assert isinstance(answers.answer(measure(case, kind, 8)), Block)
    profiled = answers.answer(Profile(case.id))
    assert isinstance(profiled, Profiled)
    assert profiled.profile.busy_ns
    ceiling = Ceiling("launch", "cuda")
    assert isinstance(answers.answer(PrepareCeiling(ceiling)), CeilingPrepared)
    assert isinstance(answers.answer(Measure(ceiling.id, CEILING, 8, (CEILING,))), Block)
    assert answers.hello().bus_id == device_named("cuda").bus_id()


# Refusals

ASKED = pytest.mark.parametrize("ask", [Prepare, Verify, TimeCompile])
ERRORS = [
    (InvalidCase("the loss is nan"), "invalid", "the loss is nan"),
    (RuntimeError("boom"), "failed", "RuntimeError: boom"),
    (RuntimeError("\n  boom\nand more\n"), "failed", "RuntimeError: boom"),
    (ValueError(), "failed", "ValueError: no message"),
    (KeyError("step"), "failed", "KeyError: 'step'"),
    (RecursionError("too deep"), "failed", "RecursionError: too deep"),
    (MemoryError(), "oom", "MemoryError: no message"),
    (RuntimeError("MPS backend out of memory"), "oom", "RuntimeError: MPS backend out of memory"),
    (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), "oom", "RuntimeError: CUBLAS_STATUS_ALLOC_FAILED"),
    (RuntimeError(f"{NO_MEMORY}\nmore"), "oom", f"RuntimeError: {NO_MEMORY}"),
    (torch.OutOfMemoryError("2 GiB"), "oom", "OutOfMemoryError: 2 GiB"),
]

every_error = pytest.mark.parametrize(
    ("error", "status", "reason"), ERRORS, ids=[f"{type(row[0]).__name__}" for row in ERRORS]
)


@every_error
@ASKED
def test_what_goes_wrong_in_building_is_a_refusal(
    answers: Server,
    monkeypatch: pytest.MonkeyPatch,
    ask: type[Prepare | Verify | TimeCompile],
    error: Exception,
    status: Status,
    reason: str,
) -> None:
    def build_loop(*arguments: Any, **options: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("bench.worker.steps.loop_over", build_loop)
        assert answers.answer(ask(CASE)) == Refused(CASE.id, status, reason)
    assert not isinstance(answers.answer(ask(CASE)), Refused), "the worker itself is well"


@every_error
def test_what_goes_wrong_in_measuring_is_a_refusal(
    with_case: Server,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: Status,
    reason: str,
) -> None:
    def time(kind: str, samples: int) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(prepared(with_case), "time", time)
        reply = with_case.answer(measure(CASE, PHASES_KIND, 8))
        assert reply == Refused(CASE.id, status, reason)
    assert isinstance(with_case.answer(measure(CASE, PHASES_KIND, 8)), Block)


@ASKED
def test_an_allocation_torch_cannot_make_is_out_of_memory(
    answers: Server,
    monkeypatch: pytest.MonkeyPatch,
    ask: type[Prepare | Verify | TimeCompile],
) -> None:
    monkeypatch.setattr(
        "bench.worker.steps.loop_over",
        lambda *arguments, **options: torch.empty(2**50, dtype=torch.uint8),
    )
    reply = answers.answer(ask(CASE))
    assert isinstance(reply, Refused)
    assert reply.status == "oom"
    assert "can't allocate memory" in reply.reason


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_worker_is_no_refusal(
    answers: Server, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def build_loop(*arguments: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr("bench.worker.steps.loop_over", build_loop)
    with pytest.raises(error):
        answers.answer(Prepare(CASE))


def test_a_case_that_was_not_prepared_cannot_be_measured(answers: Server) -> None:
    unprepared = sumnet(batch=99).id
    reply = answers.answer(Measure(unprepared, PHASES_KIND, 8, PHASES))
    assert reply == Refused(unprepared, "failed", f"KeyError: '{unprepared}'")


def test_a_case_that_was_refused_is_not_resident(answers: Server) -> None:
    refused = sumnet(batch=98)
    assert isinstance(answers.answer(Prepare(refused, lr=1e30)), Refused)
    assert isinstance(answers.answer(measure(refused, PHASES_KIND, 8)), Refused)


def test_an_optimizer_no_subject_has_is_a_refusal(answers: Server) -> None:
    lion = sumnet(optimizer="lion")
    assert answers.answer(Prepare(lion)) == Refused(lion.id, "failed", "KeyError: 'lion'")


def test_a_case_on_a_device_that_is_not_there_is_a_refusal(answers: Server) -> None:
    reply = answers.answer(Prepare(sumnet(device="mps")))
    assert isinstance(reply, Refused)
    assert reply.status == "unsupported"
