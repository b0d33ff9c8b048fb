"""What conftest.py sees to: tests have a home and data of their own."""

import os
from pathlib import Path

import pytest

from tests.conftest import RESULTS


def test_what_users_measured_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(RESULTS.parent)
    for path in (RESULTS, Path("results")):
        with pytest.raises(AssertionError, match="give it data of its own"):
            (path / "README.md").read_text()
        with pytest.raises(AssertionError, match="give it data of its own"):
            list(path.glob("*.json"))


def test_home_is_a_temporary_folder_and_settings_of_users_are_gone() -> None:
    assert Path.home().name.startswith("sumnet-tests-")
    users = [name for name in os.environ if name.startswith(("GIT_", "PIP_", "XDG_"))]
    assert set(users) <= {"XDG_STATE_HOME"}
    assert all(Path(os.environ[name]).is_relative_to(Path.home()) for name in users)
