"""A worker seen from outside: how it starts, answers, is lost, and is ended with its children."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
import torch

from bench.errors import MachineError
from bench.matrix.case import WHOLE
from bench.protocol.interpreter import describe
from bench.protocol.messages import (
    WHOLE_KIND,
    Block,
    Hello,
    Interpreter,
    Measure,
    Prepare,
    Prepared,
    Refused,
)
from bench.protocol.subject import ROOT, subject_hash
from bench.runner import process as worker_process
from bench.runner.process import WORKER, Side, WorkerLost, WorkerProcess
from tests.cases import sumnet
from tests.runner.conftest import MakeSide
from tests.runner.processes import is_gone

SOON_S = 0.3
LATE_S = 60.0
PREPARE = Prepare(sumnet())


@pytest.fixture
def started() -> Iterator[list[WorkerProcess]]:
    workers: list[WorkerProcess] = []
    yield workers
    for worker in workers:
        worker.close()


def lost(worker: WorkerProcess, deadline_s: float = LATE_S) -> WorkerLost:
    with pytest.raises(WorkerLost) as lost:
        worker.ask(PREPARE, deadline_s)
    return lost.value


def start(side: Side, threads: int = 1) -> WorkerProcess:
    worker = WorkerProcess(side, "cpu", threads)
    worker.greet(LATE_S)
    return worker


def refusal_to_start(side: Side, hello_s: float = LATE_S) -> str:
    with pytest.raises((MachineError, WorkerLost)) as error:
        worker = WorkerProcess(side, "cpu", 1)
        try:
            worker.greet(hello_s)
        finally:
            worker.close()
    return str(error.value)


# One that is well


def test_a_worker_sends_hello_and_answers_in_turn(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    started.append(worker := start(fake_side(), threads=3))
    assert worker.setting == ("cpu", 3)
    assert worker.hello.threads == 3
    assert worker.startup_s > 0
    assert psutil.Process(worker.pid).ppid() == os.getpid()
    assert isinstance(worker.ask(PREPARE, LATE_S), Prepared)
    for samples in (8, 9):
        reply = worker.ask(Measure(sumnet().id, WHOLE_KIND, samples, (WHOLE,)), LATE_S)
        assert isinstance(reply, Block)
        assert reply.samples == samples


def test_it_is_run_as_the_worker_module_with_its_device_and_threads(tmp_path: Path) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/words"\n')
    interpreter.chmod(0o755)
    worker = WorkerProcess(Side(python=str(interpreter)), "cuda:1", 3)
    with pytest.raises(WorkerLost):
        worker.greet(LATE_S)
    worker.close()
    words = (tmp_path / "words").read_text().split()
    assert words == ["-P", str(WORKER), words[2], str(ROOT), "cuda:1", "3"]
    assert int(words[2]) > 2, "not one of the standard streams"


def test_its_environment_is_ours_and_the_sides(
    tmp_path: Path, script_side: MakeSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_OURS", "1")
    monkeypatch.setenv("OF_BOTH", "ours")
    monkeypatch.setenv("PYTHONPATH", "/a:/b")
    python = script_side(f'env > "{tmp_path}/environment"').python
    environment = {"OF_THE_SIDE": "2", "OF_BOTH": "its"}
    side = Side("head", python, tmp_path / "subject", environment=environment)
    refusal_to_start(side)
    lines = (tmp_path / "environment").read_text().splitlines()
    assert {"OF_OURS=1", "OF_THE_SIDE=2", "OF_BOTH=its"} <= set(lines)
    assert [line for line in lines if line.startswith("PYTHONPATH=")] == ["PYTHONPATH=/a:/b"]


def test_a_reply_in_pieces_is_put_together(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    body = """
import time

def say(reply):
    text = msgspec.json.encode(reply) + b"\\n"
    for start in range(0, len(text), 100):
        shout(text[start : start + 100])
        time.sleep(0.005)
"""
    started.append(worker := start(fake_side(body)))
    assert isinstance(worker.ask(PREPARE, LATE_S), Prepared)


def test_a_reply_longer_than_a_pipe_holds_arrives(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    body = """
def prepared(request):
    return Prepared(request.case.id, 1, 1, ("x" * 1_000_000,), VERIFIED)

def say(reply):
    with os.fdopen(CHANNEL, "wb", closefd=False) as replies:
        replies.write(msgspec.json.encode(reply) + b"\\n")
