"""Whose steps file the sides load, and what comes along with it."""

from pathlib import Path

import pytest

from tests.gate.repositories.making import STEPS, commit, files, refusal, sides
from tests.gate.sides.making import git

CHANGED = STEPS + "# changed\n"


def test_both_sides_load_the_heads_steps(top: Path) -> None:
    commit(top, {"benchmarks/steps.py": CHANGED})
    with sides(top) as (base, head):
        assert files(base.subject)["benchmarks/steps.py"] == CHANGED
        assert base.what.endswith(", with the benchmarks/steps.py of the head")
        assert "with the" not in head.what


def test_or_the_bases(top: Path) -> None:
    commit(top, {"benchmarks/steps.py": CHANGED})
    with sides(top, steps_from="base") as (base, head):
        assert files(head.subject)["benchmarks/steps.py"] == STEPS
        assert head.what.endswith(", with the benchmarks/steps.py of the base")
        assert "with the" not in base.what


@pytest.mark.parametrize("mark", ["@training_step()", "@sumnet.training_step(\n    batch=[1],\n)"])
def test_steps_that_only_the_other_file_declares_are_named(top: Path, mark: str) -> None:
    commit(top, {"benchmarks/steps.py": f"{STEPS}\n\n{mark}\ndef gone(device):\n    return 1\n"})
    git(top, "branch", "--force", "main")
    commit(top, {"benchmarks/steps.py": CHANGED})
    with sides(top) as (base, _):
        assert base.what.endswith(" of the head, not measuring gone")
    commit(top, {"benchmarks/steps.py": f"{STEPS}\nit does not parse\n"})
    with sides(top) as (base, _):
        assert base.what.endswith(" of the head, not measuring gone, tiny")


def test_helpers_that_are_new_come_along_and_others_stay(top: Path) -> None:
    commit(top, {"benchmarks/data.py": "old", "benchmarks/net.py": "old"})
    git(top, "branch", "--force", "main")
    commit(top, {"benchmarks/data.py": "new", "benchmarks/more/helper.py": "", "other.py": ""})
    with sides(top) as (base, head):
        assert files(base.subject)["benchmarks/data.py"] == "old"
        assert "benchmarks/more/helper.py" in files(base.subject)
        assert "other.py" not in files(base.subject)
        assert files(head.subject)["benchmarks/data.py"] == "new"


def test_nothing_is_written_through_a_link_out_of_the_repository(top: Path, tmp_path: Path) -> None:
    (top / "benchmarks").rename(tmp_path / "moved")
    (top / "benchmarks").symlink_to(tmp_path / "moved")
    commit(top)
    git(top, "branch", "--force", "main")
    (top / "benchmarks").unlink()
    commit(top, {"benchmarks/steps.py": CHANGED})
    assert "benchmarks is a link out of the repository" in refusal(top)
    assert (tmp_path / "moved/steps.py").read_text() == STEPS


@pytest.mark.parametrize("steps", ["steps.py", "newlib/steps.py", "newlib/bench/steps.py"])
def test_code_under_test_never_comes_along(top: Path, steps: str) -> None:
    commit(top, {"newlib/__init__.py": "", "net.py": "", "newlib/bench/net.py": "", steps: STEPS})
    with sides(top, steps=steps) as (base, _):
        assert {*files(base.subject)} == {
            "mylib/__init__.py",
            "mylib/net.py",
            "benchmarks/steps.py",
            steps,
        }


def test_first_steps_of_a_repository_are_taken_to_the_base(top: Path) -> None:
    commit(top, {"benchmarks/own/steps.py": STEPS, "benchmarks/own/helper.py": ""})
    with sides(top, steps="benchmarks/own/steps.py") as (base, head):
        assert files(base.subject)["benchmarks/own/helper.py"] == ""
        assert base.steps == head.steps == "benchmarks/own/steps.py"
    why = refusal(top, steps="benchmarks/own/steps.py", steps_from="base")
    assert "the base (commit" in why and "holds no benchmarks/own/steps.py" in why


def test_steps_that_git_ignores_are_told(top: Path) -> None:
    commit(top, {".gitignore": "own.py\n"})
    (top / "benchmarks" / "own.py").write_text(STEPS)
    assert "holds no benchmarks/own.py; git ignores it" in refusal(top, steps="benchmarks/own.py")


def test_steps_that_are_not_there_are_told(top: Path, tmp_path: Path) -> None:
    assert f"there is no file nowhere.py in {top}" in refusal(top, steps="nowhere.py")
    assert f"there is no file {tmp_path}/nowhere.py" in refusal(tmp_path, steps="nowhere.py")


def test_steps_may_be_in_the_head_alone(top: Path) -> None:
    commit(top, {"benchmarks/new.py": STEPS})
    git(top, "checkout", "--quiet", "main")
    with sides(top, steps="benchmarks/new.py", head="change") as (base, _):
        assert files(base.subject)["benchmarks/new.py"] == STEPS
