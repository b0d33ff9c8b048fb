"""Subjects out of git are what was committed, whatever git is configured to do."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.gate.sides.making import Options, clone, commit, git, made, refusal, sides, write

CONVERTED = {
    "export-ignore": ("sumnet/** export-ignore", []),
    "export-subst": ("sumnet/** export-subst", []),
    "line ends": ("sumnet/** text eol=crlf", []),
    "line ends, as configured": ("", ["core.autocrlf=true"]),
    "ident": ("sumnet/** ident", []),
    "encoding": ("sumnet/** working-tree-encoding=UTF-16LE", []),
    "filter": (
        "sumnet/** filter=shout",
        ["filter.shout.clean=tr A-Z a-z", "filter.shout.smudge=tr a-z A-Z"],
    ),
}


@pytest.fixture(params=CONVERTED)
def converted(request: pytest.FixtureRequest, root: Path) -> Path:
    """The checkout, on a commit whose files git converted when it checked them out."""
    attributes, settings = CONVERTED[request.param]
    write(root, "third")
    if "filter" not in attributes:  # whose cleaning would change the case of this
        (root / "sumnet" / "more.py").write_text("'$Format:%H$'\n'$Id$'\n")
    git(root, "add", "sumnet")
    (root / ".gitattributes").write_text(f"{attributes}\n")
    git(root, "add", ".gitattributes")
    git(root, "commit", "--quiet", "-m", "third")
    for setting in settings:
        git(root, "config", *setting.split("=", 1))
    for file in (root / "sumnet").iterdir():
        file.unlink()
    git(root, "checkout", "--quiet", "--", "sumnet")
    assert git(root, "status", "--porcelain") == ""
    return root


def test_unchanged_tree_is_its_commit_however_git_converted_it(converted: Path) -> None:
    files = git(converted, "ls-files", "sumnet").split()
    with sides(converted, base="HEAD", env=["A=1"]) as (base, head):
        assert base.subject_hash == head.subject_hash
        for file in files:
            blob = subprocess.run(
                ["git", "-C", str(converted), "cat-file", "blob", f"HEAD:{file}"],
                capture_output=True,
                check=True,
            ).stdout
            assert (base.subject / file).read_bytes() == blob
            assert (head.subject / file).read_bytes() == blob
    base_text, head_text, _, what = made(converted)
    assert (base_text, head_text) == ("second", "third")
    assert what == f"working tree (commit {git(converted, 'rev-parse', '--short=10', 'HEAD')})"


def test_edit_is_seen_among_files_that_git_converted(converted: Path) -> None:
    write(converted, "edited")
    assert made(converted)[:2] == ("third", "edited")


def test_folder_in_another_checkout_is_as_git_holds_it(root: Path) -> None:
    there = clone(root, "--config", "core.autocrlf=true")
    assert b"\r\n" in (there / "sumnet" / "train.py").read_bytes()
    assert "both sides load the same subject" in refusal(root, base=str(there))


def test_copy_of_a_read_only_file_is_as_git_holds_it(root: Path) -> None:
    git(root, "config", "core.autocrlf", "true")
    (root / "sumnet" / "train.py").write_bytes(b"'second'\r\n")
    (root / "sumnet" / "train.py").chmod(0o444)
    with sides(root) as (_, head):
        assert (head.subject / "sumnet" / "train.py").read_bytes() == b"'second'\n"


def test_file_that_a_filter_refuses_counts_as_changed(root: Path) -> None:
    (root / ".gitattributes").write_text("*.py filter=gone\n")
    git(root, "config", "filter.gone.clean", "false")
    git(root, "config", "filter.gone.required", "true")
    (root / "sumnet" / "train.py").write_bytes(b"'second'\r\n")
    assert made(root)[2].endswith("(HEAD)")


HIDING = {
    "status.showUntrackedFiles": "no",
    "core.excludesFile": "ignored",
    "core.ignoreStat": "true",
    "core.fsmonitor": "true",
    "core.untrackedCache": "true",
    "core.quotePath": "true",
    "color.ui": "always",
    "status.relativePaths": "false",
    "diff.noprefix": "true",
    "log.showSignature": "true",
    "alias.ls-tree": "log",
}


def hide(root: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configure git so that `git status` shows no new file, in the checkout or by variables."""
    settings = HIDING | {"core.excludesFile": str(root.parent / "ignored")}
    (root.parent / "ignored").write_text("*.py\n")
    if how == "files":
        for name, value in settings.items():
            git(root, "config", name, value)
    else:
        monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(settings)))
        for number, (name, value) in enumerate(settings.items()):
            monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", name)
            monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)


