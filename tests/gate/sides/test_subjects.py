"""Which subjects the sides have, where they lie, and what else may differ."""

import os
import sys
from pathlib import Path

import pytest

from bench.errors import MachineError, UsageError
from bench.gate import sides as sides_module
from bench.machine.checkout import TARGETS
from bench.protocol.subject import subject_hash
from tests.gate.sides.making import (
    Options,
    clone,
    commit,
    git,
    looked_for,
    made,
    refusal,
    says,
    sides,
    write,
)
from tests.test_structure import ROOT

# Which subjects


def test_branch_is_held_against_where_it_left_the_main_branch(branch: Path) -> None:
    base = git(branch, "rev-parse", "--short=10", "main~1")
    head = git(branch, "rev-parse", "--short=10", "HEAD")
    assert made(branch) == (
        "second",
        "fourth",
        f"commit {base} (merge base with main)",
        f"working tree (commit {head})",
    )


def test_uncommitted_changes_belong_to_the_head(branch: Path) -> None:
    write(branch, "edited")
    (branch / "sumnet" / "new.py").write_text("")
    with sides(branch) as (base, head):
        assert (says(base), says(head)) == ("second", "edited")
        assert (head.subject / "sumnet" / "new.py").exists()
        assert head.what == "working tree (with uncommitted changes)"
    assert git(branch, "status", "--porcelain") == "M sumnet/train.py\n?? sumnet/new.py"


def test_main_branch_is_held_against_the_commit_before(root: Path) -> None:
    assert made(root)[:2] == ("first", "second")
    assert made(root)[2].endswith("(HEAD~1)")


def test_changes_on_the_main_branch_are_held_against_its_commit(root: Path) -> None:
    write(root, "edited")
    assert made(root)[:2] == ("second", "edited")
    assert made(root)[2].endswith("(HEAD)")


@pytest.mark.parametrize("file", ["README.md", "sumnet/__pycache__/train.pyc"])
def test_what_is_not_the_subject_does_not_make_it_dirty(root: Path, file: str) -> None:
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text("new")
    assert made(root)[:2] == ("first", "second")


@pytest.mark.parametrize("main", ["main", "master", "trunk"])
def test_main_branch_of_a_clone_is_its_origins(branch: Path, main: str) -> None:
    git(branch, "branch", "-m", "main", main)
    git(branch, "checkout", "--quiet", main)
    there = clone(branch)
    git(there, "checkout", "--quiet", "change")
    git(there, "branch", "--quiet", "-D", main)
    base, head, what, _ = made(there)
    assert (base, head) == ("second", "fourth")
    assert what.endswith(f"(merge base with origin/{main})")


@pytest.mark.parametrize("name", ["main", "master"])
def test_main_branch_is_found_without_an_origin(root: Path, name: str) -> None:
    git(root, "checkout", "--quiet", "--detach")
    git(root, "branch", "-m", "main", name)
    commit(root, "third")
    assert made(root)[:2] == ("second", "third")


