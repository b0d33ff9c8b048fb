"""Output that cannot be written is neither a verdict nor a traceback."""

import os
import pty
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import main
from bench.cli.verbs import BODIES
from bench.records.store import load_run
from tests.suite.driving import (
    LEAST,
    ROOT,
    SEED_CASE,
    finish,
    journals,
    start,
    surroundings,
    wait_for,
)

LIST = [sys.executable, "-m", "bench", "list", "--preset", "full"]
REPORT = "results/amd-epyc-2c-24gib/gate/slower-1-busy-work.json"


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = ["sh", "-c", script, "sh", *LIST]
    return subprocess.run(
        words,
        cwd=ROOT,
        env=surroundings(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_reader_that_goes_away_is_no_verdict() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        LIST, cwd=ROOT, env=surroundings(), stdout=theirs, stderr=subprocess.PIPE, check=False
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    "to",
    [
        ">&-",
        pytest.param(
            ">/dev/full",
            marks=pytest.mark.skipif(
                not Path("/dev/full").exists(), reason="no device that is always full"
            ),
        ),
    ],
)
def test_output_that_cannot_be_written_is_told_in_a_line(to: str) -> None:
    done = shell(f'"$@" {to}')
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")


def test_characters_that_a_terminal_lacks_are_written_otherwise() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "regress", REPORT, "--format", "plain"],
        cwd=ROOT,
        env=surroundings(PYTHONIOENCODING="ascii"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "\\xb1" in done.stdout


def test_a_defect_has_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(asked: object) -> int:
        raise RuntimeError("it is broken")

    monkeypatch.setitem(BODIES, "list", broken)
    monkeypatch.setattr(sys, "argv", ["bench", "list"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 5
    assert "RuntimeError: it is broken" in capsys.readouterr().err


@pytest.mark.parametrize(("to", "status"), [("| true", 141), (">/dev/full", 4), ("2>&-", 0)])
def test_a_run_whose_output_is_not_taken_is_no_verdict(
    tmp_path: Path, to: str, status: int
) -> None:
    words = shlex.join([sys.executable, "-m", "bench", "run", SEED_CASE, *LEAST])
    script = f"set -o pipefail; {words} --results={tmp_path} {to}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=surroundings(), capture_output=True, text=True
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_that_is_closed_ends_a_run_as_a_signal_does(tmp_path: Path) -> None:
    """Its journal stays; what a terminal is told then cannot be written any more."""
    words = [sys.executable, "-m", "bench", "run", SEED_CASE, "--budget=60"]
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execv(words[0], [*words, f"--results={tmp_path}"])
    wait_for("a block", lambda: any(b"BlockMeasured" in p.read_bytes() for p in journals(tmp_path)))
    os.close(terminal)
    _, ended = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended) == 129
    assert load_run(journals(tmp_path)[0]).cases[0].blocks


def test_interrupted_pytest_is_no_success(tmp_path: Path) -> None:
    words = ("bench/suite/test_phases.py", "--preset=seed", "--budget=60", f"--results={tmp_path}")
    command = start("pytest", "-p", "no:cacheprovider", *words)
    wait_for("a block", lambda: any(b"BlockMeasured" in p.read_bytes() for p in journals(tmp_path)))
    command.send_signal(signal.SIGINT)
    done = finish(command)
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "--resume" in done.stdout


def test_names_of_files_do_not_control_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "machine"
    folder.mkdir()
    (folder / "a\x1b[31mb.journal").write_text("x")
    (folder / "nowhere.journal").symlink_to(tmp_path / "gone")
    for words in (
        ("list", SEED_CASE, "--results", tmp_path),
        ("compare", folder / "a\x1b[31m.json"),
    ):
        done = finish(start("bench", *words))
        assert done.returncode in (0, 2)
        assert "\x1b" not in done.stdout + done.stderr and "machine/a" in done.stderr
