"""Checkouts to make sides of."""

import os
import tempfile
from pathlib import Path

import pytest

from bench.machine.checkout import TARGETS
from tests.gate.sides.making import commit, git


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made; git knows nobody's settings, and we are in no CI."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    for name in [*TARGETS, *(name for name in os.environ if name.startswith("GIT_"))]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@b")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout on its main branch, with two commits."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, "first")
    commit(folder, "second")
    return folder


@pytest.fixture
def branch(root: Path) -> Path:
    """The same on a branch with two commits, while the main branch went on."""
    git(root, "checkout", "--quiet", "-b", "change")
    commit(root, "third")
    commit(root, "fourth")
    git(root, "checkout", "--quiet", "main")
    commit(root, "elsewhere")
    git(root, "checkout", "--quiet", "change")
    return root
