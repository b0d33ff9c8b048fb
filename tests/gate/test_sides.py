"""Two sides, laid side by side out of real git checkouts, and gone when they are done with."""

import ast
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
import torch

from bench.errors import MachineError, UsageError
from bench.gate import interpreters, sides
from bench.gate.sides import OURS, Asked, Made, make_sides, subject_root
from bench.machine.checkout import TARGETS
from bench.protocol.interpreter import describe
from bench.protocol.messages import Interpreter
from bench.protocol.subject import subject_hash
from tests.runner.processes import is_gone
from tests.test_structure import ROOT, imported

NO_BASE = Asked()


def naming(option: str, text: str) -> Asked:
    return Asked(base=text) if option == "base" else Asked(head=text)


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def write(root: Path, text: str) -> None:
    """A subject that differs from those with another text."""
    (root / "sumnet").mkdir(parents=True, exist_ok=True)
    (root / "sumnet" / "train.py").write_text(f"{text!r}\n")


def commit(root: Path, text: str | None) -> str:
    """A commit whose subject says the text; None for one that leaves it as it is."""
    if text is not None:
        write(root, text)
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--allow-empty", "-m", text or "nothing")
    return git(root, "rev-parse", "HEAD")


def says(made: Made) -> str:
    return (made.side.subject / "sumnet" / "train.py").read_text().strip().strip("'")


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


def clone(root: Path, *options: str) -> Path:
    target = root.parent / "clone"
    git(root.parent, "clone", "--quiet", *options, f"file://{root}", str(target))
    return target


def made(asked: Asked, root: Path) -> tuple[str, str, str, str]:
    """What both subjects say, and what both sides are called."""
    with make_sides(asked, root, print) as (base, head):
        return says(base), says(head), base.what, head.what


def refusal(asked: Asked, root: Path) -> str:
    """Why there are no such sides; none of their folders stays."""
    with pytest.raises(UsageError) as caught, make_sides(asked, root, print):
        pass
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    return str(caught.value)


# Which subjects


def test_branch_is_held_against_where_it_left_the_main_branch(branch: Path) -> None:
    base = git(branch, "rev-parse", "--short=10", "main~1")
    head = git(branch, "rev-parse", "--short=10", "HEAD")
    assert made(NO_BASE, branch) == (
        "second",
        "fourth",
        f"commit {base} (merge base with main)",
        f"working tree (commit {head})",
    )


def test_uncommitted_changes_belong_to_the_head(branch: Path) -> None:
    write(branch, "edited")
    (branch / "sumnet" / "new.py").write_text("")
    with make_sides(NO_BASE, branch, print) as (base, head):
        assert (says(base), says(head)) == ("second", "edited")
        assert (head.side.subject / "sumnet" / "new.py").exists()
        assert head.what == "working tree (with uncommitted changes)"
    assert git(branch, "status", "--porcelain") == "M sumnet/train.py\n?? sumnet/new.py"


def test_main_branch_is_held_against_the_commit_before(root: Path) -> None:
    assert made(NO_BASE, root)[:2] == ("first", "second")
    assert made(NO_BASE, root)[2].endswith("(HEAD~1)")


def test_changes_on_the_main_branch_are_held_against_its_commit(root: Path) -> None:
    write(root, "edited")
    assert made(NO_BASE, root)[:2] == ("second", "edited")
    assert made(NO_BASE, root)[2].endswith("(HEAD)")


@pytest.mark.parametrize("file", ["README.md", "sumnet/__pycache__/train.pyc"])
def test_what_is_not_the_subject_does_not_make_it_dirty(root: Path, file: str) -> None:
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text("new")
    assert made(NO_BASE, root)[:2] == ("first", "second")


@pytest.mark.parametrize("main", ["main", "master", "trunk"])
def test_main_branch_of_a_clone_is_its_origins(branch: Path, main: str) -> None:
    git(branch, "branch", "-m", "main", main)
    git(branch, "checkout", "--quiet", main)
    there = clone(branch)
    git(there, "checkout", "--quiet", "change")
    git(there, "branch", "--quiet", "-D", main)
    base, head, what, _ = made(NO_BASE, there)
    assert (base, head) == ("second", "fourth")
    assert what.endswith(f"(merge base with origin/{main})")


@pytest.mark.parametrize("name", ["main", "master"])
def test_main_branch_is_found_without_an_origin(root: Path, name: str) -> None:
    git(root, "checkout", "--quiet", "--detach")
    git(root, "branch", "-m", "main", name)
    commit(root, "third")
    assert made(NO_BASE, root)[:2] == ("second", "third")


