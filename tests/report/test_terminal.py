"""Tables in a terminal: which columns are shown, what is said of the others, and --wide."""

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
from typer.testing import CliRunner

from bench.cli import app
from bench.matrix.case import Case
from bench.matrix.ceiling import ceilings
from bench.profiles.views import print_profiles
from bench.report.tables import FORMATS, render
from bench.report.terminal import table_width
from tests import synthetic
from tests.suite.driving import LEAST, PATIENCE_S, ROOT, SEED_CASE, surroundings

WORTH = (("least",), ("twin a", "twin b"), ("most",))
ROWS = [
    {
        "batch": batch,
        "first": f"{batch} us",
        "most": f"{batch} m",
        "twin a": f"{batch} a",
        "twin b": f"{batch} b",
        "same": "x",
        "least": f"{batch} l",
    }
    for batch in (2, 1024)
]
SAME_WORTH = (("same",), *WORTH)


def shown(text: str) -> list[str]:
    return [cell.strip() for cell in text.splitlines()[0].strip("|").split("|")]


def below(text: str) -> str:
    """The line under the table, which stands apart."""
    lines = text.splitlines()
    assert lines[-2] == ""
    return lines[-1]


def widest(text: str) -> int:
    return max(len(line) for line in text.splitlines() if line.startswith("|"))


def test_table_that_fits_is_left_as_it_is() -> None:
    whole = render(ROWS, "github")
    assert render(ROWS, "github", SAME_WORTH, widest(whole)) == whole


def test_columns_go_one_after_the_other_as_the_terminal_narrows() -> None:
    whole = widest(render(ROWS, "github"))
    seen: dict[tuple[str, ...], str] = {}
    for width in range(whole - 1, 20, -1):
        text = render(ROWS, "github", SAME_WORTH, width)
        assert widest(text) <= width
        seen.setdefault(tuple(shown(text)), below(text).partition(": ")[2])
    assert seen == {
        ("batch", "first", "most", "twin a", "twin b", "least"): (
            "same (x in every row). --wide shows all."
        ),
        ("batch", "first", "most", "twin a", "twin b", "same"): "least. --wide shows all.",
        ("batch", "first", "most", "twin a", "twin b"): (
            "same (x in every row), least. --wide shows all."
        ),
        ("batch", "first", "most", "same", "least"): "twin a, twin b. --wide shows all.",
        ("batch", "first", "most", "least"): (
            "twin a, twin b, same (x in every row). --wide shows all."
        ),
        ("batch", "first", "most", "same"): "twin a, twin b, least. --wide shows all.",
        ("batch", "first", "most"): (
            "twin a, twin b, same (x in every row), least. --wide shows all."
        ),
        ("batch", "first"): (
            "most, twin a, twin b, same (x in every row), least. --wide shows all."
        ),
    }


def test_what_always_stays_is_printed_whole_where_even_that_is_too_wide() -> None:
    text = render(ROWS, "github", SAME_WORTH, 10)
    assert shown(text) == ["batch", "first"]
    needed = widest(text)
    assert f"What is shown needs {needed} columns. --wide shows all." in below(text)
    assert "1024 us" in text


def test_figure_that_is_the_same_in_all_rows_stays_where_it_is_the_first() -> None:
    rows = [row | {"first": "unsupported"} for row in ROWS]
    assert shown(render(rows, "github", SAME_WORTH, 30)) == ["batch", "first"]


def test_of_one_row_nothing_is_the_same_in_all() -> None:
    text = render(ROWS[:1], "github", SAME_WORTH, 30)
    assert shown(text) == ["batch", "first", "most"]
    assert "in every row" not in text


@pytest.mark.parametrize("style", sorted({*FORMATS} - {"github", "plain"}))
def test_formats_for_machines_are_whole_in_any_terminal(style: str) -> None:
    assert render(ROWS, style, SAME_WORTH, 10) == render(ROWS, style)


def test_plain_text_fits_too() -> None:
    text = render(ROWS, "plain", SAME_WORTH, 30)
    assert text.splitlines()[0].split() == ["batch", "first", "most"]
    assert "Left out to fit 30 columns: " in below(text)


def test_sign_of_an_interval_takes_one_column() -> None:
    rows = [{"quiet ± 95%": "1.5 us ± 1.0%", "b": "1"}, {"quiet ± 95%": "2 us ± 1.0%", "b": "2"}]
    whole = render(rows, "github")
    assert render(rows, "github", (("b",),), len(whole.splitlines()[0])) == whole


