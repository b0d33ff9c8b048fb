"""A small repository with a training step of its own."""

from pathlib import Path

import pytest

from tests.gate.repositories.making import LIBRARY, STEPS, commit
from tests.gate.sides.conftest import temporary  # noqa: F401 - a fixture of these tests too
from tests.gate.sides.making import git


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Its checkout, on a branch with one commit more than its main branch."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, {"mylib/__init__.py": "", "mylib/net.py": LIBRARY, "benchmarks/steps.py": STEPS})
    git(folder, "checkout", "--quiet", "-b", "change")
    commit(folder, {"mylib/net.py": LIBRARY + "# changed\n"})
    return folder
