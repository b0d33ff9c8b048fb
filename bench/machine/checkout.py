"""The git checkout around the code: its commits, and whether files differ from one.

Nothing in it is changed.
"""

import os
from importlib.machinery import all_suffixes
from pathlib import Path

from ..errors import UsageError
from ..protocol.subject import modules_in
from .git import LFS_POINTER, LINK, SUBMODULE, Git, reason_of, write

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
FOREIGN = {LINK: "a symbolic link", SUBMODULE: "a submodule"}
"""Modes of what a commit holds without its content."""


class NoCheckout(UsageError):
    """The folder lies in no checkout, or in one of something else."""


def checkout_of(path: Path) -> Path | None:
    """The top folder of the git checkout that a file or folder lies in; None where in none.

    Git is not asked: a folder with `.git` in it is one's top, in a linked worktree too.
    """
    return next((folder for folder in path.absolute().parents if (folder / ".git").exists()), None)


def root_of(path: Path) -> Path:
    """The top of the checkout that a file lies in, or else its own folder."""
    file = path.resolve()
    return checkout_of(file) or file.parent


class Checkout:
    """The git checkout that a folder lies in, at its top or below.

    Every method raises UsageError, with git's reason, where git cannot read what it is asked for.
    """

    def __init__(self, root: Path, *paths: str) -> None:
        """`paths`, from the root, are the folders that it is about; all of it where there are none.

        Raises NoCheckout where git keeps nothing in them, UsageError where git is missing, or
        refuses to read the checkout.
        """
        self._root, self._paths = root, paths
        self.git = Git(root)
        done = self.git.run("ls-files", "--", *paths)
        remedy = "name a folder, or a revision from inside a checkout"
        if done.returncode:
            reason = reason_of(done)
            if not reason.startswith("not a git repository (or any"):
                raise UsageError(f"git cannot read the checkout in {root}: {reason}")
            raise NoCheckout(f"{root} is no git checkout (git: {reason}): {remedy}")
        # Installed inside another project's checkout, its commits are of something else.
        if not done.stdout:
            names = " and ".join(f"{path}/" for path in paths) or "anything in it"
            what = f"{root} is no git checkout of {names}, which git does not keep there"
            raise NoCheckout(f"{what}: {remedy}")

    def commit(self, revision: str) -> str:
        """The full hash of the commit that a revision means; UsageError where it means none."""
        if found := self.git.commit(revision):
            return found
        what = f"{revision!r} is neither a revision in {self._root} nor a folder"
        raise self._missing(what, "`git log --all` lists revisions")

    def dirty(self, commit: str, *folders: str) -> bool:
        """Whether Python files of the folders, or else of all that this is about, differ on disk.

        The index does not matter. In named folders ignore rules do not either: an ignored module is
        loaded like any other. In a whole checkout other files that git keeps count too, and files
        that it ignores do not. A file that git itself converted when it checked it out does not
        differ.
        """
        folders = folders or self._paths
        if not folders:
            return self._changed(commit)
        held = {
            path: file
            for path, file in self.git.files(commit, *folders).items()
            if path.endswith(".py")
            and not path.rpartition("/")[2].startswith(".")
            and ((self._root / path).is_file() or not (self._root / path).is_symlink())
        }
        there = {
            file.relative_to(self._root).as_posix()
            for folder in folders
            for file in modules_in(self._root / folder)
        }
        return held.keys() != there or self.git.edited(held, self._root)[1]

    def _changed(self, commit: str) -> bool:
        """Whether a file of the commit is not as it was, or there is a module beside them.

        Other new files do not count: reports, logs and results lie about in many checkouts.
        """
        held = {
            path: file
            for path, file in self.git.files(commit).items()
            if "__pycache__" not in path.split("/")
        }
        submodules = {path: held.pop(path).id for path, f in [*held.items()] if f.mode == SUBMODULE}
        suffixes = tuple(all_suffixes())
        files = self.git.working_files()
        there = {path for path in files if path in held or path.endswith(suffixes)}
        return (
            there != held.keys()
            or self.git.edited(held, self._root)[1]
            or any(
                Git(folder).commit("HEAD") != recorded or Checkout(folder).dirty(recorded)
                for path, recorded in submodules.items()
                if ((folder := self._root / path) / ".git").exists()
            )
        )

    def base_of(self, tip: str, *, changed: bool) -> tuple[str, str]:
        """The commit to compare a revision with, and in words why that one.

        It is where the revision left the main branch. On the main branch itself it is the revision
        where something was `changed` on top of it, else the commit before it. Raises UsageError
        where there is none of these.
        """
        commit = self.commit(tip)
        main = self._main()
        # origin/HEAD, and it alone, stands for another branch.
        name = _short(self.git.words("symbolic-ref", "--quiet", main) or main)
        done = self.git.run("merge-base", commit, main)
        if done.returncode > 1:
            reason = reason_of(done)
            raise UsageError(f"git cannot find the merge base of {tip} and {name}: {reason}")
        base = done.stdout.decode().strip()
        if not base:
            raise self._missing(f"{tip} and {name} have no commit in common", "name a --base")
        if base != commit:
            return base, f"merge base with {name}"
        if changed:
            return commit, tip
        if found := self.git.commit(f"{tip}~1"):
            return found, f"{tip}~1"
        what = f"{tip} is on the main branch ({name}), and in this clone nothing comes before it"
        raise self._missing(what, "name a --base")

    def unpack(self, commit: str, folder: Path) -> None:
        """Lay a commit's folders into the folder, byte for byte, bytecode left behind.

        Raises UsageError where it has none, or holds links, submodules or Git LFS pointers in it;
        MachineError where it cannot be written.
        """
        files = {
            path: file
            for path, file in self.git.files(commit, *self._paths).items()
            if "__pycache__" not in path.split("/")
        }
        name = f"commit {commit[:10]}"
        if not files:
            where = f"{self.git.words('rev-parse', '--show-prefix')}{self._paths[0]}/"
            raise UsageError(f"{name} holds no {where}: name one that does")
        elsewhere = {p: FOREIGN[file.mode] for p, file in files.items() if file.mode in FOREIGN}
        contents = {} if elsewhere else self.git.contents(files)
        pointers = [path for path, content in contents.items() if content.startswith(LFS_POINTER)]
        for path, kind in (elsewhere | dict.fromkeys(pointers, "a Git LFS pointer")).items():
            raise UsageError(
                f"{name} holds {path} as {kind}, whose content lies elsewhere: name a folder in "
                "which that commit is checked out"
            )
        for path, content in contents.items():
            write(folder / path, content, files[path].mode)

    def restore(self, commit: str, folder: Path) -> None:
        """Undo in a copy of the checkout's folders what git converted when it checked it out.

        A file with changes stays as it is, and so does one for which git holds a Git LFS pointer.
        Raises MachineError where it cannot be written.
        """
        files = {
            path: file
            for path, file in self.git.files(commit, *self._paths).items()
            if file.mode not in FOREIGN and (folder / path).is_file()
        }
        files = {path: files[path] for path in self.git.edited(files, folder)[0]}
        for path, content in self.git.contents(files).items():
            if not content.startswith(LFS_POINTER):
                write(folder / path, content, files[path].mode)

    def _main(self) -> str:
        """The main branch, as a full name, or the target branch in continuous integration."""
        for variable in TARGETS:
            if target := os.environ.get(variable):
                for ref in (f"refs/remotes/origin/{target}", f"refs/heads/{target}"):
                    if self.git.commit(ref):
                        return ref
                raise self._missing(
                    f"{variable} is {target!r}, and there is no branch origin/{target} here",
                    f"`git fetch origin {target}:refs/remotes/origin/{target}`, or name a --base",
                )
        for ref in MAIN:
            if self.git.commit(ref):
                return ref
        what = f"no main branch in {self._root}, that is none of {', '.join(map(_short, MAIN))}"
        raise self._missing(what, "name a --base")

    def _missing(self, what: str, remedy: str) -> UsageError:
        """The error for what is not there, perhaps because the clone lacks its older history."""
        if self.git.words("rev-parse", "--is-shallow-repository") == "true":
            return UsageError(
                f"{what}; this clone is shallow, so its older history is missing: `git fetch "
                "--unshallow` brings it, or `fetch-depth: 0` where CI checks out"
            )
        return UsageError(f"{what}: {remedy}")


def _short(ref: str) -> str:
    return ref.removeprefix("refs/remotes/").removeprefix("refs/heads/")
