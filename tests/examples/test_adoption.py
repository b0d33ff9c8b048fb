"""From an empty repository with a model to a verdict on a change, as docs/own-steps.md says it."""

import os
import re
import shutil
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
    commit_all(root)
    return root


def commit_all(root: Path) -> None:
    """Make a folder a repository of one commit."""
    me = ("-c", "user.name=A User", "-c", "user.email=user@example.org")
    for words in (("init", "--quiet"), ("add", "."), (*me, "commit", "--quiet", "-m", "Start")):
        subprocess.run(["git", *words], cwd=root, check=True)


def bench(root: Path, *words: str, suite: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """What the command line does in a repository, with this suite and not an installed one."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(suite), "SUMNET_STATE": str(root.parent / "state")},
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
    lines = slower.stdout.splitlines()
    assert [line for line in lines if " regressed " in line and " forward " in line], slower.stdout
    model.write_text(MODEL + "\n# the same again\n")
    same = bench(repository, *words)
    assert same.returncode in (0, 3), same.stdout + same.stderr


@pytest.mark.slow
def test_example_is_judged_in_a_checkout_of_this_suite(tmp_path: Path) -> None:
    root, example = tmp_path / "suite", Path("examples", "gan")
    for folder in ("bench", "sumnet", str(example)):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    commit_all(root)
    subprocess.run(["git", "apply", "changes/slower.diff"], cwd=root / example, check=True)
    words = ("regress", str(example / "steps.py"), "--base", "HEAD", "--budget", "120")
    done = bench(root, *words, suite=root)
    # Whether it is detected is the machine's matter; that it is measured and judged is not.
    assert done.returncode in (1, 3), done.stdout + done.stderr
    assert re.search("^(REGRESSED|INCONCLUSIVE): ", done.stdout, re.MULTILINE), done.stdout
