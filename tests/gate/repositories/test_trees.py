"""What is laid of a repository: everything that git keeps, as it is there, and nothing else."""

import os
from pathlib import Path

import pytest

from tests.gate.repositories.making import (
    LIBRARY,
    STEPS,
    commit,
    files,
    refusal,
    sides,
    untouched,
    write,
)
from tests.gate.sides.making import clone, git


def test_sides_are_the_whole_repository_at_paths_of_one_length(top: Path) -> None:
    with sides(top) as (base, head):
        assert files(base.subject) == {
            "mylib/__init__.py": "",
            "mylib/net.py": LIBRARY,
            "benchmarks/steps.py": STEPS,
        }
        assert files(head.subject)["mylib/net.py"].endswith("# changed\n")
        assert base.steps == head.steps == "benchmarks/steps.py"
        assert len(str(base.subject)) == len(str(head.subject))
        assert (
            base.what
            == f"commit {git(top, 'rev-parse', '--short=10', 'main')} (merge base with main)"
        )
        assert head.what == f"working tree (commit {git(top, 'rev-parse', '--short=10', 'HEAD')})"


def test_working_tree_is_what_git_keeps_or_would_keep(top: Path) -> None:
    commit(top, {".gitignore": "*.log\n", "gone.py": "", "mylib/old.py": ""})
    (top / "gone.py").unlink()
    git(top, "rm", "--quiet", "--cached", "mylib/old.py")
    write(
        top,
        {
            "mylib/net.py": "edited",
            "new.py": "new",
            "run.log": "ignored",
            "mylib/__pycache__/net.pyc": "bytecode",
            "env/pyvenv.cfg": "",
            "env/lib/python3/site-packages/x.py": "another's",
        },
    )
    git(top, "init", "--quiet", "nested")
    write(top, {"nested/a.py": "another repository's"})
    with sides(top) as (base, head):
        assert head.what == "working tree (with uncommitted changes)"
        assert files(head.subject) == {
            ".gitignore": "*.log\n",
            "mylib/__init__.py": "",
            "mylib/net.py": "edited",
            "mylib/old.py": "",
            "benchmarks/steps.py": STEPS,
            "new.py": "new",
        }
        assert "new.py" not in files(base.subject)


@pytest.mark.parametrize(
    ("name", "counts"),
    [("mylib/more.py", True), ("notes.txt", False), ("env/x.py", False), ("ignored.py", False)],
)
def test_on_the_main_branch_a_new_module_is_a_change_and_litter_is_none(
    top: Path, name: str, counts: bool
) -> None:
    git(top, "checkout", "--quiet", "-B", "main")
    commit(top, {".gitignore": "ignored.py\n"})
    write(top, {name: "new", "env/pyvenv.cfg": ""})
    with sides(top) as (base, _):
        assert base.what.endswith("(HEAD)" if counts else "(HEAD~1)")


@pytest.mark.parametrize("name", ["mylib/net.py", "data.txt"])
@pytest.mark.parametrize("how", ["edited", "deleted"])
def test_on_the_main_branch_any_edit_is_a_change(top: Path, name: str, how: str) -> None:
    git(top, "checkout", "--quiet", "-B", "main")
    commit(top, {"data.txt": "1", "mylib/net.py": LIBRARY})
    if how == "edited":
        write(top, {name: "2"})
    else:
        (top / name).unlink()
    with sides(top) as (base, _):
        assert base.what.endswith("(HEAD)")


def test_nothing_changes_in_the_checkout(top: Path) -> None:
    write(top, {"mylib/net.py": "edited", "new.py": ""})
    os.utime(top / "mylib/__init__.py", (0, 0))  # git would refresh its index
    before = untouched(top)
    with sides(top, build="true"):
        pass
    assert untouched(top) == before


def test_modes_and_links_stay(top: Path) -> None:
    write(top, {"tool.sh": "echo"})
    (top / "tool.sh").chmod(0o755)
    (top / "inside").symlink_to("mylib/net.py")
    (top / "absolute").symlink_to(top / "mylib")
    commit(top)
    with sides(top, base="HEAD", env=["A=1"]) as both:
        for side in both:
            assert os.access(side.subject / "tool.sh", os.X_OK)
            assert not os.access(side.subject / "mylib/net.py", os.X_OK)
            assert str((side.subject / "inside").readlink()) == "mylib/net.py"
            assert (side.subject / "absolute").resolve() == side.subject / "mylib"


def test_links_out_of_the_repository_lead_where_they_led(top: Path, tmp_path: Path) -> None:
    write(tmp_path, {"shared/data.txt": "data"})
    (top / "mylib" / "data").symlink_to("../../shared")
    commit(top)
    said: list[str] = []
    with sides(top, base="HEAD", env=["A=1"], say=said.append) as both:
        for side in both:
            assert (side.subject / "mylib/data/data.txt").read_text() == "data"
    assert (
        f"mylib/data is a link out of the repository: both sides read {tmp_path}/shared" in said[0]
    )


