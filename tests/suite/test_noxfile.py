"""The two commands of the README: their sessions exist, and what they install is pinned."""

import importlib.util
import re
import subprocess
import sys
import tomllib

import pytest

from tests.suite.driving import ROOT


def requirement_name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def constraints() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.skipif(importlib.util.find_spec("nox") is None, reason="nox is not installed here")
def test_noxfile_lists_its_four_sessions() -> None:
    command = [sys.executable, "-m", "nox", "--list", "-f", "noxfile.py"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    sessions = re.findall(r"^[*-] (\w+) -> \S", ran.stdout, flags=re.MULTILINE)
    assert sorted(sessions) == ["bench", "compare", "lint", "tests"]


def test_constraints_pin_every_direct_dependency_but_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = {requirement_name(r) for r in project["dependencies"]}
    wanted |= {requirement_name(r) for extra in extras for r in extra}
    assert "torch" in wanted
    assert wanted - {requirement_name(line) for line in constraints()} == {"torch"}


def test_every_constraint_is_one_exact_version() -> None:
    loose = [line for line in constraints() if not re.fullmatch(r"[\w.-]+==[0-9][\w.!+]*", line)]
    assert loose == []
    names = [requirement_name(line) for line in constraints()]
    assert sorted(set(names)) == sorted(names)
