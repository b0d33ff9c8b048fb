"""From an empty repository with a model to pairs with a change, as docs/own-steps.md says it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.examples.test_page import BLOCKS
from tests.gate.first_pair import interrupted_once_compared

ROOT = Path(__file__).parents[2]
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


@pytest.mark.slow
def test_slower_model_is_found(repository: Path) -> None:
    (repository / "mylib" / "__init__.py").write_text(MODEL.replace(*SLOWER))
    words = ("--base", "HEAD", "--batch", "32")
    found, pair = interrupted_once_compared(repository, repository / "report.json", *words)
    series = [name for _, name in found.series]
    effect = pair.lower_quartile[series.index("forward")]
    assert effect is not None and effect > 0.05, "by a fifth, as a rule"
    ((base, head),) = pair.peak_bytes.values()
    assert head > 1.1 * base


@pytest.mark.slow
def test_example_is_measured_in_a_checkout_of_this_suite(tmp_path: Path) -> None:
    root, example = tmp_path / "suite", Path("examples", "gan")
    for folder in ("bench", "sumnet", str(example)):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    commit_all(root)
    subprocess.run(["git", "apply", "changes/slower.diff"], cwd=root / example, check=True)
    words = (example / "steps.py", "--base", "HEAD")
    found, _ = interrupted_once_compared(root, tmp_path / "report.json", *words, suite=root)
    assert found.series == [(found.comparisons[0].id, "train_step")]
