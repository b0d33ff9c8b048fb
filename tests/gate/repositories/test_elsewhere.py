"""Content that a commit names and git keeps elsewhere: submodules and Git LFS."""

import hashlib
from pathlib import Path

import pytest

from tests.gate.repositories.making import commit, files, refusal, sides, write
from tests.gate.sides.making import clone, git


@pytest.fixture
def with_submodule(top: Path, tmp_path: Path) -> Path:
    """A checkout whose submodule goes from "first" to "second" with its last commit."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet", "--initial-branch", "main")
    commit(other, {"a.py": "first"})
    local = ("-c", "protocol.file.allow=always")
    git(top, *local, "submodule", "--quiet", "add", "--name", "dep", str(other), "deps/other")
    commit(top)
    commit(other, {"a.py": "second"})
    git(top / "deps/other", "pull", "--quiet")
    commit(top)
    return top


def test_submodules_are_laid_at_the_commit_that_each_side_records(with_submodule: Path) -> None:
    with sides(with_submodule, base="HEAD~1") as (base, head):
        assert files(base.subject)["deps/other/a.py"] == "first"
        assert files(head.subject)["deps/other/a.py"] == "second"
    with sides(with_submodule, base="HEAD~1", head="HEAD") as (_, head):
        assert files(head.subject)["deps/other/a.py"] == "second"


def test_edited_submodule_is_a_change(with_submodule: Path) -> None:
    git(with_submodule, "checkout", "--quiet", "-B", "main")
    write(with_submodule, {"deps/other/a.py": "third"})
    with sides(with_submodule) as (base, head):
        assert base.what.endswith("(HEAD)")
        assert files(base.subject)["deps/other/a.py"] == "second"
        assert files(head.subject)["deps/other/a.py"] == "third"


def test_submodule_that_was_removed_is_found_in_gits_folder(with_submodule: Path) -> None:
    git(with_submodule, "rm", "--quiet", "deps/other")
    commit(with_submodule)
    with sides(with_submodule, base="HEAD~1") as (base, head):
        assert files(base.subject)["deps/other/a.py"] == "second"
        assert "deps/other/a.py" not in files(head.subject)


def test_submodule_that_is_not_checked_out_stays_empty_on_both_sides(with_submodule: Path) -> None:
    commit(with_submodule, {"mylib/net.py": ""})
    bare = clone(with_submodule)
    said: list[str] = []
    with sides(bare, base="HEAD~1", say=said.append) as both:
        for side in both:
            assert list((side.subject / "deps/other").iterdir()) == []
    assert "submodule deps/other is not in this clone" in said[0]
    assert "`git submodule update --init`" in said[0]


def test_commit_that_the_submodule_lacks_is_told(with_submodule: Path) -> None:
    missing = "0123456789" * 4
    git(with_submodule, "update-index", "--cacheinfo", f"160000,{missing},deps/other")
    git(with_submodule, "commit", "--quiet", "-m", "broken")
    why = refusal(with_submodule, base="HEAD", head="HEAD~1")
    assert f"submodule deps/other at {missing[:10]}" in why
    assert f"`git -C deps/other fetch origin {missing}`" in why


def pointer(content: bytes) -> tuple[str, str]:
    oid = hashlib.sha256(content).hexdigest()
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    return text, f".git/lfs/objects/{oid[:2]}/{oid[2:4]}/{oid}"


def test_content_of_lfs_comes_from_the_clone(top: Path) -> None:
    text, place = pointer(b"weights")
    commit(top, {"weights.bin": text})
    write(top, {place: "weights", "weights.bin": "weights"})
    with sides(top, base="HEAD", env=["A=1"]) as both:
        for side in both:
            assert (side.subject / "weights.bin").read_text() == "weights"


def test_content_that_the_checkout_has_and_the_clone_not_is_told(top: Path) -> None:
    text, _ = pointer(b"old weights")
    old = commit(top, {"weights.bin": text})
    write(top, {"weights.bin": "new weights"})
    why = refusal(top, base="HEAD")
    assert f"commit {old[:10]} holds weights.bin in Git LFS" in why
    assert f"`git lfs fetch origin {old[:10]}`" in why


def test_pointer_that_the_checkout_has_too_stays_one(top: Path) -> None:
    text, _ = pointer(b"weights")
    commit(top, {"weights.bin": text})
    commit(top, {"mylib/net.py": ""})
    said: list[str] = []
    with sides(top, base="HEAD~1", say=said.append) as both:
        for side in both:
            assert (side.subject / "weights.bin").read_text() == text
    (line,) = said
    assert "1, such as weights.bin; `git lfs pull`" in line