@pytest.mark.parametrize("variable", TARGETS)
def test_branch_that_a_change_is_meant_for_goes_before_the_main_one(
    branch: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    git(branch, "branch", "next", "change~1")
    there = clone(branch)
    monkeypatch.setenv(variable, "next")
    base, head, what, _ = made(there)
    assert (base, head) == ("third", "fourth")
    assert what.endswith("(merge base with origin/next)")


def test_unset_target_is_no_target(branch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TARGETS[0], "")
    assert made(branch)[0] == "second"


def test_base_and_head_may_be_revisions(branch: Path) -> None:
    git(branch, "tag", "v1", "main~2")
    whole = git(branch, "rev-parse", "v1")
    assert made(branch, base="v1", head="change~1") == (
        "first",
        "third",
        f"commit {whole[:10]} (v1)",
        f"commit {git(branch, 'rev-parse', 'change~1')[:10]} (change~1)",
    )
    assert made(branch, base=whole)[2] == f"commit {whole[:10]}"


def test_head_that_is_a_revision_has_its_own_base(branch: Path) -> None:
    write(branch, "edited")
    assert made(branch, head="change~1")[:2] == ("second", "third")
    assert made(branch, head="main~1")[:2] == ("first", "second")


def test_base_and_head_may_be_folders(root: Path, tmp_path: Path) -> None:
    for name in ("old", "new"):
        write(tmp_path / name, name)
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    base, head, what, _ = made(tmp_path, base=old, head=new)
    assert (base, head) == ("old", "new")
    assert what == f"folder {old}"
    assert made(root, head=new)[:2] == ("second", "new")


def test_folders_need_no_git(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "old", "old")
    monkeypatch.setenv("PATH", str(tmp_path))
    base, head, _, what = made(root, base=str(tmp_path / "old"))
    assert (base, head, what) == ("old", "second", "working tree")


def test_subject_may_lie_below_the_top_of_its_checkout(root: Path) -> None:
    below = root / "nets" / "small"
    commit(below, "small, first")
    commit(below, "small, second")
    assert made(below)[:2] == ("small, first", "small, second")
    assert made(below, base="HEAD~1")[:2] == ("small, first", "small, second")
    assert "holds no nets/small/sumnet/" in refusal(below, base="HEAD~2")


# Where the subject is looked for


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This instrument lies there, with a subject, as an installer leaves them."""
    folder = tmp_path / "env" / "site-packages"
    write(folder, "installed")
    (folder / "sumnet_bench-1.0.dist-info").mkdir()
    monkeypatch.setattr(sides_module, "ROOT", folder)
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
    assert looked_for() == root


def test_current_folder_that_holds_a_subject_needs_no_checkout(
    installed: Path, elsewhere: Path
) -> None:
    write(elsewhere, "here")
    assert looked_for(same=True) == installed, "a folder of that name is no package"
    (elsewhere / "sumnet" / "__init__.py").touch()
    assert looked_for(same=True) == elsewhere


NO_REVISIONS = [
    {"same": True},
    {"axes": {"batch": 64}},
    {"env": ["A=1"]},
    {"python": "python"},
    {"torch": "2.12.0"},
]


@pytest.mark.parametrize("asked", NO_REVISIONS)
def test_installed_subject_can_be_compared_with_itself(
    installed: Path, elsewhere: Path, asked: Options
) -> None:
    git(elsewhere, "init", "--quiet")
    assert looked_for(**asked) == installed


def test_installed_subject_is_called_so(installed: Path, elsewhere: Path) -> None:
    root = looked_for(same=True)
    assert made(root, same=True) == ("installed",) * 2 + ("installed sumnet",) * 2


@pytest.mark.parametrize("is_checkout", [False, True])
@pytest.mark.parametrize("asked", [{}, {"base": "HEAD~1"}, {"same": True, "head": "main"}])
def test_installed_subject_has_no_revisions(
    installed: Path, elsewhere: Path, asked: Options, is_checkout: bool
) -> None:
    if is_checkout:
        write(elsewhere.parent, "above it")
        (elsewhere.parent / "sumnet" / "__init__.py").touch()
        git(elsewhere, "init", "--quiet")
    with pytest.raises(UsageError) as caught:
        looked_for(**asked)
    assert f"not in {elsewhere} or its git checkout, and the one in {installed}" in str(
        caught.value
    )


def test_folders_take_no_revisions(installed: Path, elsewhere: Path) -> None:
    write(elsewhere / "old", "old")
    asked = {"base": "old"}
    assert made(looked_for(**asked), **asked)[:2] == ("old", "installed")


def test_instrument_that_is_not_installed_has_the_subject_beside_it(elsewhere: Path) -> None:
    assert looked_for() == sides_module.ROOT == ROOT


# Where they lie


def test_subjects_lie_alone_at_paths_of_one_length(root: Path) -> None:
    (root / "bench").mkdir()
    (root / "sumnet" / "__pycache__").mkdir()
    with sides(root) as both:
        for made_side, name in zip(both, ("base", "head"), strict=True):
            folder = made_side.subject
            assert (made_side.name, folder.name) == (name, name)
            assert [path.name for path in folder.iterdir()] == ["sumnet"]
            assert [path.name for path in (folder / "sumnet").iterdir()] == ["train.py"]
            assert made_side.subject_hash == subject_hash(folder / "sumnet")
            assert made_side.python == sys.executable
            assert made_side.environment == {}
        base, head = (str(made_side.subject) for made_side in both)
        assert len(base) == len(head) and base != head


def test_later_edits_do_not_reach_the_head(root: Path) -> None:
    with sides(root) as (_, head):
        write(root, "edited")
        assert says(head) == "second"


@pytest.mark.parametrize("error", [None, ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_nothing_stays(root: Path, temporary: Path, error: type[BaseException] | None) -> None:
    def use() -> None:
        with sides(root) as (base, _):
            assert list(temporary.iterdir()) == [base.subject.parent]
            (base.subject / "sumnet" / "__pycache__").mkdir()
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
    with pytest.raises(MachineError, match=r"cannot copy .*pipe"), sides(root):
        pass
    assert list(temporary.iterdir()) == []


def test_temporary_folder_that_cannot_be_made_is_the_machines_fault(
    root: Path, temporary: Path
) -> None:
    temporary.rmdir()
    with (
        pytest.raises(MachineError, match="temporary folder: No such file"),
        sides(root),
    ):
        pass


# What else may differ


def test_environment_is_the_bases_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    settings = ("OMP_NUM_THREADS=1", "EMPTY=", "EQUAL=a=b")
    with sides(root, env=settings) as (base, head):
        assert base.environment == {"OMP_NUM_THREADS": "1", "EMPTY": "", "EQUAL": "a=b"}
        assert head.environment == {}
        assert base.what == f"{head.what}, OMP_NUM_THREADS=1, EMPTY=, EQUAL=a=b"
        assert (says(base), says(head)) == ("second", "second")


def test_names_of_people_stay_out_of_the_words(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "old", "old")
    asked = {"base": str(tmp_path / "old"), "env": (f"LD_PRELOAD={tmp_path}/lib.so",)}
    assert made(root, **asked)[2] == "folder ~/old, LD_PRELOAD=~/lib.so"


def test_identical_sides_are_refused(root: Path) -> None:
    commit(root, None)
    why = refusal(root)
    assert f"both sides load the same subject (hash {subject_hash(root / 'sumnet')})" in why
    assert "(HEAD~1)" in why and "nothing can have changed" in why
    assert "--same measures identical sides on purpose" in why


def test_setting_that_is_there_already_changes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    asked = {"env": ["OMP_NUM_THREADS=1"]}
    why = refusal(root, **asked)
    assert "--base-env" in why and "(OMP_NUM_THREADS)" in why
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert made(root, **asked)[:2] == ("second", "second")


@pytest.mark.parametrize("asked", [{"same": True}, {"axes": {"batch": 64}}])
def test_identical_subjects_can_be_meant(root: Path, asked: Options) -> None:
    base, head, what_base, what_head = made(root, **asked)
    assert (base, head) == ("second", "second")
    assert what_base == what_head


def test_identical_sides_can_be_two_revisions(root: Path) -> None:
    commit(root, None)
    assert made(root, base="HEAD~1", same=True)[:2] == ("second", "second")


def test_sides_said_to_be_the_same_must_be(root: Path) -> None:
    why = refusal(root, base="HEAD~1", same=True)
    assert why.startswith("--same: the sides load different subjects")
