"""Git, asked for commits of the code and what they hold. Nothing in the checkout is changed.

What is read depends neither on git's configuration nor on attributes: objects are read as they
are stored, and compared with the bytes on disk. Only where those differ is git asked whether it
converted the file itself when it checked it out, as both can have it do: line ends, $Id$, filters.
"""

import hashlib
import io
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import MachineError, UsageError
from ..protocol.subject import modules_in

SUBJECT = "sumnet"
"""The package that is measured, a folder of that name."""
TARGETS = ("GITHUB_BASE_REF", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME")
"""Variables of continuous integration with the branch that a change is meant for."""
MAIN = (
    "refs/remotes/origin/HEAD",
    "refs/remotes/origin/main",
    "refs/remotes/origin/master",
    "refs/heads/main",
    "refs/heads/master",
)
"""What may be the main branch; the first that is there is."""
KEPT = re.compile(
    r"GIT_(ASKPASS|CEILING_DIRECTORIES|CONFIG_\w+|DISCOVERY_ACROSS_FILESYSTEM|EXEC_PATH|SSH\w*|SSL_\w+)"
)
"""Git's variables that are passed on: where it may look for a checkout, its programs, its
configuration (whose `safe.directory` may be what lets it read at all), and how it reaches the
remote of a partial clone. The others name another repository, or change how one is read; hooks set
some of them."""
FOREIGN = {"120000": "a symbolic link", "160000": "a submodule"}
"""Modes of what a commit holds without its content."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
ERROR_LINES = 4
"""How many lines of git's errors are quoted at most."""


class NoCheckout(UsageError):
    """The folder lies in no checkout, or in one of something else."""


class File(NamedTuple):
    """A file in a commit."""

    mode: str
    id: str
    """Git's hash of its content."""


class Checkout:
    """The git checkout that a folder with `sumnet/` lies in, at its top or below.

    Every method raises UsageError, with git's reason, where git cannot read what it is asked for.
    """

    def __init__(self, root: Path) -> None:
        """Raises NoCheckout where git does not keep the folder's sumnet/.

        Raises UsageError where git is missing, or refuses to read the checkout.
        """
        self._root = root
        done = self._run("ls-files", "--", SUBJECT)
        remedy = "name a folder, or a revision from inside a checkout"
        if done.returncode:
            reason = _reason(done)
            if not reason.startswith("not a git repository (or any"):
                raise UsageError(f"git cannot read the checkout in {root}: {reason}")
            raise NoCheckout(f"{root} is no git checkout (git: {reason}): {remedy}")
        # Installed inside another project's checkout, its commits are of something else.
        if not done.stdout:
            what = f"{root} is no git checkout of {SUBJECT}/, which git does not keep there"
            raise NoCheckout(f"{what}: {remedy}")

    def commit(self, revision: str) -> str:
        """The full hash of the commit that a revision means; UsageError where it means none."""
        if found := self._commit(revision):
            return found
        what = f"{revision!r} is neither a revision in {self._root} nor a folder"
        raise self._missing(what, "`git log --all` lists revisions")

    def dirty(self, commit: str, *folders: str) -> bool:
        """Whether the folders' Python files on disk differ from the commit's.

        The index and ignore rules do not matter: an ignored module is loaded like any other. A
        file that git itself converted when it checked it out does not differ.
        """
        held = {
            path: file
            for path, file in self._files(commit, *folders).items()
            if path.endswith(".py")
            and not path.rpartition("/")[2].startswith(".")
            and ((self._root / path).is_file() or not (self._root / path).is_symlink())
        }
        there = {
            file.relative_to(self._root).as_posix()
            for folder in folders
            for file in modules_in(self._root / folder)
        }
        return held.keys() != there or self._edited(held, self._root)[1]

    def base_of(self, tip: str, *, changed: bool) -> tuple[str, str]:
        """The commit to compare a revision with, and in words why that one.

        It is where the revision left the main branch. On the main branch itself it is the revision
        where something was `changed` on top of it, else the commit before it. Raises UsageError
        where there is none of these.
        """
        commit = self.commit(tip)
        main = self._main()
        # origin/HEAD, and it alone, stands for another branch.
        name = _short(self._words("symbolic-ref", "--quiet", main) or main)
        done = self._run("merge-base", commit, main)
        if done.returncode > 1:
            raise UsageError(f"git cannot find the merge base of {tip} and {name}: {_reason(done)}")
        base = done.stdout.decode().strip()
        if not base:
            raise self._missing(f"{tip} and {name} have no commit in common", "name a --base")
        if base != commit:
            return base, f"merge base with {name}"
        if changed:
            return commit, tip
        if found := self._commit(f"{tip}~1"):
            return found, f"{tip}~1"
        what = f"{tip} is on the main branch ({name}), and in this clone nothing comes before it"
        raise self._missing(what, "name a --base")

    def unpack(self, commit: str, folder: Path) -> None:
        """Lay a commit's sumnet/ into the folder, byte for byte, bytecode left behind.

        Raises UsageError where it has none, or holds links, submodules or Git LFS pointers in it;
        MachineError where it cannot be written.
        """
        files = {
            path: file
            for path, file in self._files(commit, SUBJECT).items()
            if "__pycache__" not in path.split("/")
        }
        name = f"commit {commit[:10]}"
        if not files:
            where = f"{self._words('rev-parse', '--show-prefix')}{SUBJECT}/"
            raise UsageError(f"{name} holds no {where}: name one that does")
        elsewhere = {p: FOREIGN[file.mode] for p, file in files.items() if file.mode in FOREIGN}
        contents = {} if elsewhere else self._contents(files)
        pointers = [path for path, content in contents.items() if content.startswith(LFS_POINTER)]
        for path, kind in (elsewhere | dict.fromkeys(pointers, "a Git LFS pointer")).items():
            raise UsageError(
                f"{name} holds {path} as {kind}, whose content lies elsewhere: name a folder in "
                "which that commit is checked out"
            )
        for path, content in contents.items():
            _write(folder / path, content, files[path].mode)

    def restore(self, commit: str, folder: Path) -> None:
        """Undo in a copy of the checkout's sumnet/ what git converted when it checked it out.

        A file with changes stays as it is, and so does one for which git holds a Git LFS pointer.
        Raises MachineError where it cannot be written.
        """
        files = {
            path: file
            for path, file in self._files(commit, SUBJECT).items()
            if file.mode not in FOREIGN and (folder / path).is_file()
        }
        files = {path: files[path] for path in self._edited(files, folder)[0]}
        for path, content in self._contents(files).items():
            if not content.startswith(LFS_POINTER):
                _write(folder / path, content, files[path].mode)

    def _main(self) -> str:
        """The main branch, as a full name, or the target branch in continuous integration."""
        for variable in TARGETS:
            if target := os.environ.get(variable):
                for ref in (f"refs/remotes/origin/{target}", f"refs/heads/{target}"):
                    if self._commit(ref):
                        return ref
                raise self._missing(
                    f"{variable} is {target!r}, and there is no branch origin/{target} here",
                    f"`git fetch origin {target}:refs/remotes/origin/{target}`, or name a --base",
                )
        for ref in MAIN:
            if self._commit(ref):
                return ref
        what = f"no main branch in {self._root}, that is none of {', '.join(map(_short, MAIN))}"
        raise self._missing(what, "name a --base")

    def _missing(self, what: str, remedy: str) -> UsageError:
        """The error for what is not there, perhaps because the clone lacks its older history."""
        if self._words("rev-parse", "--is-shallow-repository") == "true":
            return UsageError(
                f"{what}; this clone is shallow, so its older history is missing: `git fetch "
                "--unshallow` brings it, or `fetch-depth: 0` where CI checks out"
            )
        return UsageError(f"{what}: {remedy}")

    def _commit(self, revision: str) -> str | None:
        if revision.startswith("-"):  # an option of git's; no branch is called that
            return None
        found = self._words("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        return found if re.fullmatch("[0-9a-f]{40,}", found) else None

    def _files(self, commit: str, *folders: str) -> dict[str, File]:
        """What the commit holds in the folders, by paths from the root."""
        done = self._run("ls-tree", "-r", "-z", commit, *(f"{folder}/" for folder in folders))
        if done.returncode:
            raise UsageError(f"git cannot read commit {commit[:10]}: {_reason(done)}")
        files = {}
        for line in done.stdout.split(b"\0")[:-1]:
            words, _, path = line.partition(b"\t")
            mode, _, object_id = words.decode().split()
            files[os.fsdecode(path)] = File(mode, object_id)
        return files

    def _contents(self, files: Mapping[str, File]) -> dict[str, bytes]:
        ids = "".join(f"{file.id}\n" for file in files.values())
        done = self._run("cat-file", "--batch", given=ids.encode())
        stream, found = io.BytesIO(done.stdout), {}
        for path in files:
            header = stream.readline().split()
            if len(header) != 3:  # "ID missing", or an end before its time
                reason = _reason(done) if done.returncode else "its content is missing"
                raise UsageError(f"git cannot read {path}: {reason}; `git fsck` checks for damage")
            found[path] = stream.read(int(header[2]))
            stream.readline()
        return found

    def _edited(self, files: Mapping[str, File], folder: Path) -> tuple[list[str], bool]:
        """Those that git converted when it checked them out, and whether others were changed.

        The folder is the root or a copy of it. Git would commit a converted file as it is held.
        """
        differing = [
            path for path, file in files.items() if _object_id(folder / path, file) != file.id
        ]
        if not differing:
            return [], False
        # Where a filter fails there is no line for its file, nor for those after it: changed.
        ids = self._run("hash-object", "--", *differing).stdout.decode().split()
        pairs = zip(differing, ids, strict=False)
        converted = [path for path, object_id in pairs if object_id == files[path].id]
        return converted, len(converted) < len(differing)

    def _words(self, *words: str) -> str:
        """Git's output; nothing where it fails."""
        done = self._run(*words)
        return "" if done.returncode else done.stdout.decode(errors="replace").strip()

    def _run(self, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GIT_") or KEPT.fullmatch(name)
        }
        environment |= {"GIT_GRAFT_FILE": os.devnull, "LC_ALL": "C"}  # C: errors are matched here
        command = ["git", "--no-replace-objects", "-C", str(self._root), *words]
        try:
            return subprocess.run(command, env=environment, input=given, capture_output=True)
        except OSError as error:
            raise UsageError(f"cannot run git ({error.strerror}): install it") from None


def _short(ref: str) -> str:
    return ref.removeprefix("refs/remotes/").removeprefix("refs/heads/")


def _write(path: Path, content: bytes, mode: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a copy may be read-only
        path.write_bytes(content)
        path.chmod(int(mode[-3:], 8))
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from None


def _object_id(path: Path, like: File) -> str:
    """What git would call the file, or the link, as it is on disk."""
    content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
    name = "sha1" if len(like.id) == 40 else "sha256"
    data = b"blob %d\0%b" % (len(content), content)
    return hashlib.new(name, data, usedforsecurity=False).hexdigest()


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Git's first error, and the lines after it, which hold the remedy."""
    printed = done.stderr.decode(errors="replace").splitlines()
    lines = [line.strip() for line in printed if line.strip()]
    errors = [n for n, line in enumerate(lines) if line.startswith(("fatal: ", "error: "))]
    quoted = lines[errors[0] :][:ERROR_LINES] if errors else lines[-1:]
    words = re.sub("^(fatal|error): ", "", "; ".join(quoted)).replace(":; ", ": ")
    return words or f"status {done.returncode}"
