"""What counts as code that is not a side's own; with real installations in tests/gate."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from bench.worker.import_check import shared_code

Load = Callable[[str], str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A side's, beside the other one."""
    (tmp_path / "sides" / "base").mkdir(parents=True)
    return tmp_path / "sides" / "base"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Pretends that a module was loaded from a place; the place."""

    def loaded(place: str) -> str:
        module = ModuleType("mine")
        module.__file__ = str(tmp_path / place)
        monkeypatch.setitem(sys.modules, "mine", module)
        return module.__file__

    return loaded


def shared(tree: Path) -> str:
    return shared_code(tree, "steps.py", tree.parents[1] / "checkout") or ""


@pytest.mark.parametrize("which", ["prefix", "base_prefix"])
def test_an_interpreter_inside_the_checkout_is_not_its_code(
    tree: Path, load: Load, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    place = load("checkout/.envs/default/lib/mine.py")
    assert place in shared(tree)
    monkeypatch.setattr(sys, which, str(tree.parents[1] / "checkout/.envs/default"))
    assert shared(tree) == ""


@pytest.mark.parametrize("prefix", ["checkout", "."])
def test_an_interpreter_around_the_checkout_hides_none_of_its_code(
    tree: Path, load: Load, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tree.parents[1] / prefix))
    assert load("checkout/python/mine.py") in shared(tree)


@pytest.mark.parametrize(
    ("place", "is_own"),
    [
        ("sides/base/mine.py", True),
        ("sides/base-python/lib/python3/site-packages/mine.py", True),
        ("sides/head/mine.py", False),
        ("checkout/.venv/lib/python3/site-packages/mine.py", True),
        ("elsewhere/mine.py", True),
    ],
)
def test_a_side_loads_nothing_of_the_other_one(
    tree: Path, load: Load, place: str, is_own: bool
) -> None:
    path = load(place)
    assert (path in shared(tree)) is not is_own


def test_a_module_without_a_place_is_nobodys(
    tree: Path, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    load("checkout")
    monkeypatch.setattr(sys.modules["mine"], "__file__", "_mine.py")  # as torch.classes has it
    assert shared(tree) == ""


def test_a_link_to_the_checkout_is_followed(tree: Path, load: Load, tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "checkout")
    assert load("link/mine.py") in shared(tree)
