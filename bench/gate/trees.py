"""A repository's whole tree laid into a folder: of a commit, or as it is on disk.

Nothing in the checkout is changed. Files are as git stores them, links lead to where they led.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ..errors import MachineError, UsageError
from ..machine.git import LFS_POINTER, LINK, SUBMODULE, File, Git, reason_of, write

AT_ONCE = 500
"""Files whose contents are held in memory at once."""
OID = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True)
class Tree:
    """Where a checkout's tree is laid."""

    top: Path
    """The top folder of the checkout."""
    target: Path
    say: Callable[[str], None]
    """Given what a person should know of it."""
    pointers: list[str] = field(default_factory=list)
    """Files of Git LFS that were laid without their content."""

    def lay_working_tree(self, below: str = "") -> None:
        """The files that git keeps or would keep, as they are on disk; `below` is a submodule.

        What git converted when it checked it out is laid as git stores it, as the files of a commit
        are. Raises MachineError where it cannot be copied.
        """
        git = Git(self.top / below)
        for path in git.working_files():
            self._copy(str(Path(below, path)))
        for path in git.submodules():
            inside = str(Path(below, path))
            if (self.top / inside / ".git").exists():
                self.lay_working_tree(inside)
            else:
                _make_folder(self.target / inside)
        if (commit := git.commit("HEAD")) is None:
            return
        files = {
            path: file
            for path, file in git.files(commit).items()
            if file.mode not in (LINK, SUBMODULE)
            and (place := self.target / below / path).is_file()
            and place.resolve() == place  # else a link stands there now, or above it
        }
        converted = {p: files[p] for p in git.edited(files, self.top / below)[0]}
        for path, content in git.contents(converted).items():
            if not content.startswith(LFS_POINTER):
                write(self.target / below / path, content, converted[path].mode)

    def lay_commit(self, commit: str, below: str = "", git: Git | None = None) -> None:
        """A commit's files, those of its submodules and of Git LFS too.

        A submodule or file of Git LFS whose content the checkout itself lacks stays without it.
        Raises UsageError where the checkout has its content and git not the commit's; MachineError
        where it cannot be written.
        """
        git = git or Git(self.top)
        files = git.files(commit)
        for path in [path for path, file in files.items() if file.mode == SUBMODULE]:
            self._lay_submodule(git, commit, below, path, files.pop(path).id)
        entries = iter(files.items())
        while some := dict(islice(entries, AT_ONCE)):
            for path, content in git.contents(some).items():
                self._lay_file(git, commit, str(Path(below, path)), some[path], content)
        if self.pointers and not below:
            self.say(
                "files of Git LFS whose content neither this checkout nor the sides have: "
                f"{len(self.pointers)}, such as {self.pointers[0]}; `git lfs pull` brings it"
            )

    def _lay_file(self, git: Git, commit: str, path: str, file: File, content: bytes) -> None:
        if "__pycache__" in path.split("/"):
            return
        if file.mode == LINK:
            self._link(path, os.fsdecode(content))
        else:
            if content.startswith(LFS_POINTER):
                content = self._lfs_content(git, commit, path, content)
            write(self.target / path, content, file.mode)

    def _lfs_content(self, git: Git, commit: str, path: str, pointer: bytes) -> bytes:
        """What the pointer stands for, or the pointer where the checkout has no more either."""
        store = git.folder / git.words("rev-parse", "--git-common-dir") / "lfs" / "objects"
        if found := OID.search(pointer):
            oid = found[1].decode()
            if (kept := store / oid[:2] / oid[2:4] / oid).is_file():
                return kept.read_bytes()
        here = self.top / path
        if here.is_file() and here.read_bytes().startswith(LFS_POINTER):
            self.pointers.append(path)
            return pointer
        raise UsageError(
            f"commit {commit[:10]} holds {path} in Git LFS, and its content is not in this clone: "
            f"`git lfs fetch origin {commit[:10]}` brings it"
        )

    def _lay_submodule(self, git: Git, commit: str, below: str, path: str, recorded: str) -> None:
        """A submodule's files at its commit that this one records."""
        inside = str(Path(below, path))
        place = self.top / inside
        name = _submodule_name(git, commit, path)
        common = git.folder / git.words("rev-parse", "--git-common-dir")
        is_there = (place / ".git").exists()
        known = [Git(place)] if is_there else []
        if (kept := common / "modules" / name).is_dir():
            known.append(Git(kept, bare=True))
        for other in known:
            if other.commit(recorded):
                self.lay_commit(recorded, inside, other)
                return
        if is_there:
            raise UsageError(
                f"commit {commit[:10]} holds the submodule {inside} at {recorded[:10]}, which is "
                f"not in this clone: `git -C {inside} fetch origin {recorded}` brings it"
            )
        self.say(
            f"the submodule {inside} is not in this clone, so the sides lack it: "
            "`git submodule update --init` brings it"
        )
        _make_folder(self.target / inside)

    def _copy(self, path: str) -> None:
        source, target = self.top / path, self.target / path
        if source.is_symlink():
            self._link(path, os.fsdecode(source.readlink()))
            return
        _make_folder(target.parent)
        try:
            shutil.copy2(source, target)
        except OSError as error:
            raise MachineError(f"cannot copy {source}: {error.strerror}") from None

    def _link(self, path: str, leads: str) -> None:
        """A link inside the tree, or one to the same place outside the checkout."""
        meant = Path(os.path.normpath(self.top / Path(path).parent / leads))
        if not meant.is_relative_to(self.top):
            self.say(f"{path} is a link out of the repository: both sides read {meant} itself")
            leads = str(meant)
        elif Path(leads).is_absolute():
            leads = os.path.relpath(meant, self.top / Path(path).parent)
        place = self.target / path
        _make_folder(place.parent)
        try:
            place.symlink_to(leads)
        except OSError as error:
            raise MachineError(f"cannot write {place}: {error.strerror}") from None


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder that is no checkout, without bytecode, hidden folders and virtual environments.

    Raises MachineError.
    """

    def ignored(folder: str, names: list[str]) -> list[str]:
        places = {name: Path(folder, name) for name in names}
        return [
            name
            for name, place in places.items()
            if place.is_dir()
            and (name == "__pycache__" or name[0] == "." or (place / "pyvenv.cfg").exists())
        ]

    try:
        shutil.copytree(source, target, symlinks=True, ignore=ignored, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        raise MachineError(f"cannot copy {source}: {error}") from None


def tree_hash(folder: Path) -> str:
    """A short hash over all files and links of a laid tree, their names and contents."""
    digest = hashlib.sha256()
    for path in sorted(_files_in(folder)):
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        name = os.fsencode(path.relative_to(folder))
        digest.update(b"%b\0%d\0%b" % (name, len(content), content))
    return digest.hexdigest()[:16]


def give_history(top: Path, commit: str, laid: Path) -> None:
    """Make a laid tree a checkout at that commit, for builds that ask git for a version.

    It borrows the objects of the checkout and changes nothing there. Raises UsageError, and
    MachineError where it cannot be written.
    """
    clone = laid.with_name(f"{laid.name}-git")
    for git, words in (
        (Git(top), ("clone", "-q", "--shared", "--no-checkout", "--template=", ".", str(clone))),
        (Git(clone), ("update-ref", "--no-deref", "HEAD", commit)),
        (Git(clone), ("read-tree", commit)),
    ):
        done = git.run(*words)
        if done.returncode:
            raise UsageError(f"git cannot prepare commit {commit[:10]}: {reason_of(done)}")
        if words[0] == "clone":
            _borrow(git.folder / git.words("rev-parse", "--git-common-dir"), clone / ".git")
    try:
        (clone / ".git").rename(laid / ".git")
        clone.rmdir()
    except OSError as error:
        raise MachineError(f"cannot write {laid}: {error.strerror}") from None


def _borrow(source: Path, target: Path) -> None:
    """Have a git directory use all objects of another. A clone of a shallow one has copies instead,
    and only of what its branches reach."""
    try:
        (target / "objects" / "info" / "alternates").write_text(f"{source / 'objects'}\n")
        if (source / "shallow").exists():
            shutil.copy2(source / "shallow", target / "shallow")
    except OSError as error:
        raise MachineError(f"cannot write {target}: {error.strerror}") from None


def _files_in(folder: Path) -> Iterator[Path]:
    for inside, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != ".git"]
        for name in [*names, *folders]:
            if (path := Path(inside, name)).is_symlink() or not path.is_dir():
                yield path


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"cannot make {folder}: {error.strerror}") from None


def _submodule_name(git: Git, commit: str, path: str) -> str:
    """What the commit's .gitmodules calls the submodule; its path where it does not say."""
    listed = git.words("config", "--blob", f"{commit}:.gitmodules", "--get-regexp", r"\.path$")
    for line in listed.splitlines():
        key, _, value = line.partition(" ")
        if value == path:
            return key.removeprefix("submodule.").removesuffix(".path")
    return path