"""
    started.append(worker := start(fake_side(body)))
    reply = worker.ask(PREPARE, LATE_S)
    assert isinstance(reply, Prepared)
    assert reply.reference_loops == ("x" * 1_000_000,)


def test_what_it_prints_to_standard_error_is_no_reply(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    body = """
def prepared(request):
    os.write(2, b"a warning\\n" * 100_000)
    return Prepared(request.case.id, 1, 1, (), VERIFIED)
"""
    started.append(worker := start(fake_side(body)))
    assert isinstance(worker.ask(PREPARE, LATE_S), Prepared)


# One that does not start


def test_an_interpreter_that_does_not_exist_is_named(tmp_path: Path) -> None:
    python = str(tmp_path / "no" / "python")
    reason = refusal_to_start(Side(python=python))
    assert reason == f"cannot start {python}: No such file or directory"


def test_an_interpreter_that_may_not_be_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("")
    reason = refusal_to_start(Side(python=str(tmp_path / "python")))
    assert reason == f"cannot start {tmp_path / 'python'}: Permission denied"


def test_one_that_exits_at_once_is_reported_with_its_status_and_last_words(
    script_side: MakeSide,
) -> None:
    side = script_side("echo first >&2; echo '  no such module  ' >&2; exit 3")
    assert refusal_to_start(side) == ("the worker exited with status 3: no such module")


def test_one_that_exits_without_a_word_is_reported_with_its_status(script_side: MakeSide) -> None:
    assert refusal_to_start(script_side("exit 0")) == ("the worker exited with status 0")


def test_one_that_never_sends_hello_is_ended(script_side: MakeSide) -> None:
    us = psutil.Process()
    before = us.children(recursive=True)
    reason = refusal_to_start(script_side("sleep 600"), SOON_S)
    assert reason.startswith("no answer within")
    assert [child for child in us.children(recursive=True) if child not in before] == []


def test_one_that_sends_something_else_first_does_not_count_as_started(fake_side: MakeSide) -> None:
    body = """
from bench.matrix.case import Case

def start():
    say(prepared(Prepare(Case())))
"""
    assert refusal_to_start(fake_side(body)) == ("it did not send hello first")


def test_reply_that_cannot_be_read_is_quoted(fake_side: MakeSide) -> None:
    reason = refusal_to_start(fake_side("def start(): shout(b'Welcome to Python\\n')"))
    assert reason.startswith("the worker's reply could not be read: 'Welcome to Python' (")


def test_such_a_reply_is_quoted_in_part_and_need_not_be_text(fake_side: MakeSide) -> None:
    reason = refusal_to_start(fake_side("def start(): shout(b'\\377' + b'0' * 500 + b'\\n')"))
    assert "'\N{REPLACEMENT CHARACTER}" + "0" * 79 + "'" in reason


def test_no_file_is_left_open_where_it_does_not_start(
    script_side: MakeSide, tmp_path: Path
) -> None:
    us = psutil.Process()
    before = us.num_fds()
    for side in (script_side("exit 3"), Side(python=str(tmp_path / "none"))):
        refusal_to_start(side)
        assert us.num_fds() == before


# One that is lost


def test_one_that_kills_itself_is_killed_and_memory_may_be_why(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    body = "import signal\ndef prepared(request): os.kill(os.getpid(), signal.SIGKILL)"
    started.append(worker := start(fake_side(body)))
    ended = lost(worker)
    assert ended.status == "killed"
    assert ended.reason == "the worker was killed by SIGKILL, perhaps out of memory"
    assert str(ended) == ended.reason


def test_one_that_crashes_is_killed_and_its_last_words_are_reported(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    body = """
import signal

def prepared(request):
    os.write(2, b"a warning\\ncorrupted double-linked list\\n")
    os.kill(os.getpid(), signal.SIGSEGV)