@pytest.mark.parametrize("how", ["files", "environment"])
def test_configuration_hides_no_change(
    root: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    hide(root, how, monkeypatch)
    assert made(root)[:2] == ("first", "second")
    new = root / "sumnet" / 'n\u00e9w "module"\n.py'
    new.write_text("")
    with sides(root) as (base, head):
        assert base.what.endswith("(HEAD)")
        assert (head.subject / "sumnet" / new.name).exists()
        assert head.what == "working tree (with uncommitted changes)"
    git(root, "add", "--force", ".")
    git(root, "commit", "--quiet", "-m", "new")
    with sides(root) as (base, head):
        assert base.what.endswith("(HEAD~1)")
        assert head.what.startswith("working tree (commit ")
    with sides(root, base="HEAD", head="HEAD~1") as (base, head):
        assert (base.subject / "sumnet" / new.name).exists()


def test_ignored_module_is_measured_and_so_makes_the_tree_differ(root: Path) -> None:
    (root / ".gitignore").write_text("local.py\n")
    commit(root, None)
    (root / "sumnet" / "local.py").write_text("")
    with sides(root) as (base, head):
        assert base.what.endswith("(HEAD)")
        assert (head.subject / "sumnet" / "local.py").exists()


@pytest.mark.parametrize("bit", ["--assume-unchanged", "--skip-worktree"])
def test_bits_of_the_index_hide_no_change(root: Path, bit: str) -> None:
    git(root, "update-index", bit, "sumnet/train.py")
    write(root, "edited")
    assert made(root)[:2] == ("second", "edited")


@pytest.mark.parametrize(
    "name",
    [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_PREFIX",
        "GIT_COMMON_DIR",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_NAMESPACE",
        "GIT_SHALLOW_FILE",
        "GIT_GRAFT_FILE",
        "GIT_REPLACE_REF_BASE",
        "GIT_ICASE_PATHSPECS",
        "GIT_EXTERNAL_DIFF",
        "GIT_DEFAULT_HASH",
        "GIT_TRACE",
        "GIT_TRACE2",
    ],
)
def test_variables_of_git_do_not_mislead(
    branch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    assert made(branch)[:2] == ("second", "fourth")


@pytest.mark.parametrize("how", ["replace", "graft"])
def test_history_is_what_was_committed(root: Path, how: str) -> None:
    head, first = git(root, "rev-parse", "HEAD", "HEAD~1").split()
    third = commit(root, "third")
    if how == "replace":
        git(root, "replace", head, first)
    else:
        (root / ".git" / "info" / "grafts").write_text(f"{third} {first}\n")
    assert made(root)[:2] == ("second", "third")


def test_executable_bits_are_kept(root: Path) -> None:
    (root / "sumnet" / "tool").write_text("")
    (root / "sumnet" / "tool").chmod(0o755)
    commit(root, "third")
    with sides(root, base="HEAD~1", head="HEAD") as (_, head):
        assert os.access(head.subject / "sumnet" / "tool", os.X_OK)
        assert not os.access(head.subject / "sumnet" / "train.py", os.X_OK)


def test_bytecode_that_was_committed_is_left_behind(root: Path) -> None:
    (root / "sumnet" / "__pycache__").mkdir()
    (root / "sumnet" / "__pycache__" / "train.pyc").write_text("")
    commit(root, "third")
    with sides(root, base="HEAD~1", head="HEAD") as (_, head):
        assert [path.name for path in (head.subject / "sumnet").iterdir()] == ["train.py"]


@pytest.mark.parametrize("kind", ["a symbolic link", "a submodule", "a Git LFS pointer"])
def test_commit_without_all_of_the_subject_is_refused(root: Path, kind: str) -> None:
    odd = root / "sumnet" / "odd.py"
    if kind == "a symbolic link":
        odd.symlink_to("train.py")
    elif kind == "a submodule":
        git(root.parent, "clone", "--quiet", f"file://{root}", str(odd))
    else:
        odd.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    whole = commit(root, None)
    why = refusal(root, base="HEAD")
    assert f"commit {whole[:10]} holds sumnet/odd.py as {kind}" in why
    assert "name a folder in which that commit is checked out" in why


def test_content_that_an_lfs_pointer_stands_for_stays_in_the_working_tree(root: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    git(root, "config", "filter.lfs.clean", f"printf '{pointer}'".replace("\n", "\\n"))
    (root / "sumnet" / "large.py").write_text(pointer)
    commit(root, None)
    (root / ".gitattributes").write_text("large.py filter=lfs\n")
    (root / "sumnet" / "large.py").write_text("'large'")
    with sides(root, base="HEAD~1") as (_, head):
        assert (head.subject / "sumnet" / "large.py").read_text() == "'large'"
        assert head.what.startswith("working tree (commit ")


def test_link_that_is_committed_is_no_change(root: Path) -> None:
    (root / "sumnet" / "link.py").symlink_to("train.py")
    commit(root, None)
    with sides(root, same=True) as (_, head):
        assert head.what.startswith("working tree (commit ")


REFUSED = """warning: something else
fatal: detected dubious ownership in repository at '/there'
To add an exception for this directory, call:

\tgit config --global --add safe.directory /there
"""


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            REFUSED,
            "detected dubious ownership in repository at '/there'; To add an exception for this "
            "directory, call: git config --global --add safe.directory /there",
        ),
        ("error: object 1 is corrupt\nfatal: loose object 1", "object 1 is corrupt; fatal: loose"),
        ("xcrun: invalid developer path\n", "xcrun: invalid developer path"),
        ("", "status 128"),
    ],
)
@pytest.mark.parametrize("asked", [{}, {"base": "main"}, {"head": "main"}])
def test_git_that_refuses_is_quoted(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: Options,
    said: str,
    reason: str,
) -> None:
    stub = tmp_path / "stub" / "git"
    stub.parent.mkdir()
    stub.write_text(f"#!/bin/sh\nprintf %s {shlex.quote(said)} >&2\nexit 128\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    assert f"git cannot read the checkout in {root}: {reason}" in refusal(root, **asked)


def test_commit_that_is_damaged_is_reported_in_gits_words(root: Path) -> None:
    blob = git(root, "rev-parse", "HEAD~1:sumnet/train.py")
    (root / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    assert refusal(root) == (
        "git cannot read sumnet/train.py: its content is missing; `git fsck` checks for damage"
    )
    tree = git(root, "rev-parse", "HEAD~1:sumnet")
    (root / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    base = git(root, "rev-parse", "--short=10", "HEAD~1")
    assert f"git cannot read commit {base}: " in refusal(root)