def test_nothing_is_written_through_a_link_out_of_the_repository(top: Path, tmp_path: Path) -> None:
    commit(top, {".gitattributes": "*.txt text eol=crlf\n", "mylib/data/a.txt": "data\n"})
    (top / "mylib/data/a.txt").unlink()
    (top / "mylib/data").rename(tmp_path / "moved")
    write(tmp_path, {"moved/a.txt": b"data\r\n"})  # as git would check it out
    (top / "mylib/data").symlink_to(tmp_path / "moved")
    with sides(top, base="HEAD~1"):
        pass
    assert (tmp_path / "moved/a.txt").read_bytes() == b"data\r\n"


def test_line_ends_are_those_that_git_stores(top: Path) -> None:
    commit(top, {".gitattributes": "*.py text eol=crlf\n"})
    for name in ("mylib/net.py", "benchmarks/steps.py"):
        (top / name).unlink()
    git(top, "checkout", "--quiet", "--", ".")
    assert b"\r\n" in (top / "mylib/net.py").read_bytes()
    assert "nothing can have changed" in refusal(top, base="HEAD")
    with sides(top) as (_, head):
        assert b"\r" not in (head.subject / "mylib/net.py").read_bytes()
        assert "uncommitted" not in head.what


# Where it lies


def test_repository_is_the_checkout_around_the_steps_file(
    top: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commit(top, {"packages/a/benchmarks/steps.py": STEPS})
    commit(top, {"packages/b/b.py": "changed"})
    for here in (top, top / "packages" / "a", tmp_path):
        monkeypatch.chdir(here)
        file = os.path.relpath(top / "packages/a/benchmarks/steps.py")
        with sides(Path(), steps=file) as (base, head):
            assert base.steps == "packages/a/benchmarks/steps.py"
            assert "packages/b/b.py" in files(head.subject)


def test_detached_heads_and_linked_worktrees_are_checkouts(top: Path, tmp_path: Path) -> None:
    git(top, "checkout", "--quiet", "--detach")
    git(top, "worktree", "add", "--quiet", str(tmp_path / "linked"), "HEAD")
    for folder in (top, tmp_path / "linked"):
        with sides(folder, build="git describe --always") as (base, head):
            assert base.what.partition(",")[0].endswith("(merge base with main)")
            assert files(head.subject)["mylib/net.py"].endswith("# changed\n")


def test_shallow_clone_says_how_to_deepen_it(top: Path) -> None:
    shallow = clone(top, "--depth", "1", "--branch", "change")
    assert "this clone is shallow" in refusal(shallow)


def test_shallow_clone_is_built_where_it_holds_both_commits(top: Path) -> None:
    git(top, "tag", "v1", "main")
    shallow = clone(top, "--depth", "1", "--branch", "change", "--no-single-branch")
    with sides(
        shallow, base="origin/main", build="git describe --tags > said; git log > log"
    ) as both:
        assert files(both[0].subject)["said"] == "v1\n"


def test_bases_may_be_folders(top: Path, tmp_path: Path) -> None:
    old = clone(top, "--branch", "main")
    write(tmp_path / "bare", {"benchmarks/steps.py": STEPS, ".venv/pyvenv.cfg": "", ".venv/x": ""})
    with sides(top, base=str(old)) as (base, _):
        assert files(base.subject)["mylib/net.py"] == LIBRARY
        assert base.what == f"folder {old}"
    with sides(top, base=str(tmp_path / "bare")) as (base, _):
        assert list(files(base.subject)) == ["benchmarks/steps.py"]
    assert "holds no benchmarks/steps.py" in refusal(top, base=str(top / "mylib"))


def test_without_git_one_tree_can_be_compared_with_itself(tmp_path: Path) -> None:
    write(tmp_path / "plain", {"steps.py": STEPS, "mylib.py": LIBRARY})
    assert "is no git checkout" in refusal(tmp_path / "plain", steps="steps.py")
    with sides(tmp_path / "plain", steps="steps.py", same=True) as (base, head):
        assert (
            files(base.subject) == files(head.subject) == {"steps.py": STEPS, "mylib.py": LIBRARY}
        )


@pytest.mark.parametrize("options", [{"base": "HEAD"}, {"base": "change", "head": "HEAD"}])
def test_same_commit_on_both_sides_cannot_differ(top: Path, options: dict[str, str]) -> None:
    assert "nothing can have changed" in refusal(top, **options)


def test_change_of_any_file_is_a_change(top: Path) -> None:
    commit(top, {"src/kernel.c": "int f;"})
    with sides(top, base="HEAD~1"):
        pass
    with sides(top, same=True):
        pass
    assert "--same" in refusal(top, base="HEAD~1", same=True)


def test_new_file_is_a_change_where_python_would_import_it(top: Path) -> None:
    git(top, "checkout", "--quiet", "main")
    write(top, {"notes.txt": "", "mylib/_c.abi3.so": ""})
    with sides(top) as (base, _):
        assert base.what.endswith("(HEAD)")