"""
    started.append(worker := start(fake_side(body)))
    ended = lost(worker)
    assert ended.status == "killed"
    assert ended.reason == "the worker was killed by SIGSEGV: corrupted double-linked list"


def test_a_signal_without_a_name_is_reported_by_its_number(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    body = "import signal\ndef prepared(request): os.kill(os.getpid(), signal.SIGRTMIN + 3)"
    started.append(worker := start(fake_side(body)))
    ended = lost(worker)
    assert ended.status == "killed"
    assert ended.reason == f"the worker was killed by signal {signal.SIGRTMIN + 3}"


def test_one_that_exits_failed(fake_side: MakeSide, started: list[WorkerProcess]) -> None:
    started.append(worker := start(fake_side("def prepared(request): os._exit(7)")))
    ended = lost(worker)
    assert (ended.status, ended.reason) == ("failed", "the worker exited with status 7")


def test_one_that_died_between_two_requests_is_noticed_at_the_next(
    fake_side: MakeSide, started: list[WorkerProcess], tmp_path: Path
) -> None:
    started.append(worker := start(fake_side()))
    worker.ask(PREPARE, LATE_S)
    pid = int((tmp_path / "log").read_text().split()[0])
    os.kill(pid, signal.SIGTERM)
    assert is_gone(pid)
    ended = lost(worker)
    assert (ended.status, ended.reason) == ("killed", "the worker was killed by SIGTERM")


def test_one_that_hangs_is_timed_out(fake_side: MakeSide, started: list[WorkerProcess]) -> None:
    body = "import time\ndef prepared(request): time.sleep(600)"
    started.append(worker := start(fake_side(body)))
    ended = lost(worker, SOON_S)
    assert ended.status == "timeout"
    assert ended.reason.startswith("no answer within")


def test_one_that_hangs_in_the_middle_of_a_reply_is_timed_out(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    body = """
import time

def prepared(request):
    while True:
        shout(b" ")
        time.sleep(0.02)
"""
    started.append(worker := start(fake_side(body)))
    assert lost(worker, SOON_S).status == "timeout"


def test_one_whose_reply_cannot_be_read_failed(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    started.append(worker := start(fake_side('def prepared(request): shout(b"42 ms\\n")')))
    ended = lost(worker)
    assert ended.status == "failed"
    assert ended.reason.startswith("the worker's reply could not be read: '42 ms' (")


def test_one_that_sends_hello_twice_has_sent_an_invalid_reply(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    started.append(worker := start(fake_side("def start(): say(hello()); say(hello())")))
    ended = lost(worker)
    assert ended.status == "failed"
    assert ended.reason.startswith("invalid worker reply")


def test_one_that_closes_its_channel_and_stays_failed(
    fake_side: MakeSide, started: list[WorkerProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "TERMINATE_S", SOON_S)
    body = "import time\ndef prepared(request): os.close(CHANNEL); time.sleep(600)"
    started.append(worker := start(fake_side(body)))
    ended = lost(worker)
    assert ended.status == "failed"
    assert ended.reason == "the worker closed its channel and went on running"


# Its end


def test_closing_ends_it(fake_side: MakeSide, tmp_path: Path) -> None:
    worker = start(fake_side())
    worker.close()
    assert is_gone(int((tmp_path / "log").read_text().split()[0]))


def test_closing_twice_or_after_its_death_is_no_error(fake_side: MakeSide) -> None:
    worker = start(fake_side("def prepared(request): os._exit(7)"))
    lost(worker)
    worker.close()
    worker.close()


def test_closing_leaves_no_file_open(fake_side: MakeSide) -> None:
    us = psutil.Process()
    side = fake_side()
    before = us.num_fds()
    worker = start(side)
    assert us.num_fds() > before
    worker.close()
    assert us.num_fds() == before


def test_one_that_ignores_being_asked_is_killed(
    fake_side: MakeSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "TERMINATE_S", SOON_S)
    worker = start(fake_side("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)"))
    worker.ask(PREPARE, LATE_S)
    worker.close()
    assert is_gone(int((tmp_path / "log").read_text().split()[0]))


def test_one_that_cannot_be_killed_is_left_behind(
    fake_side: MakeSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = start(fake_side())
    with monkeypatch.context() as patch:
        patch.setattr(worker_process, "TERMINATE_S", SOON_S)
        patch.setattr(worker_process, "KILL_S", SOON_S)
        patch.setattr(os, "killpg", lambda *_: None)
        worker.close()
    assert is_gone(worker.pid), "it went by itself when its channel was closed"


GRANDCHILD = """
import subprocess

def prepared(request):
    script = 'trap "" TERM; echo ready; exec sleep 600'
    child = subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    child.stdout.readline()
    (FOLDER / "grandchild").write_text(str(child.pid))
    DIE
    return Prepared(request.case.id, 1, 1, (), VERIFIED)
