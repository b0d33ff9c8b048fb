"""Whole runs of `regress` on repositories with steps of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.records.gate_report import GateReport, load_report
from tests.gate.first_pair import interrupted_once_compared
from tests.gate.repositories.making import LIBRARY, STEPS, commit
from tests.gate.sides.making import git
from tests.test_structure import ROOT

SLOWER = """\
import torch


class Net(torch.nn.Linear):
    def forward(self, x):
        for _ in range(20):
            x = x + 0
        return super().forward(x)
"""


def regress(top: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], GateReport | None]:
    """A run in the repository, and its report where there is one."""
    report = top.parent / "report.json"
    command = [sys.executable, "-m", "bench", "regress", *words, "--report", str(report)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GITHUB_ACTIONS": ""}
    done = subprocess.run(command, cwd=top, env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stdout + done.stderr
    return done, load_report(report) if report.exists() else None


def words_of(report: GateReport | None) -> set[str]:
    assert report is not None
    return {verdict.verdict for verdict in report.verdicts}


@pytest.mark.slow
def test_step_that_the_base_cannot_run_has_no_baseline(top: Path) -> None:
    commit(top, {"mylib/other.py": LIBRARY})
    commit(top, {"benchmarks/steps.py": STEPS.replace("mylib.net", "mylib.other")})
    done, report = regress(top, "benchmarks/steps.py", "--budget", "60")
    assert done.returncode == 3, done.stdout + done.stderr
    assert words_of(report) == {"no baseline"}
    assert report is not None and report.outcome == "no baseline"
    assert report.pairs == []
    assert "No module named 'mylib.other'" in report.reason
    assert "NO BASELINE: 4 of 4 series cannot be timed on the base" in done.stdout


@pytest.mark.slow
def test_step_that_the_head_cannot_run_has_failed(top: Path) -> None:
    commit(top, {"mylib/net.py": "removed = True\n"})
    done, report = regress(top, "benchmarks/steps.py", "--budget", "60")
    assert done.returncode == 1, done.stdout + done.stderr
    assert words_of(report) == {"failed"}
    assert "cannot import name 'Net' from 'mylib.net'" in done.stdout
    assert "FAILED: 4 of 4 series cannot be timed on the head" in done.stdout


@pytest.mark.slow
def test_step_that_neither_side_can_run_is_wrong_usage(top: Path) -> None:
    commit(top, {"benchmarks/steps.py": "import nowhere\n"})
    done, report = regress(top, "benchmarks/steps.py")
    assert (done.returncode, report) == (2, None)
    assert "No module named 'nowhere'" in done.stderr


@pytest.mark.slow
def test_other_steps_go_on_where_one_has_no_baseline(top: Path) -> None:
    second = STEPS.partition("@training_step")[2].replace("tiny", "second")
    second = second.replace("model = Net", "from mylib.new import Net as New\n    model = New")
    steps = f"{STEPS}\n\n@training_step{second}"
    commit(top, {"mylib/net.py": SLOWER, "mylib/new.py": LIBRARY, "benchmarks/steps.py": steps})
    (top / "pyproject.toml").write_text('[tool.sumnet-bench]\nsteps = "benchmarks/steps.py"\n')
    report, pair = interrupted_once_compared(top, top.parent / "report.json", "--build", "true")
    (ended,) = report.ended
    assert ended.startswith("second/") and report.ended_as[ended] == "no baseline"
    measured = zip(report.series, pair.lower_quartile, strict=True)
    effects = {series: effect for (name, series), effect in measured if name.startswith("tiny/")}
    assert effects["forward"] is not None and effects["forward"] > 0.05
    assert git(top, "status", "--porcelain") == "?? pyproject.toml"


@pytest.mark.parametrize("words", [["--build", "true"], ["--steps-from", "base"]])
def test_options_for_steps_of_ones_own_need_them(top: Path, words: list[str]) -> None:
    done, _ = regress(top, *words)
    assert done.returncode == 2
    assert f"{words[0]} is for steps of your own" in done.stderr
