"""The examples: each step trains, and each of its two changes is what the example says it is."""

import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.options import VERBS, options_of
from sumnet.steps import Declaration, Step
from tests.cases import declared

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/steps.py"))
CHANGES = ("slower", "refactored")
STEPS = 3


class Operators(TorchDispatchMode):
    """While entered, records the names of the operators that run, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(params=EXAMPLES, ids=named)
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of an example, as the root of a git repository of its own."""
    if request.param.name == "resnet18":
        pytest.importorskip("monai")
    copy = tmp_path / request.param.name
    shutil.copytree(request.param, copy, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "--quiet", copy], check=True)
    return copy


def apply(change: str, folder: Path) -> None:
    subprocess.run(["git", "apply", f"changes/{change}.diff"], cwd=folder, check=True)


def load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Declaration:
    """The step that a folder declares, its modules being imported anew."""
    with monkeypatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(sys, "dont_write_bytecode", True)
        for name in ("model", "steps"):
            patch.delitem(sys.modules, name, raising=False)
        declaration = declared(vars(importlib.import_module("steps")))
        for name in ("model", "steps"):
            del sys.modules[name]
    return declaration


def build(declaration: Declaration) -> Step:
    """The step at the first value of each of its axes, seeded as the suite does it."""
    torch.manual_seed(0)
    first = {name: axis.values[0] for name, axis in declaration.axes.items()}
    return declaration.build(first, "cpu", torch.float32)


def losses(step: Step) -> Iterator[float]:
    """The loss of each of STEPS steps."""
    if step.run is not None:
        for _ in range(STEPS):
            yield step.run().item()
        return
    assert step.model is not None and step.loss is not None
    optimizer = torch.optim.SGD(step.model.parameters(), lr=0.01)
    for _ in range(STEPS):
        loss = step.loss()
        loss.backward()
        without = [name for name, p in step.model.named_parameters() if p.grad is None]
        assert not without
        optimizer.step()
        optimizer.zero_grad()
        yield loss.item()


def test_there_are_five_and_each_says_what_it_is() -> None:
    assert {path.name for path in EXAMPLES} == {
        "convnet",
        "gan",
        "recommender",
        "resnet18",
        "transformer",
    }
    for path in EXAMPLES:
        assert {f"{change}.diff" for change in CHANGES} == {
            change.name for change in (path / "changes").iterdir()
        }
        assert (path / "README.md").is_file() and (path / "model.py").is_file()


def test_step_trains_and_begins_alike_from_one_seed(
    example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declaration = load(example, monkeypatch)
    first = list(losses(build(declaration)))
    assert all(torch.isfinite(torch.tensor(first)))
    assert len({*first}) == STEPS
    assert list(losses(build(declaration))) == first


def test_refactoring_runs_the_same_operators_to_the_same_losses(
    example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = ran_before_and_after("refactored", example, monkeypatch)
    assert after == before


def test_slowdown_runs_more_operators(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (_, before), (_, after) = ran_before_and_after("slower", example, monkeypatch)
    assert len(after) > len(before)


def ran_before_and_after(
    change: str, example: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[list[float], list[str]]]:
    """The losses and the operators of STEPS steps, without a change and with it."""
    found = []
    for apply_it in (False, True):
        if apply_it:
            apply(change, example)
        step = build(load(example, monkeypatch))
        with Operators() as operators:
            found.append((list(losses(step)), operators.names))
    return found


@pytest.mark.parametrize("change", CHANGES)
def test_change_applies_in_a_subfolder_of_a_repository_too(change: str, example: Path) -> None:
    shutil.rmtree(example / ".git")
    subprocess.run(["git", "init", "--quiet", example.parent], check=True)
    before = (example / "model.py").read_text()
    apply(change, example)
    assert (example / "model.py").read_text() != before


@pytest.mark.parametrize("page", sorted((ROOT / "examples").rglob("*.md")), ids=named)
def test_links_and_options_of_a_readme_exist(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s:]+)\)", text):
        assert (page.parent / target).exists()
    steps = "".join(path.read_text() for path in page.parent.glob("steps.py"))
    own = {f"--{axis}" for axis in re.findall(r"(\w+)=\[", steps)}
    suites = {option.flag for verb in VERBS for option in options_of(verb)}
    assert {*re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)} <= own | suites
