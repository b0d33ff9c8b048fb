"""The gate as a command: two real sides, and what is refused before anything is measured."""

import io
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from rich.console import Console

from bench.gate.verb import judged
from bench.matrix.case import PEAK_MEMORY
from bench.records.gate_report import load_report
from bench.runner.process import Side
from tests.cases import sumnet
from tests.suite.driving import ROOT, finish, start, wait_for, workers_of

CASE = sumnet().id
SLOWER = """

class Slower(SumNet):
    def forward(self, pairs):
        for _ in range(8):
            pairs.abs()
        return super().forward(pairs)


SumNet = Slower
"""
"""Put at the end of SumNet's module: clearly more work in every forward pass."""


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where a command's temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def slower(tmp_path: Path) -> Path:
    """A folder with a subject whose forward pass does more."""
    folder = tmp_path / "slower"
    shutil.copytree(ROOT / "sumnet", folder / "sumnet", ignore=shutil.ignore_patterns("*.pyc"))
    model = folder / "sumnet" / "model.py"
    model.write_text(model.read_text() + SLOWER)
    return folder


def regress(temporary: Path, *words: object) -> subprocess.Popen[str]:
    return start("bench", "regress", *words, TMPDIR=str(temporary), GITHUB_ACTIONS="")


def left_in(temporary: Path) -> list[Path]:
    """What of the gate is left there."""
    return list(temporary.glob("sumnet-bench-*"))


def test_report_without_a_commit_gives_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    settings, printed = SimpleNamespace(budget_s=60.0), io.StringIO()
    sides = [Side("base"), Side("head")]
    gate: Any = SimpleNamespace(comparisons=[], settings=settings, sides=sides, run=lambda: None)
    judged(gate, "wait", Console(file=printed))
    assert printed.getvalue().splitlines()[0] == (
        "the report names no commit: cannot run git (No such file or directory): install it"
    )


# Real runs


@pytest.mark.slow
def test_slower_forward_pass_is_called_and_named(
    tmp_path: Path, temporary: Path, slower: Path
) -> None:
    path = tmp_path / "of" / "report.json"
    sides = ["--base", ROOT, "--head", slower]
    cases = ["--batch", "2", "--optimizer", "sgd", "--preset", "seed"]
    for _ in range(2):  # once more where other tests disturbed an A/A control
        done = finish(regress(temporary, *sides, *cases, "--report", path, "--format", "plain"))
        if load_report(path).outcome != "invalid":
            break
    assert done.returncode == 1, done.stdout + done.stderr
    report = load_report(path)
    assert report.outcome == "regressed"
    words = {verdict.series: verdict.verdict for verdict in report.verdicts}
    assert set(words) == {"forward", "backward", "step", "train_step", PEAK_MEMORY}
    assert words[PEAK_MEMORY] == "equivalent"
    assert words["forward"] == words["train_step"] == "regressed"
    effects = {verdict.series: verdict.effect or 0.0 for verdict in report.verdicts}
    assert effects["forward"] > 0.1 > abs(effects["backward"])
    assert effects["forward"] > effects["train_step"] > 0.02
    assert sum(not pair.control for pair in report.pairs) >= 9
    assert "Traceback" not in done.stdout + done.stderr
    table = done.stdout.splitlines()
    assert re.search(r"regressed .* forward ", done.stdout)
    assert any(line.startswith("REGRESSED: ") for line in table)
    assert f"Report: {path}" in done.stdout.replace("\n", " ")
    assert re.search(r"^pair 9: \d+\.\d s$", done.stderr, re.MULTILINE)
    assert left_in(temporary) == []


def test_terminated_run_keeps_its_pairs_and_leaves_nothing_behind(
    tmp_path: Path, temporary: Path
) -> None:
    path = tmp_path / "report.json"
    process = regress(temporary, "--same", CASE, "--report", path)
    wait_for("the first pair", lambda: path.exists() and load_report(path).pairs)
    assert left_in(temporary)
    workers: list[psutil.Process] = wait_for("its workers", lambda: workers_of(process))
    process.send_signal(signal.SIGTERM)
    done = finish(process)
    assert done.returncode == 143
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert f"interrupted; the pairs measured so far are in {path}" in done.stderr
    report = load_report(path)
    assert report.pairs
    assert report.outcome == "invalid"
    assert report.reason == f"interrupted after {len(report.pairs)} pairs"
    assert left_in(temporary) == []
    assert psutil.wait_procs(workers, timeout=30)[1] == []