@pytest.mark.parametrize("variable", TARGETS)
def test_branch_that_a_change_is_meant_for_goes_before_the_main_one(
    branch: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    git(branch, "branch", "next", "change~1")
    there = clone(branch)
    monkeypatch.setenv(variable, "next")
    base, head, what, _ = made(NO_BASE, there)
    assert (base, head) == ("third", "fourth")
    assert what.endswith("(merge base with origin/next)")


def test_unset_target_is_no_target(branch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TARGETS[0], "")
    assert made(NO_BASE, branch)[0] == "second"


def test_base_and_head_may_be_revisions(branch: Path) -> None:
    git(branch, "tag", "v1", "main~2")
    whole = git(branch, "rev-parse", "v1")
    assert made(Asked(base="v1", head="change~1"), branch) == (
        "first",
        "third",
        f"commit {whole[:10]} (v1)",
        f"commit {git(branch, 'rev-parse', 'change~1')[:10]} (change~1)",
    )
    assert made(Asked(base=whole), branch)[2] == f"commit {whole[:10]}"


def test_head_that_is_a_revision_has_its_own_base(branch: Path) -> None:
    write(branch, "edited")
    assert made(Asked(head="change~1"), branch)[:2] == ("second", "third")
    assert made(Asked(head="main~1"), branch)[:2] == ("first", "second")


def test_base_and_head_may_be_folders(root: Path, tmp_path: Path) -> None:
    for name in ("old", "new"):
        write(tmp_path / name, name)
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    base, head, what, _ = made(Asked(base=old, head=new), tmp_path)
    assert (base, head) == ("old", "new")
    assert what == f"folder {old}"
    assert made(Asked(head=new), root)[:2] == ("second", "new")


def test_folders_need_no_git(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "old", "old")
    monkeypatch.setenv("PATH", str(tmp_path))
    base, head, _, what = made(Asked(base=str(tmp_path / "old")), root)
    assert (base, head, what) == ("old", "second", "working tree")


def test_subject_may_lie_below_the_top_of_its_checkout(root: Path) -> None:
    below = root / "nets" / "small"
    commit(below, "small, first")
    commit(below, "small, second")
    assert made(NO_BASE, below)[:2] == ("small, first", "small, second")
    assert made(Asked(base="HEAD~1"), below)[:2] == ("small, first", "small, second")
    assert "holds no nets/small/sumnet/" in refusal(Asked(base="HEAD~2"), below)


# Whatever git is configured to do


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
    with make_sides(Asked(base="HEAD", base_env=["A=1"]), converted, print) as (base, head):
        assert base.subject_hash == head.subject_hash
        for file in files:
            blob = subprocess.run(
                ["git", "-C", str(converted), "cat-file", "blob", f"HEAD:{file}"],
                capture_output=True,
                check=True,
            ).stdout
            assert (base.side.subject / file).read_bytes() == blob
            assert (head.side.subject / file).read_bytes() == blob
    base_text, head_text, _, what = made(NO_BASE, converted)
    assert (base_text, head_text) == ("second", "third")
    assert what == f"working tree (commit {git(converted, 'rev-parse', '--short=10', 'HEAD')})"


def test_edit_is_seen_among_files_that_git_converted(converted: Path) -> None:
    write(converted, "edited")
    assert made(NO_BASE, converted)[:2] == ("third", "edited")


def test_folder_in_another_checkout_is_as_git_holds_it(root: Path) -> None:
    there = clone(root, "--config", "core.autocrlf=true")
    assert b"\r\n" in (there / "sumnet" / "train.py").read_bytes()
    assert "both sides load the same subject" in refusal(Asked(base=str(there)), root)


def test_copy_of_a_read_only_file_is_as_git_holds_it(root: Path) -> None:
    git(root, "config", "core.autocrlf", "true")
    (root / "sumnet" / "train.py").write_bytes(b"'second'\r\n")
    (root / "sumnet" / "train.py").chmod(0o444)
    with make_sides(NO_BASE, root, print) as (_, head):
        assert (head.side.subject / "sumnet" / "train.py").read_bytes() == b"'second'\n"


def test_file_that_a_filter_refuses_counts_as_changed(root: Path) -> None:
    (root / ".gitattributes").write_text("*.py filter=gone\n")
    git(root, "config", "filter.gone.clean", "false")
    git(root, "config", "filter.gone.required", "true")
    (root / "sumnet" / "train.py").write_bytes(b"'second'\r\n")
    assert made(NO_BASE, root)[2].endswith("(HEAD)")


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
    assert made(NO_BASE, root)[:2] == ("first", "second")
    new = root / "sumnet" / 'n\u00e9w "module"\n.py'
    new.write_text("")
    with make_sides(NO_BASE, root, print) as (base, head):
        assert base.what.endswith("(HEAD)")
        assert (head.side.subject / "sumnet" / new.name).exists()
        assert head.what == "working tree (with uncommitted changes)"
    git(root, "add", "--force", ".")
    git(root, "commit", "--quiet", "-m", "new")
    with make_sides(NO_BASE, root, print) as (base, head):
        assert base.what.endswith("(HEAD~1)")
        assert head.what.startswith("working tree (commit ")
    with make_sides(Asked(base="HEAD", head="HEAD~1"), root, print) as (base, head):
        assert (base.side.subject / "sumnet" / new.name).exists()


def test_ignored_module_is_measured_and_so_makes_the_tree_differ(root: Path) -> None:
    (root / ".gitignore").write_text("local.py\n")
    commit(root, None)
    (root / "sumnet" / "local.py").write_text("")
    with make_sides(NO_BASE, root, print) as (base, head):
        assert base.what.endswith("(HEAD)")
        assert (head.side.subject / "sumnet" / "local.py").exists()


@pytest.mark.parametrize("bit", ["--assume-unchanged", "--skip-worktree"])
def test_bits_of_the_index_hide_no_change(root: Path, bit: str) -> None:
    git(root, "update-index", bit, "sumnet/train.py")
    write(root, "edited")
    assert made(NO_BASE, root)[:2] == ("second", "edited")


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
    assert made(NO_BASE, branch)[:2] == ("second", "fourth")


@pytest.mark.parametrize("how", ["replace", "graft"])
def test_history_is_what_was_committed(root: Path, how: str) -> None:
    head, first = git(root, "rev-parse", "HEAD", "HEAD~1").split()
    third = commit(root, "third")
    if how == "replace":
        git(root, "replace", head, first)
    else:
        (root / ".git" / "info" / "grafts").write_text(f"{third} {first}\n")
    assert made(NO_BASE, root)[:2] == ("second", "third")


def test_executable_bits_are_kept(root: Path) -> None:
    (root / "sumnet" / "tool").write_text("")
    (root / "sumnet" / "tool").chmod(0o755)
    commit(root, "third")
    with make_sides(Asked(base="HEAD~1", head="HEAD"), root, print) as (_, head):
        assert os.access(head.side.subject / "sumnet" / "tool", os.X_OK)
        assert not os.access(head.side.subject / "sumnet" / "train.py", os.X_OK)


def test_bytecode_that_was_committed_is_left_behind(root: Path) -> None:
    (root / "sumnet" / "__pycache__").mkdir()
    (root / "sumnet" / "__pycache__" / "train.pyc").write_text("")
    commit(root, "third")
    with make_sides(Asked(base="HEAD~1", head="HEAD"), root, print) as (_, head):
        assert [path.name for path in (head.side.subject / "sumnet").iterdir()] == ["train.py"]


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
    why = refusal(Asked(base="HEAD"), root)
    assert f"commit {whole[:10]} holds sumnet/odd.py as {kind}" in why
    assert "name a folder in which that commit is checked out" in why


def test_content_that_an_lfs_pointer_stands_for_stays_in_the_working_tree(root: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    git(root, "config", "filter.lfs.clean", f"printf '{pointer}'".replace("\n", "\\n"))
    (root / "sumnet" / "large.py").write_text(pointer)
    commit(root, None)
    (root / ".gitattributes").write_text("large.py filter=lfs\n")
    (root / "sumnet" / "large.py").write_text("'large'")
    with make_sides(Asked(base="HEAD~1"), root, print) as (_, head):
        assert (head.side.subject / "sumnet" / "large.py").read_text() == "'large'"
        assert head.what.startswith("working tree (commit ")


def test_link_that_is_committed_is_no_change(root: Path) -> None:
    (root / "sumnet" / "link.py").symlink_to("train.py")
    commit(root, None)
    with make_sides(Asked(same=True), root, print) as (_, head):
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
@pytest.mark.parametrize("asked", [NO_BASE, Asked(base="main"), Asked(head="main")])
def test_git_that_refuses_is_quoted(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: Asked,
    said: str,
    reason: str,
) -> None:
    stub = tmp_path / "stub" / "git"
    stub.parent.mkdir()
    stub.write_text(f"#!/bin/sh\nprintf %s {shlex.quote(said)} >&2\nexit 128\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    assert f"git cannot read the checkout in {root}: {reason}" in refusal(asked, root)


def test_commit_that_is_damaged_is_told_in_gits_words(root: Path) -> None:
    blob = git(root, "rev-parse", "HEAD~1:sumnet/train.py")
    (root / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    assert refusal(NO_BASE, root) == (
        "git cannot read sumnet/train.py: its content is missing; `git fsck` checks for damage"
    )
    tree = git(root, "rev-parse", "HEAD~1:sumnet")
    (root / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    base = git(root, "rev-parse", "--short=10", "HEAD~1")
    assert f"git cannot read commit {base}: " in refusal(NO_BASE, root)


# Where the subject is looked for


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This instrument lies there, with a subject, as an installer leaves them."""
    folder = tmp_path / "env" / "site-packages"
    write(folder, "installed")
    (folder / "sumnet_bench-1.0.dist-info").mkdir()
    monkeypatch.setattr(sides, "ROOT", folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which there is nothing."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("below", [".", "docs/deep"])
def test_subject_is_that_of_the_checkout_around_the_current_folder(
    root: Path, installed: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    (root / "sumnet" / "__init__.py").touch()
    (root / below).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(root / below)
    assert subject_root(NO_BASE) == root


def test_current_folder_that_holds_a_subject_needs_no_checkout(
    installed: Path, elsewhere: Path
) -> None:
    write(elsewhere, "here")
    assert subject_root(Asked(same=True)) == installed, "a folder of that name is no package"
    (elsewhere / "sumnet" / "__init__.py").touch()
    assert subject_root(Asked(same=True)) == elsewhere


NO_REVISIONS = [
    Asked(same=True),
    Asked(axes_differ=True),
    Asked(base_env=["A=1"]),
    Asked(base_python="python"),
    Asked(base_torch="2.12.0"),
]


@pytest.mark.parametrize("asked", NO_REVISIONS)
def test_installed_subject_can_be_compared_with_itself(
    installed: Path, elsewhere: Path, asked: Asked
) -> None:
    git(elsewhere, "init", "--quiet")
    assert subject_root(asked) == installed


def test_installed_subject_is_called_so(installed: Path, elsewhere: Path) -> None:
    same = Asked(same=True)
    assert made(same, subject_root(same)) == ("installed",) * 2 + ("installed sumnet",) * 2


@pytest.mark.parametrize("is_checkout", [False, True])
@pytest.mark.parametrize("asked", [NO_BASE, Asked(base="HEAD~1"), Asked(same=True, head="main")])
def test_installed_subject_has_no_revisions(
    installed: Path, elsewhere: Path, asked: Asked, is_checkout: bool
) -> None:
    if is_checkout:
        write(elsewhere.parent, "above it")
        (elsewhere.parent / "sumnet" / "__init__.py").touch()
        git(elsewhere, "init", "--quiet")
    with pytest.raises(UsageError) as caught:
        subject_root(asked)
    assert f"not in {elsewhere} or its git checkout, and the one in {installed}" in str(
        caught.value
    )


def test_folders_take_no_revisions(installed: Path, elsewhere: Path) -> None:
    write(elsewhere / "old", "old")
    asked = Asked(base="old")
    assert made(asked, subject_root(asked))[:2] == ("old", "installed")


def test_instrument_that_is_not_installed_has_the_subject_beside_it(elsewhere: Path) -> None:
    assert subject_root(NO_BASE) == sides.ROOT == ROOT


# Where they lie


def test_subjects_lie_alone_at_paths_of_one_length(root: Path) -> None:
    (root / "bench").mkdir()
    (root / "sumnet" / "__pycache__").mkdir()
    with make_sides(NO_BASE, root, print) as both:
        for made_side, name in zip(both, ("base", "head"), strict=True):
            folder = made_side.side.subject
            assert (made_side.side.name, folder.name) == (name, name)
            assert [path.name for path in folder.iterdir()] == ["sumnet"]
            assert [path.name for path in (folder / "sumnet").iterdir()] == ["train.py"]
            assert made_side.subject_hash == subject_hash(folder / "sumnet")
            assert made_side.side.python == sys.executable
            assert made_side.side.environment == {}
        base, head = (str(made_side.side.subject) for made_side in both)
        assert len(base) == len(head) and base != head


def test_later_edits_do_not_reach_the_head(root: Path) -> None:
    with make_sides(NO_BASE, root, print) as (_, head):
        write(root, "edited")
        assert says(head) == "second"


@pytest.mark.parametrize("error", [None, ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_nothing_stays(root: Path, temporary: Path, error: type[BaseException] | None) -> None:
    def use() -> None:
        with make_sides(NO_BASE, root, print) as (base, _):
            assert list(temporary.iterdir()) == [base.side.subject.parent]
            (base.side.subject / "sumnet" / "__pycache__").mkdir()
            if error is not None:
                raise error

    if error is None:
        use()
    else:
        with pytest.raises(error):
            use()
    assert list(temporary.iterdir()) == []
    assert git(root, "worktree", "list").count("\n") == 0


def test_subject_that_cannot_be_copied_is_the_machines_fault(root: Path, temporary: Path) -> None:
    os.mkfifo(root / "sumnet" / "pipe")
    with pytest.raises(MachineError, match=r"cannot copy .*pipe"), make_sides(NO_BASE, root, print):
        pass
    assert list(temporary.iterdir()) == []


def test_temporary_folder_that_cannot_be_made_is_the_machines_fault(
    root: Path, temporary: Path
) -> None:
    temporary.rmdir()
    with (
        pytest.raises(MachineError, match="temporary folder: No such file"),
        make_sides(NO_BASE, root, print),
    ):
        pass


# Revisions that are not there


@pytest.mark.parametrize("asked", [NO_BASE, Asked(base="main"), Asked(head="main")])
def test_git_must_be_there_for_revisions(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "cannot run git (No such file or directory)" in refusal(asked, root)


@pytest.mark.parametrize("asked", [NO_BASE, Asked(base="main"), Asked(head="main")])
def test_revisions_need_a_checkout(tmp_path: Path, asked: Asked) -> None:
    write(tmp_path / "bare", "here")
    why = refusal(asked, tmp_path / "bare")
    assert f"{tmp_path / 'bare'} is no git checkout (git: not a git repository" in why
    assert "name a folder, or a revision from inside a checkout" in why


def test_another_projects_checkout_is_not_the_subjects(root: Path) -> None:
    installed = root / "venv" / "site-packages"
    write(installed, "installed")
    why = refusal(NO_BASE, installed)
    assert f"{installed} is no git checkout of sumnet/, which git does not keep there" in why


def test_main_branch_must_be_there(root: Path) -> None:
    git(root, "branch", "-m", "main", "trunk")
    why = refusal(NO_BASE, root)
    assert "none of origin/HEAD, origin/main, origin/master, main, master: name a --base" in why


def test_branch_that_a_change_is_meant_for_must_be_there(
    branch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TARGETS[0], "next")
    why = refusal(NO_BASE, branch)
    assert "GITHUB_BASE_REF is 'next', and there is no branch origin/next here" in why
    assert "git fetch origin next" in why


def test_histories_must_meet(root: Path) -> None:
    git(root, "checkout", "--quiet", "--orphan", "other")
    commit(root, "other")
    assert "HEAD and main have no commit in common: name a --base" in refusal(NO_BASE, root)


def test_first_commit_has_none_before_it(root: Path) -> None:
    git(root, "checkout", "--quiet", "--detach", "main~1")
    why = refusal(NO_BASE, root)
    assert "on the main branch (main)" in why and "nothing comes before it: name a --base" in why


def test_checkout_without_a_commit_has_no_head(tmp_path: Path) -> None:
    write(tmp_path, "first")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "sumnet")
    assert "'HEAD' is neither a revision" in refusal(NO_BASE, tmp_path)


@pytest.mark.parametrize(
    "revision",
    ["nowhere", "main..change", "^main", "main:sumnet", "main\nmain", "main~9", "x" * 999],
)
@pytest.mark.parametrize("option", ["base", "head"])
def test_revision_must_be_there(branch: Path, option: str, revision: str) -> None:
    why = refusal(naming(option, revision), branch)
    assert why.startswith(
        f"--{option}: {revision!r} is neither a revision in {branch} nor a folder"
    )


@pytest.mark.parametrize("text", ["", "-", "--all", "--output=x"])
@pytest.mark.parametrize("option", ["base", "head"])
def test_revision_is_never_an_option_of_git(root: Path, option: str, text: str) -> None:
    why = refusal(naming(option, text), root)
    assert why == f"--{option}: {text!r} is neither a revision nor a folder; name one"


def test_target_is_never_an_option_of_git(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TARGETS[0], "--all")
    assert "GITHUB_BASE_REF is '--all'" in refusal(NO_BASE, root)


@pytest.mark.parametrize("option", ["base", "head"])
def test_revision_must_hold_the_subject(root: Path, option: str) -> None:
    git(root, "rm", "-r", "--quiet", "sumnet")
    bare = commit(root, None)
    commit(root, "back")
    why = refusal(naming(option, "HEAD~1"), root)
    assert f"commit {bare[:10]} holds no sumnet/" in why


@pytest.mark.parametrize("option", ["base", "head"])
def test_folder_must_hold_the_subject(root: Path, option: str) -> None:
    folder = root / "sumnet"
    why = refusal(naming(option, str(folder)), root)
    assert why == f"--{option}: {folder} holds no sumnet/: name the folder that sumnet/ is in"


def test_working_tree_must_hold_the_subject(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty holds no sumnet/: name a --head" in refusal(NO_BASE, tmp_path / "empty")


@pytest.mark.parametrize(
    ("branch_name", "options", "asked"),
    [
        ("main", [], NO_BASE),
        ("main", [], Asked(base="HEAD~1")),
        ("change", [], NO_BASE),
        ("change", ["--no-single-branch"], NO_BASE),
        ("change", [], Asked(base="main")),
    ],
)
def test_shallow_clone_says_how_to_deepen_it(
    branch: Path, branch_name: str, options: list[str], asked: Asked
) -> None:
    shallow = clone(branch, "--depth", "1", "--branch", branch_name, *options)
    why = refusal(asked, shallow)
    assert "`git fetch --unshallow`" in why and "`fetch-depth: 0`" in why
    git(shallow, "config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    git(shallow, "fetch", "--quiet", "--unshallow")
    if asked.base != "main":
        assert made(asked, shallow)[0] in ("second", "third")


# What else may differ


def test_environment_is_the_bases_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    settings = ("OMP_NUM_THREADS=1", "EMPTY=", "EQUAL=a=b")
    with make_sides(Asked(base_env=settings), root, print) as (base, head):
        assert base.side.environment == {"OMP_NUM_THREADS": "1", "EMPTY": "", "EQUAL": "a=b"}
        assert head.side.environment == {}
        assert base.what == f"{head.what}, OMP_NUM_THREADS=1, EMPTY=, EQUAL=a=b"
        assert (says(base), says(head)) == ("second", "second")


def test_names_of_people_stay_out_of_the_words(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "old", "old")
    asked = Asked(base=str(tmp_path / "old"), base_env=(f"LD_PRELOAD={tmp_path}/lib.so",))
    assert made(asked, root)[2] == "folder ~/old, LD_PRELOAD=~/lib.so"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (["OMP_NUM_THREADS"], "'OMP_NUM_THREADS' is not NAME=VALUE"),
        (["=1"], "'=1' is not NAME=VALUE"),
        ([""], "'' is not NAME=VALUE"),
        (["A=1", "A=2"], "A is given twice"),
        *(
            ([f"{name}=1"], f"{name} cannot be set for the base: {why}")
            for name, why in OURS.items()
        ),
    ],
)
def test_settings_must_be_the_bases_to_make(root: Path, settings: list[str], why: str) -> None:
    assert refusal(Asked(base_env=settings), root).startswith(f"--base-env: {why}")


def test_identical_sides_are_refused(root: Path) -> None:
    commit(root, None)
    why = refusal(NO_BASE, root)
    assert f"both sides load the same subject (hash {subject_hash(root / 'sumnet')})" in why
    assert "(HEAD~1)" in why and "nothing can have changed" in why
    assert "--same measures identical sides on purpose" in why


def test_setting_that_is_there_already_changes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    asked = Asked(base_env=["OMP_NUM_THREADS=1"])
    why = refusal(asked, root)
    assert "--base-env says what the environment is already (OMP_NUM_THREADS)" in why
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert made(asked, root)[:2] == ("second", "second")


@pytest.mark.parametrize("asked", [Asked(same=True), Asked(axes_differ=True)])
def test_identical_subjects_can_be_meant(root: Path, asked: Asked) -> None:
    base, head, what_base, what_head = made(asked, root)
    assert (base, head) == ("second", "second")
    assert what_base == what_head


def test_identical_sides_can_be_two_revisions(root: Path) -> None:
    commit(root, None)
    assert made(Asked(base="HEAD~1", same=True), root)[:2] == ("second", "second")


def test_sides_said_to_be_the_same_must_be(root: Path) -> None:
    why = refusal(Asked(base="HEAD~1", same=True), root)
    assert why.startswith("--same: the sides load different subjects")


# Another interpreter


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """An executable file of that text."""

    def make(text: str) -> str:
        path = tmp_path / "interpreter"
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    return make


def without(*modules: str) -> str:
    """A Python that cannot import these."""
    gone = "; ".join(f"sys.modules[{name!r}] = None" for name in modules)
    # Its arguments are -c, what to run, and the words for that.
    run = f"import sys; {gone}; sys.argv = sys.argv[2:]; exec(sys.argv[0])"
    return f'#!/bin/sh\nexec {sys.executable} -c {shlex.quote(run)} "$@"\n'


def test_base_runs_on_the_interpreter_that_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = Path(sys.executable)
    monkeypatch.chdir(python.parent)
    for text in (sys.executable, f"./{python.name}"):
        with make_sides(Asked(base_python=text), root, print) as (base, head):
            assert Path(base.side.python).absolute() == python.absolute()
            assert head.side.python == sys.executable
            assert f"torch {torch.__version__}" in base.what
            assert base.interpreter == Interpreter(**describe(torch))
            assert head.interpreter is None
            assert (says(base), says(head)) == ("second", "second")


def test_bases_environment_is_its_interpreters_too(
    root: Path, script: Callable[[str], str]
) -> None:
    python = script(f'#!/bin/sh\n[ "$NEEDED" ] && exec {sys.executable} "$@"\n')
    assert "no Python that works" in refusal(Asked(base_python=python), root)
    assert made(Asked(base_python=python, base_env=["NEEDED=1"]), root)[0] == "second"


@pytest.mark.parametrize("text", ["", "nowhere/python", "python-of-no-one", os.devnull, "."])
def test_interpreter_must_be_there(root: Path, text: str) -> None:
    why = refusal(Asked(base_python=text), root)
    assert why.startswith(f"--base-python: {text!r} is not there, or cannot be executed")


def test_interpreter_must_be_executable(root: Path, script: Callable[[str], str]) -> None:
    python = script("#!/bin/sh\n")
    Path(python).chmod(0o644)
    assert "is not there, or cannot be executed" in refusal(Asked(base_python=python), root)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no script", "cannot be run: Exec format error"),
        ("#!/bin/sh\n", "is no Python that works: name one"),
        ("#!/bin/sh\necho 5; echo oh >&2; exit 3\n", "is no Python that works (oh): name one"),
        (
            "#!/bin/sh\necho noise\n"
            """echo '{"name": "PyPy 3.8.1", "version": [3, 8], "failed": {}, "torch": null}'\n""",
            "is PyPy 3.8.1: workers need Python 3.11 or newer",
        ),
    ],
)
def test_interpreter_must_be_a_python(
    root: Path, script: Callable[[str], str], text: str, why: str
) -> None:
    python = script(text)
    assert refusal(Asked(base_python=python), root) == f"--base-python: {python} {why}"


def test_interpreter_must_have_what_workers_import(
    root: Path, script: Callable[[str], str]
) -> None:
    python = script(without("torch", "pynvml"))
    why = refusal(Asked(base_python=python), root)
    assert "(pynvml: import of pynvml halted; None in sys.modules; torch: import of torch" in why
    versions = f"nvidia-ml-py=={metadata.version('nvidia-ml-py')} torch"
    assert f"`{python} -m pip install {versions}`" in why


@pytest.mark.parametrize("has_its_own", [True, False])
def test_torch_of_pythonpath_before_the_interpreters_own_is_refused(
    root: Path,
    tmp_path: Path,
    script: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    has_its_own: bool,
) -> None:
    """Where the interpreter has none, it may come from there."""
    for name in ("path", "own"):
        (tmp_path / name / "torch").mkdir(parents=True)
        (tmp_path / name / "torch" / "__init__.py").write_text(f"__version__ = '9.{len(name)}'\n")
    lacks = f"sys.path = [e for e in sys.path if not e.endswith('-packages')]; {STAND_INS}"
    puts = f"sys.path.append({str(tmp_path / 'own')!r})" if has_its_own else "pass"
    run = f"import sys; {lacks}; {puts}; sys.argv = sys.argv[2:]; exec(sys.argv[0])"
    python = script(f'#!/bin/sh\nexec {sys.executable} -c {shlex.quote(run)} "$@"\n')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    asked = Asked(base_python=python)
    if has_its_own:
        assert refusal(asked, root) == (
            f"--base-python: {python}: PYTHONPATH puts torch 9.4, in {tmp_path}/path/torch, before "
            f"the one that it has, in {tmp_path}/own/torch: unset PYTHONPATH"
        )
    else:
        assert made(asked, root)[2].endswith("torch 9.4")


STAND_INS = "sys.modules.update(dict.fromkeys(['msgspec', 'psutil', 'pynvml'], sys))"


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("2.12", "2.12.0+cpu", True),
        ("2.12.0rc1", "2.12.0-rc1+cu130", True),
        ("2.12.0", "2.12.1", False),
        ("2.12.0", "2.1.20", False),
    ],
)
def test_versions_are_told_apart_by_their_numbers(one: str, other: str, alike: bool) -> None:
    assert (interpreters._numbers(one) == interpreters._numbers(other)) == alike


def test_interpreter_that_hangs_is_ended(
    root: Path, tmp_path: Path, script: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreters, "EXAMINE_S", 0.5)
    python = script(f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path}/pid\nwait\n")
    assert "did not import torch within" in refusal(Asked(base_python=python), root)
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_what_workers_import_is_what_is_asked_for() -> None:
    seen, todo = set(), ["bench.worker.__main__", "sumnet.train"]
    others = set()
    while todo:
        module = todo.pop()
        place = ROOT.joinpath(*module.split("."))
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if module in seen or not file.exists():
            others |= {module.split(".")[0]} - {"bench", "sumnet"}
            continue
        seen.add(module)
        package = module if place.is_dir() else module.rpartition(".")[0]
        todo += imported(ast.parse(file.read_text()), ROOT, package)
    assert others - sys.stdlib_module_names == set(interpreters.IMPORTS)


# Another torch


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that pip finds: what workers need and a torch 9.1, and every one of them empty."""
    folder = tmp_path / "index"
    folder.mkdir()
    modules = {name: module for module, name in interpreters.IMPORTS.items()}
    for name in (*modules, *interpreters.ALIKE):
        version = "9.1" if name == "torch" else metadata.version(name)
        write_wheel(folder, name, version, modules.get(name, name))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    return folder


def write_wheel(folder: Path, name: str, version: str, module: str) -> None:
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    files = {
        f"{module}/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)


@pytest.mark.slow
def test_torch_is_installed_for_the_base(
    root: Path, tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    told: list[str] = []
    with make_sides(Asked(base_torch="9.1"), root, told.append) as (base, head):
        assert base.what == f"{head.what}, torch 9.1"
        assert Path(base.side.python).is_relative_to(base.side.subject.parent)
        words = [base.side.python, "-m", "pip", "freeze"]
        frozen = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert [line.split(" @")[0] for line in frozen.split("\n") if line] == sorted(
            f"{name}=={'9.1' if name == 'torch' else metadata.version(name)}"
            for name in (*interpreters.IMPORTS.values(), *interpreters.ALIKE)
        )
        assert head.side.python == sys.executable
    assert told[0] == "installing torch 9.1 for the base"
    assert told[1].startswith("installed torch 9.1 for the base in ")
    assert not Path(base.side.python).exists()

    # A torch on PYTHONPATH is what workers would load instead.
    (tmp_path / "path" / "torch").mkdir(parents=True)
    (tmp_path / "path" / "torch" / "__init__.py").write_text("__version__ = '9.2'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    why = refusal(Asked(base_torch="9.1"), root)
    assert f"PYTHONPATH puts torch 9.2, in {tmp_path}/path/torch, before the one" in why


@pytest.mark.slow
def test_torch_that_pip_does_not_find_is_refused_in_its_words(root: Path, index: Path) -> None:
    why = refusal(Asked(base_torch="9.9.9"), root)
    assert why.startswith(
        "--base-torch: cannot install torch 9.9.9; pip says: No matching distribution found for "
        "torch==9.9.9."
    )
    assert "--base-python names an interpreter that has it" in why


CONFLICT = """
The conflict is caused by:
    The user requested torch==9.9.9
    The user requested (constraint) torch==2.13.0

To fix this you could try to:
ERROR: Cannot install torch==9.9.9 because these package versions have conflicting dependencies.
ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/
"""
NO_ENSUREPIP = (
    "The virtual environment was not created successfully because\nensurepip is not there.\n"
)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            CONFLICT,
            "The user requested torch==9.9.9; The user requested (constraint) torch==2.13.0",
        ),
        ("WARNING: retry\nERROR: a\nERROR: b\nWARNING: old pip\n", "b"),
        (NO_ENSUREPIP, " ".join(NO_ENSUREPIP.split())),
        ("", ""),
    ],
)
def test_installers_complaint_is_its_own(output: str, said: str) -> None:
    assert interpreters._complaint(output) == said


@pytest.mark.parametrize("version", ["", "two", "-r x", ">=2", "2.12.0 numpy", "2.12.0;", "--help"])
def test_torch_must_be_a_version(root: Path, version: str) -> None:
    assert f"--base-torch: {version!r} is no version" in refusal(Asked(base_torch=version), root)


def test_torch_and_interpreter_do_not_go_together(root: Path) -> None:
    asked = Asked(base_torch="2.12.0", base_python=sys.executable)
    assert refusal(asked, root).startswith("--base-torch and --base-python: ")


@pytest.fixture
def interrupt_soon() -> Iterator[Callable[[Callable[[], bool]], None]]:
    """Sends this process what Ctrl-C does, once something holds."""
    threads: list[threading.Thread] = []
    # In the background of some shells it would be ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(ready: Callable[[], bool]) -> None:
        def wait() -> None:
            while not ready():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        threads.append(threading.Thread(target=wait, daemon=True))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(10)
    signal.signal(signal.SIGINT, before)


def test_installation_that_is_interrupted_is_ended_and_leaves_nothing(
    root: Path,
    tmp_path: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: Callable[[str], str],
    interrupt_soon: Callable[[Callable[[], bool]], None],
) -> None:
    pid = tmp_path / "pid"
    slow = f"#!/bin/sh\nsleep 600 &\necho $! > {pid}.part\nmv {pid}.part {pid}\nwait\n"
    monkeypatch.setattr(sys, "executable", script(slow))
    interrupt_soon(pid.exists)
    with (
        pytest.raises(KeyboardInterrupt),
        make_sides(Asked(base_torch="9.1"), root, print),
    ):
        pass
    assert is_gone(int(pid.read_text()))
    assert list(temporary.iterdir()) == []
