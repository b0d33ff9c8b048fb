"""Revisions that are not there, and how that is reported."""

from pathlib import Path

import pytest

from bench.machine.checkout import TARGETS
from tests.gate.sides.making import Options, clone, commit, git, made, refusal, write


@pytest.mark.parametrize("asked", [{}, {"base": "main"}, {"head": "main"}])
def test_git_must_be_there_for_revisions(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Options
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "cannot run git (No such file or directory)" in refusal(root, **asked)


@pytest.mark.parametrize("asked", [{}, {"base": "main"}, {"head": "main"}])
def test_revisions_need_a_checkout(tmp_path: Path, asked: Options) -> None:
    write(tmp_path / "bare", "here")
    why = refusal(tmp_path / "bare", **asked)
    assert f"{tmp_path / 'bare'} is no git checkout (git: not a git repository" in why
    assert "name a folder, or a revision from inside a checkout" in why


def test_another_projects_checkout_is_not_the_subjects(root: Path) -> None:
    installed = root / "venv" / "site-packages"
    write(installed, "installed")
    why = refusal(installed)
    assert f"{installed} is no git checkout of sumnet/, which git does not keep there" in why


def test_main_branch_must_be_there(root: Path) -> None:
    git(root, "branch", "-m", "main", "trunk")
    why = refusal(root)
    assert "none of origin/HEAD, origin/main, origin/master, main, master: name a --base" in why


def test_branch_that_a_change_is_meant_for_must_be_there(
    branch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TARGETS[0], "next")
    why = refusal(branch)
    assert "GITHUB_BASE_REF is 'next', and there is no branch origin/next here" in why
    assert "git fetch origin next" in why


def test_histories_must_meet(root: Path) -> None:
    git(root, "checkout", "--quiet", "--orphan", "other")
    commit(root, "other")
    assert "HEAD and main have no commit in common: name a --base" in refusal(root)


def test_first_commit_has_none_before_it(root: Path) -> None:
    git(root, "checkout", "--quiet", "--detach", "main~1")
    why = refusal(root)
    assert "on the main branch (main)" in why and "nothing comes before it: name a --base" in why


def test_checkout_without_a_commit_has_no_head(tmp_path: Path) -> None:
    write(tmp_path, "first")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "sumnet")
    assert "'HEAD' is neither a revision" in refusal(tmp_path)


@pytest.mark.parametrize(
    "revision",
    ["nowhere", "main..change", "^main", "main:sumnet", "main\nmain", "main~9", "x" * 999],
)
@pytest.mark.parametrize("option", ["base", "head"])
def test_revision_must_be_there(branch: Path, option: str, revision: str) -> None:
    why = refusal(branch, **{option: revision})
    assert why.startswith(
        f"--{option}: {revision!r} is neither a revision in {branch} nor a folder"
    )


def test_target_is_never_an_option_of_git(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TARGETS[0], "--all")
    assert "GITHUB_BASE_REF is '--all'" in refusal(root)


@pytest.mark.parametrize("option", ["base", "head"])
def test_revision_must_hold_the_subject(root: Path, option: str) -> None:
    git(root, "rm", "-r", "--quiet", "sumnet")
    bare = commit(root, None)
    commit(root, "back")
    why = refusal(root, **{option: "HEAD~1"})
    assert f"commit {bare[:10]} holds no sumnet/" in why


@pytest.mark.parametrize("option", ["base", "head"])
def test_folder_must_hold_the_subject(root: Path, option: str) -> None:
    folder = root / "sumnet"
    why = refusal(root, **{option: str(folder)})
    assert why == f"--{option}: {folder} holds no sumnet/: name the folder that sumnet/ is in"


def test_working_tree_must_hold_the_subject(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty holds no sumnet/: name a --head" in refusal(tmp_path / "empty")


@pytest.mark.parametrize(
    ("branch_name", "options", "asked"),
    [
        ("main", [], {}),
        ("main", [], {"base": "HEAD~1"}),
        ("change", [], {}),
        ("change", ["--no-single-branch"], {}),
        ("change", [], {"base": "main"}),
    ],
)
def test_shallow_clone_gives_how_to_deepen_it(
    branch: Path, branch_name: str, options: list[str], asked: Options
) -> None:
    shallow = clone(branch, "--depth", "1", "--branch", branch_name, *options)
    why = refusal(shallow, **asked)
    assert "`git fetch --unshallow`" in why and "`fetch-depth: 0`" in why
    git(shallow, "config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    git(shallow, "fetch", "--quiet", "--unshallow")
    if asked.get("base") != "main":
        assert made(shallow, **asked)[0] in ("second", "third")
