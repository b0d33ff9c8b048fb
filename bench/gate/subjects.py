"""What the sides of a comparison are made of: the default step's package, or a whole repository."""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import MachineError, UsageError
from ..machine.checkout import Checkout, checkout_of
from ..matrix.default_step import PACKAGE as SUBJECT
from ..protocol.subject import subject_hash
from .trees import Tree, copy_folder, tree_hash

Say = Callable[[str], None]


class Subject(Protocol):
    """What is laid for a side: out of a folder as it is on disk, or of a commit."""

    @property
    def root(self) -> Path:
        """The folder that it is taken from where a side names no other."""

    @property
    def steps(self) -> str:
        """The steps file's path inside it; empty for the default step."""

    def check_head(self) -> None:
        """Raise UsageError where the root holds none."""

    def is_installed(self) -> bool:
        """Whether an installer put the root there."""

    def checkout(self) -> Checkout:
        """The root's checkout. Raises UsageError."""

    def as_folder(self, text: str) -> Path | None:
        """The folder of that name, where there is one to take it from."""

    def lacking(self, text: str) -> str | None:
        """Why a folder of that name is none to take it from; None where there is no such folder."""

    def lay_folder(self, source: Path, target: Path) -> None:
        """Raises MachineError where it cannot be copied."""

    def lay_commit(self, commit: str, target: Path) -> None:
        """Raises UsageError where the commit does not hold all of it."""

    def hash(self, laid: Path) -> str:
        """Over all that may make a difference between two that were laid."""


@dataclass(frozen=True)
class Package:
    """The package of the default step, alone."""

    root: Path
    steps: str = ""

    def check_head(self) -> None:
        if not (self.root / SUBJECT).is_dir():
            raise UsageError(f"{self.root} holds no {SUBJECT}/: name a --head")

    def is_installed(self) -> bool:
        return is_installed(self.root)

    def checkout(self) -> Checkout:
        return Checkout(self.root, SUBJECT)

    def as_folder(self, text: str) -> Path | None:
        return _folder(text, SUBJECT)

    def lacking(self, text: str) -> str | None:
        if _folder(text, ".") is None:
            return None
        return f"holds no {SUBJECT}/: name the folder that {SUBJECT}/ is in"

    def lay_folder(self, source: Path, target: Path) -> None:
        """As it is on disk, save what git converted when it checked it out.

        Those files are laid as git holds them, as the files of a commit are: else an unchanged
        subject would differ from its own commit by its line ends.
        """
        ignored = shutil.ignore_patterns("__pycache__")
        try:
            shutil.copytree(source / SUBJECT, target / SUBJECT, ignore=ignored)
        except OSError as error:
            raise MachineError(f"cannot copy {source / SUBJECT}: {error}") from None
        with contextlib.suppress(UsageError):  # no git, and then nothing that it converted
            checkout = Checkout(source, SUBJECT)
            checkout.restore(checkout.commit("HEAD"), target)

    def lay_commit(self, commit: str, target: Path) -> None:
        self.checkout().unpack(commit, target)

    def hash(self, laid: Path) -> str:
        return subject_hash(laid / SUBJECT)


@dataclass(frozen=True)
class Repository:
    """The whole repository that a steps file lies in."""

    root: Path
    """The top of its checkout; outside one, the folder that is copied whole."""
    steps: str
    say: Say

    @classmethod
    def around(cls, steps: Path, say: Say) -> "Repository":
        """That of a steps file, which a revision alone may hold. Raises UsageError for none."""
        file, here = steps.resolve(), Path.cwd().resolve()
        top = checkout_of(file)
        if top is None:
            if not file.is_file():
                raise UsageError(f"there is no file {steps}: name the one that declares your steps")
            top = here if file.is_relative_to(here) else file.parent
        return cls(top, file.relative_to(top).as_posix(), say)

    def check_head(self) -> None:
        if not (self.root / self.steps).is_file():
            raise UsageError(
                f"there is no file {self.steps} in {self.root}: name the one that declares your "
                "steps, or a --head that holds it"
            )

    def is_installed(self) -> bool:
        return False

    def checkout(self) -> Checkout:
        return Checkout(self.root)

    def as_folder(self, text: str) -> Path | None:
        return _folder(text, ".git") or _folder(text, self.steps)

    def lacking(self, text: str) -> str | None:
        if _folder(text, ".") is None:
            return None
        return f"holds no {self.steps}: name the top folder of a checkout"

    def lay_folder(self, source: Path, target: Path) -> None:
        source = source.resolve()
        if (source / ".git").exists():
            Tree(source, target, self.say).lay_working_tree()
        else:
            copy_folder(source, target)

    def lay_commit(self, commit: str, target: Path) -> None:
        Tree(self.root, target, self.say).lay_commit(commit)

    def hash(self, laid: Path) -> str:
        return tree_hash(laid)


def is_installed(root: Path) -> bool:
    """Whether the packages in a folder were put there by an installer."""
    return any(root.glob("sumnet_bench-*.dist-info"))


def _folder(text: str, holding: str) -> Path | None:
    """The folder of that name, where there is one that holds the other."""
    with contextlib.suppress(OSError):  # not ours to see, or too long for a name
        return Path(text) if (Path(text) / holding).exists() else None
    return None
