"""Compile times: cold is cold and warm is warm, or there is a reason in their place."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.devices.cpu import Cpu
from bench.protocol.messages import CompileTimed, Request, TimeCompile
from bench.runner.compile_times import measure_compile
from bench.runner.events import CompileMeasured
from bench.runner.pool import Deadlines
from bench.runner.process import Side
from tests.cases import sumnet
from tests.runner.conftest import MakeSide
from tests.runner.processes import is_gone

CASE = sumnet(compile="step")
COLD = CompileTimed(CASE.id, 20_000_000, hits=0, misses=1)
WARM = CompileTimed(CASE.id, 1_000_000, hits=1, misses=0)
LATE_S = 60.0

SECOND = """
from bench.protocol.messages import Refused
good, second = compile_timed, number() == 1

def compile_timed(request):
    reply = good(request)
    return {reply} if {which} else reply
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made; there must be none in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def measured(side: Side, deadline_s: float = LATE_S) -> CompileMeasured:
    return measure_compile(CASE, None, side, Deadlines(LATE_S, prepare_compiled_s=deadline_s))


def answering(reply: str, which: str) -> str:
    """A worker that answers so in place of a good reply: in the `first` process, or the second."""
    return SECOND.format(reply=reply, which="not second" if which == "first" else "second")


# With workers that compile nothing


def test_cold_and_warm_come_from_two_processes_that_share_a_cache_of_their_own(
    fake_side: MakeSide, tmp_path: Path, pids: Callable[[], list[int]], temporary: Path
) -> None:
    body = """
good = compile_timed

def compile_timed(request):
    with (FOLDER / "caches").open("a") as file:
        file.write(os.environ["TORCHINDUCTOR_CACHE_DIR"] + "\\n")
    return good(request)
"""
    python = fake_side(body).python
    users = Side(python=python, environment={"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)})
    assert measured(users) == CompileMeasured(CASE.id, COLD, WARM)
    first, second = map(Path, (tmp_path / "caches").read_text().splitlines())
    assert first == second
    assert first.is_relative_to(temporary)
    assert not first.exists()
    assert len(set(pids())) == 2
    assert all(is_gone(pid) for pid in pids())


def test_the_second_case_is_as_cold_as_the_first(fake_side: MakeSide) -> None:
    side = fake_side()
    assert measured(side) == measured(side) == CompileMeasured(CASE.id, COLD, WARM)


def test_each_process_is_on_the_cases_device_and_asked_for_it_alone(
    fake_side: MakeSide,
    settings: Callable[[], list[str]],
    asked: Callable[[], list[list[Request]]],
) -> None:
    case = sumnet(device="cuda:1", compile="on", threads=3)
    measure_compile(case, 0.25, fake_side(), Deadlines())
    assert settings() == ["cuda:1 3"] * 2
    assert asked() == [[TimeCompile(case, 0.25)]] * 2


@pytest.mark.parametrize(
    ("hits", "misses", "reason"),
    [
        (1, 0, "the caches were not empty: no cold time"),
        (1, 1, "the caches were not empty: no cold time"),
        (0, 0, "torch.compile made nothing that it caches: no times"),
    ],
)
def test_a_first_process_that_did_not_compile_everything_gives_no_time(
    fake_side: MakeSide, hits: int, misses: int, reason: str
) -> None:
    body = answering(f"CompileTimed(request.case.id, 5, {hits}, {misses})", "first")
    assert measured(fake_side(body)) == CompileMeasured(CASE.id, reason=reason)


@pytest.mark.parametrize(("hits", "misses"), [(0, 0), (0, 1), (1, 1)])
def test_a_second_process_that_did_not_find_everything_gives_no_warm_time(
    fake_side: MakeSide, hits: int, misses: int
) -> None:
    body = answering(f"CompileTimed(request.case.id, 5, {hits}, {misses})", "second")
    assert measured(fake_side(body)) == CompileMeasured(
        CASE.id, COLD, reason="the caches did not hold all of it: no warm time"
    )


@pytest.mark.parametrize("which", ["first", "second"])
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("Refused(request.case.id, 'failed', 'InductorError: no')", "InductorError: no"),
        ("Refused(request.case.id, 'oom', 'no room')", "no room"),
        ("CompileTimed('cpu/other', 5, 0, 1)", "invalid worker reply"),
        ("Profiled(request.case.id, PROFILE)", "invalid worker reply"),
        ("CompileTimed(request.case.id, 0, 0, 1)", "invalid worker reply"),
        ("os._exit(3)", "the worker exited with status 3"),
        (
            "os.kill(os.getpid(), 9)",
            "the worker was killed by SIGKILL, perhaps out of memory",
        ),
        ("__import__('time').sleep(600)", "no answer within 2 s"),
    ],
    ids=["refused", "oom", "another case", "out of turn", "no time", "exits", "killed", "hangs"],
)
def test_a_time_that_cannot_be_had_is_a_reason_and_leaves_nothing_behind(
    fake_side: MakeSide,
    pids: Callable[[], list[int]],
    temporary: Path,
    which: str,
    reply: str,
    reason: str,
) -> None:
    reported = measured(fake_side(answering(reply, which)), deadline_s=1.5)
    assert (reported.case, reported.cold) == (CASE.id, None if which == "first" else COLD)
    assert reported.warm is None and str(reported.reason).startswith(reason)
    assert len(pids()) == (1 if which == "first" else 2)
    assert all(is_gone(pid) for pid in pids())
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("deed", ["die", "refuse"])
def test_a_reason_names_no_one(
    fake_side: MakeSide, monkeypatch: pytest.MonkeyPatch, deed: str
) -> None:
    """Compilers fail with long paths in what they say, and it is written to a run file."""
    monkeypatch.setenv("HOME", "/home/alice")
    body = """
from bench.protocol.messages import Refused

def compile_timed(request):
    said = "no such file: /home/alice/torch/inductor.h"
    if DIE:
        os.write(2, said.encode())
        os._exit(3)
    return Refused(request.case.id, "failed", said)
"""
    reason = measured(fake_side(body.replace("DIE", str(deed == "die")))).reason
    assert reason is not None
    assert reason.endswith("no such file: ~/torch/inductor.h")


def test_a_worker_that_does_not_start_is_a_reason_and_leaves_nothing_behind(
    fake_side: MakeSide, temporary: Path
) -> None:
    reported = measured(fake_side("if number(): os._exit(5)"))
    assert (reported.cold, reported.warm) == (COLD, None)
    assert reported.reason == "a worker did not start: the worker exited with status 5"
    assert list(temporary.iterdir()) == []


# With a real one


@pytest.mark.skipif(Cpu().facts().compile_refusal is not None, reason="no C++ compiler")
@pytest.mark.slow
def test_a_real_compilation_misses_every_cache_when_cold_and_finds_it_when_warm(
    temporary: Path,
) -> None:
    reported = measured(Side(), deadline_s=600)
    assert reported.reason is None
    assert reported.cold is not None
    assert reported.warm is not None
    assert reported.cold.hits == 0 < reported.cold.misses
    assert reported.warm.misses == 0 < reported.warm.hits
    assert min(reported.cold.first_step_ns, reported.warm.first_step_ns) > 0
    assert list(temporary.iterdir()) == []
