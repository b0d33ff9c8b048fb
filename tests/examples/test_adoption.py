"""From an empty repository with a model to a verdict on a change, as docs/own-steps.md says it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.test_page import BLOCKS

ROOT = Path(__file__).parents[2]
PATIENCE_S = 600
MODEL = """
from torch import nn


class MyNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3072, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, images):
        return self.layers(images.flatten(1))
"""
SLOWER = ("images.flatten(1)", "(images - images.mean(dim=(2, 3), keepdim=True)).flatten(1)")
PROJECT = """
[tool.sumnet-bench]
steps = "benchmarks/steps.py"
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a model, the page's steps file, and one commit."""
    root = tmp_path / "repository"
    for path, text in (
        ("mylib/__init__.py", MODEL),
        ("benchmarks/steps.py", BLOCKS[0]),
        ("pyproject.toml", PROJECT),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    me = ("-c", "user.name=A User", "-c", "user.email=user@example.org")
    for words in (("init", "--quiet"), ("add", "."), (*me, "commit", "--quiet", "-m", "Start")):
        subprocess.run(["git", *words], cwd=root, check=True)
    return root


def bench(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What the command line does in a repository, with this suite and not an installed one."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SUMNET_STATE": str(root.parent / "state")},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.slow
def test_slower_model_is_found_and_the_old_one_is_not_flagged(repository: Path) -> None:
    words = ("regress", "--base", "HEAD", "--batch", "32", "--budget", "120")
    model = repository / "mylib" / "__init__.py"
    model.write_text(MODEL.replace(*SLOWER))
    slower = bench(repository, *words)
    assert slower.returncode == 1, slower.stdout + slower.stderr
    assert "REGRESSED" in slower.stdout
    model.write_text(MODEL + "\n# the same again\n")
    same = bench(repository, *words)
    assert same.returncode in (0, 3), same.stdout + same.stderr
