"""Training steps in a user's own pytest run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.protocol.subject import ROOT
from bench.records.store import load_run

STEPS = """
import torch
from sumnet import Step, training_step

@training_step(batch=[4, 8])
def small(device, batch):
    model = torch.nn.Linear(3, 1).to(device)
    given = torch.randn(batch, 3, device=device)
    return Step(model, loss=lambda: model(given).square().mean(), samples=batch)

@training_step()
def wide(device):
    raise RuntimeError("not here")
"""
ORDINARY = """
import sys

def test_ordinary():
    imported = [name for name in ("torch", "numpy", "pandas", "rich") if name in sys.modules]
    assert not imported
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "steps.py").write_text(STEPS)
    (tmp_path / "test_ordinary.py").write_text(ORDINARY)
    return tmp_path


def run_pytest(project: Path, *words: str, plugins: str = "") -> subprocess.CompletedProcess[str]:
    """pytest with the plugin alone, as an installation would load it."""
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")},
        "PYTHONPATH": str(ROOT),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    command = [sys.executable, "-m", "pytest", "-p", "bench.pytest_plugin", *plugins.split()]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", "-q", *words],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_ordinary_run_neither_collects_steps_nor_imports_anything(project: Path) -> None:
    done = run_pytest(project, ".")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert "small" not in done.stdout


@pytest.mark.slow
def test_steps_are_cases_beside_other_tests(project: Path) -> None:
    words = ("--sumnet", "--sumnet-budget", "1", "--sumnet-results", "kept")
    done = run_pytest(project, *words, "benchmarks", "-k", "batch4 or wide")
    assert "1 failed, 1 passed, 1 deselected" in done.stdout
    assert "RuntimeError: not here" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    (path,) = (project / "kept").glob("*/*.json")
    assert [case.case.workload for case in load_run(path).cases] == ["small", "wide"]
    assert "sumnet" in json.loads(path.read_text())
    assert f"Run file: {path.relative_to(project)}" in done.stdout


def test_a_file_that_cannot_be_loaded_is_an_error_that_says_so(project: Path) -> None:
    (project / "benchmarks" / "steps.py").write_text(
        "from lacking import training_step\n\n@training_step()\ndef mynet(device): ...\n"
    )
    done = run_pytest(project, "--sumnet", "benchmarks")
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "No module named 'lacking'" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("words", "plugins", "named"),
    [
        ("-n 2", "-p xdist", "-n"),
        ("--sumnet-budget soon", "", "'soon'"),
        ("--sumnet-device gpu", "", "'gpu'"),
    ],
)
def test_what_would_spoil_the_measurement_is_refused_before_it(
    project: Path, words: str, plugins: str, named: str
) -> None:
    done = run_pytest(project, "--sumnet", *words.split(), "benchmarks", plugins=plugins)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert named in done.stderr
    assert not (project / "results").exists()
