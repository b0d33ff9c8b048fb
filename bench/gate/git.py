"""Git, asked for revisions of the subject. Nothing in the checkout is changed."""

import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

from bench.errors import MachineError, UsageError

SUBJECT = "sumnet"
"""The package that is measured, a folder of that name."""
TARGETS = ("GITHUB_BASE_REF", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME")
"""Where continuous integration says which branch a change is meant for."""
MAIN = (
    "refs/remotes/origin/HEAD",
    "refs/remotes/origin/main",
    "refs/remotes/origin/master",
    "refs/heads/main",
    "refs/heads/master",
)
"""What may be the main branch; the first that is there is."""
OF_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
"""Set by git for its hooks, where they would outweigh the folder that is asked about."""


class Checkout:
    """The git checkout that a folder with `sumnet/` lies in, at its top or below."""

    def __init__(self, root: Path) -> None:
        """Raises UsageError where git is missing, or does not keep the folder's sumnet/."""
        self._root = root
        done = self._run("ls-files", "--", SUBJECT)
        if done.returncode:
            raise UsageError(
                f"{root} is no git checkout (git: {_last_words(done)}): name a folder, or a "
                "revision from inside a checkout"
            )
        # Installed inside another project's checkout, that project's commits say nothing of it.
        if not done.stdout:
            raise UsageError(
                f"{root} is no git checkout of {SUBJECT}/, which git does not keep there: name a "
                "folder, or a revision from inside a checkout"
            )

    def commit(self, revision: str) -> str:
        """The full hash of the commit that a revision means; UsageError where it means none."""
        found = self._commit(revision)
        if found is None:
            raise self._missing(
                f"{revision!r} is neither a revision in {self._root} nor a folder",
                "`git log --all` lists revisions",
            )
        return found

    def dirty(self) -> bool:
        """Whether the working tree's sumnet/ differs from HEAD's, ignored files aside."""
        bytecode = f":(exclude,glob){SUBJECT}/**/__pycache__/**"
        return bool(self._words("status", "--porcelain", "--", SUBJECT, bytecode))

    def base_of(self, tip: str, *, changed: bool) -> tuple[str, str]:
        """The commit to hold a revision against, and in words why that one.

        That is where it left the main branch. On the main branch itself it is the revision, where
        something was `changed` on top of it, and else the commit before it. Raises UsageError where
        there is none of these.
        """
        commit = self.commit(tip)
        main = self._main()
        # origin/HEAD, and it alone, stands for another branch.
        name = self._words("symbolic-ref", "--quiet", "--short", main) or _short(main)
        base = self._words("merge-base", commit, main)
        if not base:
            raise self._missing(f"{tip} and {name} have no commit in common", "name a --base")
        if base != commit:
            return base, f"merge base with {name}"
        if changed:
            return commit, tip
        before = f"{tip}~1"
        found = self._commit(before)
        if found is None:
            raise self._missing(
                f"{tip} is on the main branch ({name}), and in this clone nothing comes before it",
                "name a --base",
            )
        return found, before

    def unpack(self, commit: str, folder: Path) -> None:
        """Lay a commit's sumnet/ into the folder. Raises UsageError where it has none."""
        if self._words("cat-file", "-t", f"{commit}:./{SUBJECT}") != "tree":
            where = f"{self._words('rev-parse', '--show-prefix')}{SUBJECT}/"
            raise UsageError(f"commit {commit[:10]} holds no {where}: name one that does")
        done = self._run("archive", "--format=tar", commit, SUBJECT)
        if done.returncode:
            raise UsageError(f"git cannot unpack commit {commit[:10]}: {_last_words(done)}")
        try:
            with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
                archive.extractall(folder, filter="data")
        except (OSError, tarfile.TarError) as error:
            raise MachineError(f"cannot unpack commit {commit[:10]}: {error}") from None

    def _main(self) -> str:
        """The main branch, as a full name, or what continuous integration says is the target."""
        for variable in TARGETS:
            if target := os.environ.get(variable):
                for ref in (f"refs/remotes/origin/{target}", f"refs/heads/{target}"):
                    if self._commit(ref) is not None:
                        return ref
                raise self._missing(
                    f"{variable} is {target!r}, and there is no branch origin/{target} here",
                    f"`git fetch origin {target}:refs/remotes/origin/{target}`, or name a --base",
                )
        for ref in MAIN:
            if self._commit(ref) is not None:
                return ref
        names = ", ".join(map(_short, MAIN))
        raise self._missing(
            f"no main branch in {self._root}, that is none of {names}", "name a --base"
        )

    def _missing(self, what: str, remedy: str) -> UsageError:
        """The error for what is not there, perhaps because the clone lacks its older history."""
        if self._words("rev-parse", "--is-shallow-repository") == "true":
            return UsageError(
                f"{what}; this clone is shallow, so its older history is missing: `git fetch "
                "--unshallow` brings it, or `fetch-depth: 0` where CI checks out"
            )
        return UsageError(f"{what}: {remedy}")

    def _commit(self, revision: str) -> str | None:
        if revision.startswith("-"):  # git would take it for an option; no branch is called that
            return None
        found = self._words("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        return found if re.fullmatch("[0-9a-f]{40,}", found) else None

    def _words(self, *words: str) -> str:
        """What git says to that; nothing where it fails."""
        done = self._run(*words)
        return "" if done.returncode else done.stdout.decode(errors="replace").strip()

    def _run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        environment = {n: value for n, value in os.environ.items() if n not in OF_HOOKS}
        command = ["git", "--no-optional-locks", "-C", str(self._root), *words]
        try:
            return subprocess.run(command, env=environment, capture_output=True, check=False)
        except OSError as error:
            raise UsageError(
                f"cannot run git ({error.strerror}), which looks up revisions: install it, or name "
                "folders"
            ) from None


def _short(ref: str) -> str:
    return ref.removeprefix("refs/remotes/").removeprefix("refs/heads/")


def _last_words(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("fatal: ") if lines else f"status {done.returncode}"
