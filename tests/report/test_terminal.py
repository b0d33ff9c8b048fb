"""The width of a terminal, and the verbs that keep to it unless --wide."""

import os
import pty
import select
import shutil
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.matrix.ceiling import ceilings
from bench.report.terminal import table_width
from tests import synthetic
from tests.cases import sumnet
from tests.commands import invoke
from tests.suite.driving import LEAST, PATIENCE_S, ROOT, SEED_CASE, surroundings


def shown(text: str) -> list[str]:
    return [cell.strip() for cell in text.splitlines()[0].strip("|").split("|")]


def widest(text: str) -> int:
    return max(len(line) for line in text.splitlines() if line.startswith("|"))


class Stream:
    def __init__(self, terminal: bool) -> None:
        self.isatty = lambda: terminal


@pytest.mark.parametrize(
    ("terminal", "wide", "columns", "width"),
    [
        (True, False, "80", 80),
        (True, True, "80", None),
        (False, False, "80", None),
        (True, False, "0", None),
    ],
)
def test_width_is_a_terminals_and_no_limit_elsewhere(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, wide: bool, columns: str, width: int | None
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "stdout", Stream(terminal))
    monkeypatch.setattr(sys, "__stdout__", None)  # which has a width of its own
    assert table_width(wide) == width


# Commands

CASES = {
    sumnet(batch=batch, optimizer=optimizer, dtype=dtype): batch * 1e3
    for batch in (2, 1024)
    for optimizer in ("sgd", "adam")
    for dtype in ("float32", "float64")
}


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    profiles = {case: synthetic.step_profile() for case in CASES}
    above = dict.fromkeys(ceilings("cpu", 1, ["float32", "float64"]), 1e4)
    run = synthetic.run(CASES, profiles=profiles, ceilings=above)
    return synthetic.run_file(folder / "run.json", run)


def in_terminal(columns: int, *words: object) -> str:
    """What `python -m bench WORDS...` prints on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environment = surroundings()
    del environment["COLUMNS"]
    termios.tcsetwinsize(theirs, (24, columns))
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *words],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], PATIENCE_S)[0]:
        try:
            shown += os.read(ours, 2**16)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait(PATIENCE_S) == 0
    return shown.decode().replace("\r\n", "\n")


def test_terminal_gets_what_fits_and_what_was_left_out(run_file: Path) -> None:
    text = in_terminal(80, "compare", run_file)
    assert shown(text) == ["dtype", "batch", "optimizer", "quiet ± 95%", "samples/s"]
    assert widest(text) <= 80
    line = "Left out to fit 80 columns: typical ± 95%, forward, backward, step. --wide shows all."
    assert line in text.splitlines()


def test_wide_terminal_output_is_what_a_pipe_gets(run_file: Path) -> None:
    wide = in_terminal(80, "compare", run_file, "--wide")
    piped = invoke("compare", str(run_file))
    assert wide == piped.stdout
    assert widest(wide) > 120 and "--wide" not in wide


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "RUN"),
        ("compare", "RUN", "--by=optimizer"),
        ("compare", "RUN", "--rows=batch", "--columns=optimizer"),
        ("compare", "RUN", "--limits"),
        ("compare", "RUN", "OTHER", "--verdicts"),
        ("rank", "RUN"),
        ("trend", "RUN", "OTHER"),
        ("repeatability", "RUN", "OTHER"),
        ("profile", "RUN"),
        ("ceilings", "RUN"),
    ],
    ids=lambda words: " ".join(words),
)
def test_verbs_that_print_tables_keep_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, run_file: Path, words: Sequence[str]
) -> None:
    other = run_file.with_name("other.json")
    shutil.copy(run_file, other)
    files = {"RUN": str(run_file), "OTHER": str(other)}
    given = [files.get(word, word) for word in words]

    def printed(columns: int | None, *more: str) -> str:
        monkeypatch.setattr(
            "bench.report.terminal.table_width", lambda wide: None if wide else columns
        )
        return invoke(*given, *more).stdout

    whole = printed(None)
    assert printed(60, "--wide") == whole
    for columns in (60, 80, 100, 120):
        text = printed(columns)
        too_wide = "The table needs" in text
        assert widest(text) <= columns or too_wide
        assert columns == 60 or not too_wide
        assert (text == whole) == (widest(whole) <= columns)


def test_profiles_of_now_are_printed_on_standard_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not by the display on stderr, which would wrap them."""
    case = sumnet()

    class Profiled:
        def __init__(self, plan: object, tell: Any, side: object, traces: object) -> None:
            self.tell = tell

        def measure(self) -> None:
            self.tell(synthetic.case_prepared(0, case))
            self.tell(synthetic.case_profiled(case, synthetic.step_profile()))

    monkeypatch.setenv("FORCE_COLOR", "1")  # stderr passes for a terminal
    monkeypatch.setattr("bench.profiles.verb.Coordinator", Profiled)
    done = invoke("profile", case.id)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{case.id}\n") and "\n|" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("more", "fits"), [((), True), (("--wide",), False)])
def test_run_prints_what_fits_too(tmp_path: Path, more: tuple[str, ...], fits: bool) -> None:
    words = (SEED_CASE, *LEAST, f"--results={tmp_path}", *more)
    text = in_terminal(80, "run", *words)
    assert (widest(text) <= 80) == fits
    assert ("Left out to fit 80 columns: " in text) == fits
