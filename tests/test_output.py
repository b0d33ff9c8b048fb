"""Output that cannot be written is neither a verdict nor a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import main
from bench.cli.verbs import BODIES
from tests.suite.driving import ROOT, surroundings

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