"""


@pytest.mark.parametrize("death", ["pass", "os._exit(3)"], ids=["asked to end", "dead already"])
def test_closing_ends_a_grandchild_that_ignores_being_asked(
    fake_side: MakeSide, tmp_path: Path, death: str
) -> None:
    worker = start(fake_side(GRANDCHILD.replace("DIE", death)))
    if death == "pass":
        worker.ask(PREPARE, LATE_S)
    else:
        assert lost(worker).reason == "the worker exited with status 3"
    grandchild = psutil.Process(int((tmp_path / "grandchild").read_text()))
    assert grandchild.is_running()
    worker.close()
    assert is_gone(grandchild.pid)


# Its surroundings

NOISY = """
import atexit, os, sys
print("printed at start", flush=True)
os.write(1, b"written at start\\n")
sys.stdin.read()
os.close(0)
atexit.register(print, "printed at exit")
"""
"""A sitecustomize: what any environment may run in a worker before it is one."""


@pytest.fixture
def noisy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python prints when it starts, reads its input to the end and closes it."""
    folder = tmp_path / "noisy"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(NOISY)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.usefixtures("noisy")
def test_what_runs_when_python_starts_or_ends_is_no_reply(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    started.append(worker := start(fake_side("def block(request): sys.exit(5)")))
    assert isinstance(worker.ask(PREPARE, LATE_S), Prepared)
    with pytest.raises(WorkerLost) as ended:
        worker.ask(Measure(sumnet().id, WHOLE_KIND, 8, (WHOLE,)), LATE_S)
    assert ended.value.reason == "the worker exited with status 5: printed at exit"


@pytest.mark.usefixtures("noisy")
def test_what_it_printed_before_its_last_reply_is_not_about_its_end(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    started.append(worker := start(fake_side("def prepared(request): os._exit(7)")))
    assert lost(worker).reason == "the worker exited with status 7"


@pytest.mark.usefixtures("noisy")
def test_exception_that_ends_it_is_reported_whatever_is_printed_at_exit(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    started.append(worker := start(fake_side("def prepared(request): return 1 / 0")))
    reason = lost(worker).reason
    said = "the worker exited with status 1: ZeroDivisionError: division by zero ("
    assert reason.startswith(said) and reason.endswith("overrides.py, line 1)")


@pytest.mark.parametrize("how", ["start_new_session=True", "process_group=0"])
def test_what_it_started_in_a_session_or_group_of_its_own_ends_with_it(
    fake_side: MakeSide, tmp_path: Path, how: str
) -> None:
    body = f"""
import subprocess

def prepared(request):
    child = subprocess.Popen(["sh", "-c", 'trap "" TERM; exec sleep 600'], {how})
    Path({str(tmp_path)!r}, "child").write_text(str(child.pid))
    return Prepared(request.case.id, 1_000_000, 18, (), VERIFIED)
"""
    worker = start(fake_side(body))
    worker.ask(PREPARE, LATE_S)
    child = int((tmp_path / "child").read_text())
    assert psutil.Process(child).status() != psutil.STATUS_ZOMBIE
    worker.close()
    assert is_gone(child)


PRINTS = """
import threading, time

def flood():
    while True:
        os.write(1, b"x" * 2**20)
        time.sleep(0.005)

def prepared(request):
    threading.Thread(target=flood, daemon=True).start()
    {then}
    return Prepared(request.case.id, 1_000_000, 18, (), VERIFIED)
"""


def test_output_without_end_is_bounded_and_costs_nothing_else(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    started.append(worker := start(fake_side(PRINTS.format(then="time.sleep(3)"))))
    assert isinstance(worker.ask(PREPARE, LATE_S), Prepared)
    size = os.fstat(worker._output.fileno()).st_size
    printed_between_looks = worker_process.LOOK_S * 200 * 2**20
    assert size < worker_process.MAX_PRINTED + 3 * printed_between_looks


def test_one_that_prints_and_never_answers_is_ended_in_time(
    fake_side: MakeSide, started: list[WorkerProcess]
) -> None:
    hangs = PRINTS.format(then="time.sleep(600)")
    started.append(worker := start(fake_side(hangs)))
    ended = lost(worker, deadline_s=1.5)
    assert (ended.status, ended.reason) == ("timeout", "no answer within 2 s")


# A real one


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is noticed when it next reads")
@pytest.mark.parametrize("after_s", [0.0, 0.2, 0.8])
def test_a_real_worker_ends_with_its_runner_whatever_it_does_then(after_s: float) -> None:
    """Importing torch, for one, during which it reads nothing."""
    text = f"""
import os, signal, time
from bench.runner.process import Side, WorkerProcess
worker = WorkerProcess(Side(), "cpu", 1)
print(worker.pid, flush=True)
time.sleep({after_s})
os.kill(os.getpid(), signal.SIGKILL)
"""
    words = [sys.executable, "-c", text]
    runner = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert runner.stdout is not None
    pid = int(runner.stdout.readline())
    assert runner.wait() == -signal.SIGKILL
    killed = time.monotonic()
    assert is_gone(pid)
    assert time.monotonic() - killed < 1


def subject(folder: Path) -> Path:
    """A folder with a copy of the subject."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sumnet", folder / "sumnet", ignore=ignored)
    return folder


LOUD = """
import ctypes
import os
import subprocess

print("importing", flush=True)

def loud(value):
    print("printing", flush=True)
    os.write(1, b"writing\\n")
    ctypes.CDLL(None).puts(b"from C")
    ctypes.CDLL(None).fflush(None)
    subprocess.run(["echo", "echoing"])
    return value
"""


@pytest.mark.slow
@pytest.mark.usefixtures("noisy")
def test_a_real_worker_answers_whatever_is_printed_and_ends_with_its_channel(
    tmp_path: Path, started: list[WorkerProcess]
) -> None:
    folder = subject(tmp_path / "loud")
    training = folder / "sumnet" / "training.py"
    text = training.read_text()
    good = "criterion(net(pairs), sums)"
    assert text.count(good) == 1
    training.write_text(text.replace(good, f"loud({good})") + LOUD)
    started.append(worker := start(Side(subject=folder)))
    subject_loaded = worker.hello.subject_hash
    assert subject_loaded == subject_hash(folder / "sumnet") != subject_hash(ROOT / "sumnet")
    prepared = worker.ask(PREPARE, LATE_S)
    block = worker.ask(Measure(sumnet().id, WHOLE_KIND, 8, (WHOLE,)), LATE_S)
    refused = worker.ask(Measure("cpu/no such case", "x", 8, ("x",)), LATE_S)
    assert isinstance(prepared, Prepared) and isinstance(block, Block)
    assert (block.case, block.kind, block.samples) == (sumnet().id, WHOLE_KIND, 8)
    assert isinstance(refused, Refused) and refused.status == "failed"
    worker._channel.close()
    assert worker._process.wait(LATE_S) == 0
    worker._output.seek(0)
    printed = worker._output.read().decode()
    said = ("importing", "printing", "writing", "from C", "echoing", "printed at exit")
    assert [word for word in said if word not in printed] == []


ASK_HELLO = """
import pathlib, sys
elsewhere = [p for p in sys.path if not pathlib.Path(p, "bench").is_dir()]  # an editable install
sys.path[:] = [*elsewhere, sys.argv[1]]
import msgspec
from bench.runner.process import ROOT, Side, WorkerProcess
assert str(ROOT) == sys.argv[1]
worker = WorkerProcess(Side(), "cpu", 1)
worker.greet(60.0)
print(msgspec.json.encode(worker.hello).decode())
worker.close()
"""


@pytest.mark.slow
def test_a_real_worker_loads_its_packages_and_its_own_torch_whatever_lies_beside_them(
    tmp_path: Path, started: list[WorkerProcess]
) -> None:
    """As in a site-packages that is not its interpreter's."""
    site = subject(tmp_path / "site-packages")
    shutil.copytree(ROOT / "bench", site / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("torch", "msgspec", "psutil", "typing"):
        (site / f"{name}.py").write_text("raise ImportError('of another interpreter')\n")
    words = [sys.executable, "-P", "-c", ASK_HELLO, str(site)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    hello = msgspec.json.decode(done.stdout, type=Hello)
    assert hello.subject_hash == subject_hash(site / "sumnet")
    assert hello.interpreter == Interpreter(**describe(torch))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no process is bound to cores")
@pytest.mark.parametrize("variable", ["GOMP_CPU_AFFINITY=0-1", "OMP_PROC_BIND=true"])
def test_cores_are_those_it_may_run_on_whatever_openmp_binds_it_to(
    started: list[WorkerProcess], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    cores = sorted(os.sched_getaffinity(0))
    monkeypatch.setenv(*variable.split("="))
    started.append(worker := start(Side()))
    assert worker.hello.facts.cores == len(cores)
    assert worker.hello.cores == cores[-1:]
    assert sorted(os.sched_getaffinity(worker.pid)) == cores[-1:]