# Wrong usage

WRONG = {
    "case and axis": (f"{CASE} --batch 2", "--batch"),
    "case and preset": (f"{CASE} --preset seed", "--preset"),
    "no case": ("b2", "'b2'"),
    "unknown axis": ("--base speed=high", "--base: 'speed=high'"),
    "unknown value": ("--head batch=many", "--head: 'batch=many'"),
    "axis twice": ("--head batch=2 --head batch=64", "--head: batch"),
    "two subjects": ("--base . --base sumnet", "--base: '.' and 'sumnet'"),
    "same value": ("--base compile=on --head compile=on", "--base and --head are both compile=on"),
    "no revision": ("--base no-such-revision", "--base: 'no-such-revision'"),
    "no subject": ("--base docs", "--base: docs"),
    "nothing differs": ("--base . --head .", "the same subject"),
    "a bad share": ("--margin 300%", "--margin: '300%'"),
    "a bad budget": ("--same --budget 1", "--budget: '1'"),
    "a bad preset": ("--preset quickest", "--preset: 'quickest'"),
    "a bad format": ("--format xlsx", "--format: 'xlsx'"),
    "a report that is a folder": ("--same --report tests", "cannot write tests"),
    "a folder that is a file": ("--same --report README.md/report.json", "README.md"),
    "a variable of ours": ("--base-env PYTHONHASHSEED=1", "--base-env: PYTHONHASHSEED"),
}
"""The words of a command, and what its refusal names."""


@pytest.fixture
def refuse(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], temporary: Path
) -> "Refuse":
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(ROOT)
    return Refuse(monkeypatch, capsys)


class Refuse:
    """The console script, run here; nothing is measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *words: str) -> str:
        """What it prints where it exits with 2."""
        from bench.cli import main

        def measured(*_: object, **__: object) -> None:
            raise AssertionError("it went on to measure")

        before = signal.getsignal(signal.SIGTERM)
        self._monkeypatch.setattr("bench.runner.pool.WorkerProcess", measured)
        self._monkeypatch.setattr("sys.argv", ["sumnet-bench", "regress", *words])
        try:
            with pytest.raises(SystemExit) as end:
                main()
        finally:
            signal.signal(signal.SIGTERM, before)
        out, err = self._capsys.readouterr()
        assert (end.value.code, out) == (2, "")
        return err


@pytest.mark.parametrize(("words", "named"), WRONG.values(), ids=WRONG)
def test_wrong_usage_is_one_line_and_status_2(
    refuse: Refuse, tmp_path: Path, temporary: Path, words: str, named: str
) -> None:
    err = refuse(*words.split(), "--results", str(tmp_path / "results"))
    assert err.startswith("error: ") and named in err
    assert err.count("\n") == 1
    assert left_in(temporary) == []


def test_same_that_is_not_the_same_is_refused(
    refuse: Refuse, tmp_path: Path, temporary: Path, slower: Path
) -> None:
    words = ["--same", "--base", str(slower), "--results", str(tmp_path)]
    assert refuse(*words).startswith("error: --same: the sides load different subjects, ")
    assert left_in(temporary) == []


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [("cpu/*/b2/*", True), ("cuda/*", True), ("cpu/float23/*", False), ("b2", False)],
)
def test_pattern_that_fits_no_case_is_refused(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pattern: str, fits: bool
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.sumnet-bench.thresholds]\n"{pattern}" = "2%"\n'
    )
    monkeypatch.chdir(tmp_path)
    err = refuse("--base", str(ROOT), "--head", str(ROOT))
    lost = f"error: [tool.sumnet-bench.thresholds]: {pattern!r} fits no case of any preset"
    assert err.startswith("error: both sides load the same" if fits else lost)
    assert err.count("\n") == 1


def test_unreadable_settings_are_refused(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.sumnet-bench]\nmargin = 3%\n")
    monkeypatch.chdir(tmp_path)
    assert refuse("--same").startswith("error: pyproject.toml is not TOML: ")