AXES_ROWS = [
    {
        "dtype": case.dtype,
        "batch": case.batch,
        "optimizer": case.optimizer,
        "implementation": case.implementation,
        "hidden": case.hidden,
        "quiet": "100 us",
        "vs implementation default": f"{number}.000",
    }
    for number, case in enumerate(
        (
            Case(),
            Case(batch=1024),
            Case(optimizer="adam"),
            Case(optimizer="adam", implementation="fused", dtype="float64"),
        )
    )
]


def test_axes_that_are_mostly_at_their_default_become_one_column() -> None:
    text = render(AXES_ROWS, "github", (), 84)
    heading = ["variant", "batch", "optimizer", "quiet", "vs implementation default"]
    assert shown(text) == heading
    cells = [line.strip("|").split("|")[0].strip() for line in text.splitlines()[2:6]]
    assert cells == ["default", "default", "default", "float64 fused"]
    assert below(text) == (
        "Left out to fit 84 columns: hidden (10 in every row). variant stands for dtype, "
        "implementation where not float32, default. --wide shows all."
    )


def test_long_heading_is_shortened_then_all_axes_are_one_column() -> None:
    text = render(AXES_ROWS, "github", (), 64)
    assert shown(text) == ["variant", "batch", "optimizer", "quiet", "vs"]
    assert "vs stands for vs implementation default." in below(text)
    text = render(AXES_ROWS, "github", (), 50)
    assert shown(text) == ["variant", "quiet", "vs"]
    assert "| float64 b2 adam fused |" in text
    assert (
        "variant stands for batch, optimizer, dtype, implementation where not float32, default."
        in below(text)
    )
    assert widest(text) <= 50


def test_row_that_continues_the_one_above_has_no_variant() -> None:
    axes = dict.fromkeys(("dtype", "batch", "optimizer", "implementation", "hidden"), "")
    text = render([*AXES_ROWS, AXES_ROWS[0] | axes], "github", (), 84)
    assert text.splitlines()[6].startswith("|               |         |")
    assert "hidden (10 in every row)" in below(text)


# Width


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
    Case(batch=batch, optimizer=optimizer, dtype=dtype): batch * 1e3
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
        [sys.executable, "-m", "bench", *map(str, words)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    told = b""
    while select.select([ours], [], [], PATIENCE_S)[0]:
        try:
            told += os.read(ours, 2**16)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait(PATIENCE_S) == 0
    return told.decode().replace("\r\n", "\n")


def test_terminal_gets_what_fits_and_says_what_it_lacks(run_file: Path) -> None:
    text = in_terminal(80, "compare", run_file)
    assert shown(text) == ["dtype", "batch", "optimizer", "quiet ± 95%", "samples/s"]
    assert widest(text) <= 80
    line = "Left out to fit 80 columns: typical ± 95%, forward, backward, step. --wide shows all."
    assert line in text.splitlines()


def test_wide_terminal_output_is_what_a_pipe_gets(run_file: Path) -> None:
    wide = in_terminal(80, "compare", run_file, "--wide")
    piped = CliRunner().invoke(app, ["compare", str(run_file)])
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
        for module in ("reading", "history", "measuring"):
            monkeypatch.setattr(
                f"bench.cli.{module}.table_width", lambda wide: None if wide else columns
            )
        return CliRunner().invoke(app, [*given, *more]).stdout

    whole = printed(None)
    assert printed(60, "--wide") == whole
    for columns in (60, 80, 100, 120):
        text = printed(columns)
        too_wide = "What is shown needs" in text
        assert widest(text) <= columns or too_wide
        assert columns == 60 or not too_wide
        assert (text == whole) == (widest(whole) <= columns)


def test_profiles_of_now_are_printed_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not by the display on stderr, which would wrap them."""
    case = Case()

    class Profiled:
        def __init__(self, plan: object, tell: Any, traces: object) -> None:
            self.tell = tell

        def measure(self) -> None:
            self.tell(synthetic.case_prepared(0, case))
            self.tell(synthetic.case_profiled(case, synthetic.step_profile()))

    monkeypatch.setenv("FORCE_COLOR", "1")  # stderr passes for a terminal
    monkeypatch.setattr("bench.profiles.views.Coordinator", Profiled)
    assert print_profiles([case], None) == 0
    assert capsys.readouterr().out.startswith(f"{case.id}\n\n|")


@pytest.mark.slow
@pytest.mark.parametrize(("more", "fits"), [((), True), (("--wide",), False)])
def test_run_prints_what_fits_too(tmp_path: Path, more: tuple[str, ...], fits: bool) -> None:
    words = (SEED_CASE, *LEAST, f"--results={tmp_path}", *more)
    text = in_terminal(80, "run", *words)
    assert (widest(text) <= 80) == fits
    assert ("Left out to fit 80 columns: " in text) == fits
