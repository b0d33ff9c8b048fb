"""What counts as code that both sides share; with real installations in tests/gate."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from bench.worker.import_check import shared_code


@pytest.mark.parametrize("which", ["prefix", "base_prefix"])
def test_an_interpreter_inside_the_checkout_is_not_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    checkout, tree = tmp_path / "checkout", tmp_path / "sides" / "base"
    module = ModuleType("some_module")
    module.__file__ = str(checkout / ".envs" / "default" / "lib" / "some_module.py")
    monkeypatch.setitem(sys.modules, "some_module", module)
    assert module.__file__ in (shared_code(tree, checkout) or "")
    monkeypatch.setattr(sys, which, str(checkout / ".envs" / "default"))
    assert shared_code(tree, checkout) is None


@pytest.mark.parametrize(
    ("name", "in_tree", "is_shared"),
    [
        ("mine.net", "mine/net.py", True),
        ("mine", "src/mine/__init__.py", True),
        ("mine.other", "mine/net.py", False),  # of a namespace, the other part
        ("theirs", "mine/net.py", False),
    ],
)
def test_a_release_of_what_the_tree_holds_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, in_tree: str, is_shared: bool
) -> None:
    tree = tmp_path / "sides" / "base"
    (tree / in_tree).parent.mkdir(parents=True)
    (tree / in_tree).touch()
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    place = Path("site-packages", *name.split(".")).with_suffix(".py")
    module.__file__ = str(tmp_path / "sides" / "base-python" / place)
    assert shared_code(tree, tmp_path / "checkout") is None, "it is the side's own"
    module.__file__ = str(tmp_path / "elsewhere" / place)
    assert (shared_code(tree, tmp_path / "checkout") is not None) == is_shared
