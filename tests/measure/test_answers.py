"""What a worker answers: replies to requests, and refusals where something goes wrong."""

import gc
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import sumnet
from bench.devices import available_cores
from bench.matrix.case import Case
from bench.measure.answers import Answers
from bench.measure.metronome import DISPATCH, LARGE_BYTES, MEMORY
from bench.measure.protocol import (
    KINDS,
    PHASES_KIND,
    QUANTILES,
    WHOLE_KIND,
    Block,
    Measure,
    Prepare,
    Prepared,
    Refused,
    subject_hash,
)
from bench.measure.verify import STEPS, InvalidCase

CASE = Case(optimizer="adam")
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


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers("cpu", 1)


@pytest.fixture
def with_case(answers: Answers) -> Answers:
    assert isinstance(answers.answer(Prepare(CASE)), Prepared)
    return answers


def resident(answers: Answers, case: Case = CASE) -> Any:
    return answers._residents[case.id]


# Hello


def test_hello_says_what_the_worker_is_and_what_subject_it_loaded(answers: Answers) -> None:
    hello = answers.hello()
    folder = Path(sumnet.__file__).parent
    assert hello.python == platform.python_version()
    assert hello.facts.torch == torch.__version__
    assert hello.subject_hash == subject_hash(folder)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_process_has_the_threads_and_cores_it_says(
    process_as_it_was: list[int], threads: int
) -> None:
    if process_as_it_was:
        psutil.Process().cpu_affinity(process_as_it_was)
    before = available_cores()
    answers = Answers("cpu", threads)
    hello = answers.hello()
    assert hello.threads == torch.get_num_threads() == threads
    assert hello.facts.cores == before, "as many as there were before it was bound to some"
    if hasattr(os, "sched_getaffinity"):
        assert set(hello.cores) == os.sched_getaffinity(0)
        assert len(hello.cores) == min(threads, before)
    else:
        assert hello.cores == []


# Answers


def test_a_prepared_case_can_be_measured(with_case: Answers) -> None:
    for kind, series in KINDS.items():
        block = with_case.answer(Measure(CASE.id, kind, 9))
        assert isinstance(block, Block)
        assert (block.case, block.kind, block.samples) == (CASE.id, kind, 9)
        assert tuple(block.quantiles_ns) == series
        for row in block.quantiles_ns.values():
            assert len(row) == len(QUANTILES)
            assert 0 < row[0] <= row[1] <= row[2] <= row[3]
        assert list(block.readings_ns) == [DISPATCH]
        assert block.readings_ns[DISPATCH] > 0
        assert block.elapsed_ns > 9 * sum(row[0] for row in block.quantiles_ns.values()) / 2


