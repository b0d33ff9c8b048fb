"""Two measurements on one machine: the second waits, is refused, or is marked."""

import threading
from pathlib import Path

import pytest

from bench.errors import MachineError
from bench.machine.fingerprint import fingerprint
from bench.options import MEASURE, REFUSE, WAIT
from bench.records.exclusive import exclusive
from tests import synthetic
from tests.suite.driving import LEAST, SEED_CASE, bench_run, run_files, start, the_error, wait_for

MACHINE = synthetic.machine(identity="0123456789abcdef")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("SUMNET_STATE", str(folder))
    return folder


def test_one_alone_is_beside_no_other_and_the_next_neither() -> None:
    for if_busy in (WAIT, REFUSE, MEASURE):
        with exclusive(MACHINE, if_busy, pytest.fail) as beside_another:
            assert beside_another is False


def test_a_second_one_is_refused_or_marked() -> None:
    with exclusive(MACHINE, WAIT, pytest.fail):
        with pytest.raises(MachineError), exclusive(MACHINE, REFUSE, pytest.fail):
            pytest.fail("it was let in")
        with exclusive(MACHINE, MEASURE, pytest.fail) as beside_another:
            assert beside_another is True
        other = synthetic.machine(identity="f" * 16)
        with exclusive(other, REFUSE, pytest.fail) as beside_another:
            assert beside_another is False, "another machine, on one home"


def test_a_second_one_waits_for_the_end_of_the_first_and_says_so() -> None:
    said: list[str] = []
    order: list[str] = []

    def second() -> None:
        with exclusive(MACHINE, WAIT, said.append) as beside_another:
            order.append(f"second {beside_another}")

    waiting = threading.Thread(target=second)
    with exclusive(MACHINE, WAIT, pytest.fail):
        waiting.start()
        wait_for("the second to say that it waits", lambda: said)
        order.append("first")
    waiting.join()
    assert order == ["first", "second False"]
    assert "--if-busy" in said[0]


def test_state_that_cannot_be_written_is_said_and_the_measurement_goes_on(state: Path) -> None:
    state.write_text("")
    said: list[str] = []
    with exclusive(MACHINE, REFUSE, said.append) as beside_another:
        assert beside_another is False
    assert str(state) in said[0]


def test_runs_take_turns_and_overwrite_nothing(tmp_path: Path) -> None:
    words = ("run", SEED_CASE, *LEAST, f"--results={tmp_path / 'results'}")
    with exclusive(fingerprint(), WAIT, pytest.fail):
        refused = bench_run(*words[1:], "--if-busy=refuse")
        beside = bench_run(*words[1:], "--if-busy=measure")
        waiting = start("bench", *words)
        assert waiting.stderr is not None
        while "waiting" not in (line := waiting.stderr.readline()):
            assert line, "it ended without a word"
    assert refused.returncode == 4
    assert "another measurement" in the_error(refused.stderr)
    assert beside.returncode == 0
    assert "Another measurement was running" in beside.stdout
    assert waiting.wait() == 0
    waiting.communicate()
    assert len(run_files(tmp_path / "results")) == 2
