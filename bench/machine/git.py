"""Git's objects and their files on disk, read without changing anything.

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

KEPT = re.compile(
    r"GIT_(ASKPASS|CEILING_DIRECTORIES|CONFIG_\w+|DISCOVERY_ACROSS_FILESYSTEM|EXEC_PATH|SSH\w*|SSL_\w+)"
)
"""Git's variables that are passed on: where it may look for a checkout, its programs, its
configuration (whose `safe.directory` may be what lets it read at all), and how it reaches the
remote of a partial clone. The others name another repository, or change how one is read; hooks set
some of them."""
LINK = "120000"
SUBMODULE = "160000"
"""Modes of what a commit holds without its content."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
ERROR_LINES = 4
"""How many lines of git's errors are quoted at most."""


class File(NamedTuple):
    """A file in a commit."""

    mode: str
    id: str
    """Git's hash of its content."""


class Git:
    """Git, run in a folder of a checkout or in a git directory.

    Every method but `run` and `words` raises UsageError, with git's reason, where git cannot read
    what it is asked for.
    """

    def __init__(self, folder: Path, *, bare: bool = False) -> None:
        """`bare`: the folder is a git directory, whose checkout may be gone."""
        self.folder = folder
        self._where = ["--git-dir=.", "--work-tree=."] if bare else []

    def commit(self, revision: str) -> str | None:
        """The full hash of the commit that a revision means; None where it means none."""
        if revision.startswith("-"):  # an option of git's; no branch is called that
            return None
        found = self.words("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        return found if re.fullmatch("[0-9a-f]{40,}", found) else None

    def files(self, commit: str, *folders: str) -> dict[str, File]:
        """What the commit holds in the folders, or in all, by paths from this one."""
        files, places = {}, (f"{folder}/" for folder in folders)
        for line in self._listed(f"commit {commit[:10]}", "ls-tree", "-r", "-z", commit, *places):
            words, _, path = line.partition(b"\t")
            mode, _, object_id = words.decode().split()
            files[os.fsdecode(path)] = File(mode, object_id)
        return files

    def contents(self, files: Mapping[str, File]) -> dict[str, bytes]:
        """The contents of files of a commit, as they are stored."""
        ids = "".join(f"{file.id}\n" for file in files.values())
        done = self.run("cat-file", "--batch", given=ids.encode())
        stream, found = io.BytesIO(done.stdout), {}
        for path in files:
            header = stream.readline().split()
            if len(header) != 3:  # "ID missing", or an end before its time
                reason = reason_of(done) if done.returncode else "its content is missing"
                raise UsageError(f"git cannot read {path}: {reason}; `git fsck` checks for damage")
            found[path] = stream.read(int(header[2]))
            stream.readline()
        return found

    def edited(self, files: Mapping[str, File], folder: Path) -> tuple[list[str], bool]:
        """Those that git converted when it checked them out, and whether others were changed.

        The folder is this one or a copy of it. Git would commit a converted file as it is held.
        """
        differing = [
            path for path, file in files.items() if _object_id(folder / path, file) != file.id
        ]
        if not differing:
            return [], False
        # Where a filter fails there is no line for its file, nor for those after it: changed.
        given = b"".join(os.fsencode(path) + b"\n" for path in differing)
        ids = self.run("hash-object", "--stdin-paths", given=given).stdout.decode().split()
        pairs = zip(differing, ids, strict=False)
        converted = [path for path, object_id in pairs if object_id == files[path].id]
        return converted, len(converted) < len(differing)

    def working_files(self) -> list[str]:
        """The files on disk that git keeps, or would keep, by paths from this folder.

        Not those of submodules, of other checkouts inside this one, and of virtual environments.
        """
        listed = ("ls-files", "-z", "--exclude-standard")
        kept, new = (
            [os.fsdecode(path) for path in self._listed(str(self.folder), *listed, which)]
            for which in ("--cached", "--others")
        )
        environments = tuple(
            path.removesuffix("pyvenv.cfg") for path in new if path.endswith("/pyvenv.cfg")
        )
        new = [path for path in new if not path.startswith(environments)]
        paths = dict.fromkeys([*kept, *new])
        # What git keeps in a folder that is a link now lies elsewhere.
        links = tuple(f"{path}/" for path in paths if (self.folder / path).is_symlink())
        return [
            path
            for path in paths
            if not path.endswith("/")
            and not path.startswith(links)
            and "__pycache__" not in path.split("/")
            and ((place := self.folder / path).is_symlink() or place.is_file())
        ]

    def submodules(self) -> list[str]:
        """The submodules of the checkout, by paths from this folder."""
        lines = self._listed(str(self.folder), "ls-files", "-z", "--stage")
        mode = SUBMODULE.encode()
        return [os.fsdecode(line.partition(b"\t")[2]) for line in lines if line.startswith(mode)]

    def _listed(self, what: str, *words: str) -> list[bytes]:
        """What git ends with a NUL each, to read `what`."""
        done = self.run(*words)
        if done.returncode:
            raise UsageError(f"git cannot read {what}: {reason_of(done)}")
        return done.stdout.split(b"\0")[:-1]

    def ignores(self, path: str) -> bool:
        """Whether a file that git does not keep is one that it is told to ignore."""
        return self.run("check-ignore", "--quiet", "--", path).returncode == 0

    def words(self, *words: str) -> str:
        """Git's output; nothing where it fails."""
        done = self.run(*words)
        return "" if done.returncode else done.stdout.decode(errors="replace").strip()

    def run(self, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Raises UsageError where there is no git."""
        environment = own_environment()
        # C: errors are matched here.
        environment |= {"GIT_GRAFT_FILE": os.devnull, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        command = ["git", "--no-replace-objects", "-C", str(self.folder), *self._where, *words]
        try:
            return subprocess.run(command, env=environment, input=given, capture_output=True)
        except OSError as error:
            raise UsageError(f"cannot run git ({error.strerror}): install it") from None


def own_environment() -> dict[str, str]:
    """This process's environment without the variables by which git would read another checkout."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or KEPT.fullmatch(name)
    }


def write(path: Path, content: bytes, mode: str) -> None:
    """Write a file of a commit, with its mode. Raises MachineError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a copy may be read-only
        path.write_bytes(content)
        path.chmod(int(mode[-3:], 8))
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from None


def reason_of(done: subprocess.CompletedProcess[bytes]) -> str:
    """Git's first error, and the lines after it, which hold the remedy."""
    printed = done.stderr.decode(errors="replace").splitlines()
    lines = [line.strip() for line in printed if line.strip()]
    errors = [n for n, line in enumerate(lines) if line.startswith(("fatal: ", "error: "))]
    quoted = lines[errors[0] :][:ERROR_LINES] if errors else lines[-1:]
    words = re.sub("^(fatal|error): ", "", "; ".join(quoted)).replace(":; ", ": ")
    return words or f"status {done.returncode}"


def _object_id(path: Path, like: File) -> str:
    """What git would call the file, or the link, as it is on disk."""
    content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
    name = "sha1" if len(like.id) == 40 else "sha256"
    data = b"blob %d\0%b" % (len(content), content)
    return hashlib.new(name, data, usedforsecurity=False).hexdigest()