def test_large_cases_are_read_against_both_metronomes(answers: Answers) -> None:
    large = Case(batch=LARGE_BYTES // 40 + 1)
    prepared = answers.answer(Prepare(large))
    assert isinstance(prepared, Prepared)
    block = answers.answer(Measure(large.id, WHOLE_KIND, 8))
    assert isinstance(block, Block)
    assert tuple(block.readings_ns) == prepared.metronomes == (DISPATCH, MEMORY)


def test_every_block_starts_from_the_state_the_case_was_verified_in(
    with_case: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = resident(with_case)._loop
    starts = []
    time_block = resident(with_case).time

    def recording(kind: str, samples: int) -> Any:
        weight = loop.model[0].weight
        starts.append((weight.detach().clone(), loop.optimizer.state[weight]["step"].item()))
        return time_block(kind, samples)

    monkeypatch.setattr(resident(with_case), "time", recording)
    for kind in (PHASES_KIND, WHOLE_KIND, PHASES_KIND):
        assert isinstance(with_case.answer(Measure(CASE.id, kind, 8)), Block)
    assert [counter for _, counter in starts] == [STEPS] * 3
    assert all(torch.equal(weight, starts[0][0]) for weight, _ in starts)


def test_the_metronomes_are_heard_just_before_the_block_and_after_the_state_is_put_back(
    with_case: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def noting(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            done.append(what)
            return function(*arguments)

        return noted

    case = resident(with_case)
    monkeypatch.setattr(case, "restore", noting("restore", case.restore))
    monkeypatch.setattr(case, "time", noting("time", case.time))
    monkeypatch.setattr("bench.measure.answers.listen", noting("listen", lambda *_: 1))
    with_case.answer(Measure(CASE.id, PHASES_KIND, 8))
    assert done == ["restore", "listen", "time"]


def test_no_garbage_is_collected_inside_a_block(
    with_case: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    collections: list[str] = []
    inside = False

    def seen(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            collections.append("inside" if inside else "between")

    time_block = resident(with_case).time

    def littering(kind: str, samples: int) -> Any:
        nonlocal inside
        inside = True
        litter: list[list[Any]] = [[] for _ in range(20_000)]
        for item in litter:
            item.append(item)
        result = time_block(kind, samples)
        inside = False
        return result

    monkeypatch.setattr(resident(with_case), "time", littering)
    gc.callbacks.append(seen)
    try:
        for _ in range(3):
            assert isinstance(with_case.answer(Measure(CASE.id, PHASES_KIND, 8)), Block)
    finally:
        gc.callbacks.remove(seen)
    assert collections == ["between"] * 3


def test_cases_stay_resident_beside_each_other(with_case: Answers) -> None:
    other = Case(batch=64)
    with_case.answer(Prepare(other))
    for case in (CASE, other, CASE):
        block = with_case.answer(Measure(case.id, WHOLE_KIND, 8))
        assert isinstance(block, Block)
        assert block.case == case.id


# Refusals

ERRORS = [
    (InvalidCase("the loss is nan"), "invalid", "the loss is nan"),
    (RuntimeError("boom"), "failed", "RuntimeError: boom"),
    (RuntimeError("\n  boom\nand more\n"), "failed", "RuntimeError: boom"),
    (ValueError(), "failed", "ValueError: no message"),
    (KeyError("step"), "failed", "KeyError: 'step'"),
    (RecursionError("too deep"), "failed", "RecursionError: too deep"),
    (MemoryError(), "oom", "MemoryError: no message"),
    (RuntimeError(f"{NO_MEMORY}\nmore"), "oom", f"RuntimeError: {NO_MEMORY}"),
    (torch.OutOfMemoryError("2 GiB"), "oom", "OutOfMemoryError: 2 GiB"),
]

every_error = pytest.mark.parametrize(
    ("error", "status", "reason"), ERRORS, ids=[f"{type(row[0]).__name__}" for row in ERRORS]
)


@every_error
def test_what_goes_wrong_in_preparing_is_a_refusal(
    answers: Answers,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: str,
    reason: str,
) -> None:
    def build_loop(*arguments: Any, **options: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("bench.measure.resident.build_loop", build_loop)
        assert answers.answer(Prepare(CASE)) == Refused(CASE.id, status, reason)
    assert isinstance(answers.answer(Prepare(CASE)), Prepared), "the worker itself is well"


@every_error
def test_what_goes_wrong_in_measuring_is_a_refusal(
    with_case: Answers,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: str,
    reason: str,
) -> None:
    def time(kind: str, samples: int) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(resident(with_case), "time", time)
        reply = with_case.answer(Measure(CASE.id, PHASES_KIND, 8))
        assert reply == Refused(CASE.id, status, reason)
    assert isinstance(with_case.answer(Measure(CASE.id, PHASES_KIND, 8)), Block)


def test_an_allocation_torch_cannot_make_is_out_of_memory(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bench.measure.resident.build_loop",
        lambda *arguments, **options: torch.empty(2**50, dtype=torch.uint8),
    )
    reply = answers.answer(Prepare(CASE))
    assert isinstance(reply, Refused)
    assert reply.status == "oom"
    assert "can't allocate memory" in reply.reason


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_worker_is_no_refusal(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def build_loop(*arguments: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr("bench.measure.resident.build_loop", build_loop)
    with pytest.raises(error):
        answers.answer(Prepare(CASE))


def test_a_case_that_was_not_prepared_cannot_be_measured(answers: Answers) -> None:
    unheard = Case(batch=99).id
    reply = answers.answer(Measure(unheard, PHASES_KIND, 8))
    assert reply == Refused(unheard, "failed", f"KeyError: '{unheard}'")


def test_a_case_that_was_refused_is_not_resident(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.measure.verify.FALLEN", 0.0)
    refused = Case(batch=98)
    assert isinstance(answers.answer(Prepare(refused)), Refused)
    assert isinstance(answers.answer(Measure(refused.id, PHASES_KIND, 8)), Refused)


def test_an_optimizer_no_subject_has_is_a_refusal(answers: Answers) -> None:
    lion = Case(optimizer="lion")
    assert answers.answer(Prepare(lion)) == Refused(lion.id, "failed", "KeyError: 'lion'")


def test_a_case_on_a_device_that_is_not_there_is_a_refusal(answers: Answers) -> None:
    reply = answers.answer(Prepare(Case(device="mps")))
    assert isinstance(reply, Refused)
    assert reply.status == "failed"
