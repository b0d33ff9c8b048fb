"""The two sides of a comparison: their subjects side by side in one folder that goes again."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import MachineError, UsageError
from bench.gate.interpreters import check_version, make_interpreter, named_interpreter
from bench.machine.checkout import SUBJECT, Checkout
from bench.machine.redact import redacted
from bench.protocol.messages import Interpreter
from bench.protocol.subject import ROOT, subject_hash
from bench.runner.pairs import PADDING
from bench.runner.process import Side

OURS = {
    "PYTHONPATH": "both sides import from the same folders; --base names a subject, and "
    "--base-python an interpreter with a torch of its own",
    "PYTHONHASHSEED": "every pair draws one, for both sides alike",
    PADDING: "every pair draws its length, so that both environments are of one size",
}
"""Variables that both sides are given here, and to what end."""


@dataclass(frozen=True)
class Asked:
    """What the options say of the two sides."""

    base: str | None = None
    """A git revision, or a folder that holds sumnet/. Where it is None, see `make_sides`."""
    head: str | None = None
    """The same; the working tree where it is None."""
    base_torch: str | None = None
    """A torch version to install for the base: "2.12.0", or "2.12.0+cpu"."""
    base_python: str | None = None
    """An interpreter to run the base with."""
    base_env: Sequence[str] = ()
    """NAME=VALUE, for the base's environment."""
    same: bool = False
    """Whether identical sides are meant."""
    axes_differ: bool = False
    """Whether the sides run different cases."""

    @property
    def differs_otherwise(self) -> bool:
        """Whether the sides differ, whatever their subjects and their environment variables."""
        return self.axes_differ or self.base_torch is not None or self.base_python is not None

    @property
    def one_subject(self) -> bool:
        """Whether a base that is not named is the head's subject."""
        return self.same or self.differs_otherwise or bool(self.base_env)

    @property
    def needs_revisions(self) -> bool:
        """Whether a subject has to come out of git."""
        named = [text for text in (self.base, self.head) if text is not None]
        unnamed = self.base is None and not self.one_subject
        return unnamed or any(_as_folder(text) is None for text in named)


@dataclass(frozen=True)
class Made:
    """A side that is there to be measured."""

    side: Side
    what: str
    """In words, and without anyone's name: "commit 1a2b3c4d5e (merge base with origin/main)"."""
    subject_hash: str
    interpreter: Interpreter | None = None
    """What was asked for and found when it was examined; None where it is this process's own."""


def subject_root(asked: Asked) -> Path:
    """The folder whose sumnet/ is compared, where the sides do not name others.

    It is the current folder or the nearest above it, up to the top of its git checkout; where none
    of them holds sumnet/, the one this instrument lies in. Raises UsageError where that is an
    installed one, which has no revisions, and revisions are asked for.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / SUBJECT / "__init__.py").is_file():
            return folder
        if (folder / ".git").exists():
            break
    if asked.needs_revisions and _is_installed(ROOT):
        raise UsageError(
            f"there is no {SUBJECT}/ to take revisions of: not in {here} or its git checkout, and "
            f"the one in {ROOT} is installed; run this in a checkout that holds {SUBJECT}/, name "
            "folders with --base and --head, or compare the installed one with itself by --same, "
            "--base-env, --base-python, --base-torch or the values of axes"
        )
    return ROOT


def _is_installed(root: Path) -> bool:
    """Whether the packages in a folder were put there by an installer."""
    return any(root.glob("sumnet_bench-*.dist-info"))


@contextmanager
def make_sides(
    asked: Asked, root: Path, tell: Callable[[str], None]
) -> Iterator[tuple[Made, Made]]:
    """The base and the head, for as long as the context lasts; `root` is as of `subject_root`.

    Both subjects are copies, at paths of one length and with nothing beside them, so that neither
    later edits nor where they lie can tell them apart. A base that is not named is the head's
    subject where something else is to differ, or nothing; otherwise it is the commit where the head
    left the main branch, and on the main branch itself the commit before it, or the head's own
    where that has changes on top. `tell` hears what takes long.

    Raises UsageError where what is asked for is not there, or cannot differ; MachineError where it
    cannot be copied.
    """
    environment = _environment(asked.base_env)
    if asked.base_torch is not None:
        if asked.base_python is not None:
            raise UsageError(
                "--base-torch and --base-python: one installs a torch, the other names an "
                "interpreter that has its own; give one of them"
            )
        check_version(asked.base_torch)
    with _temporary_folder() as folder:
        whats = _lay_both(asked, root, folder)
        hashes = [subject_hash(folder / name / SUBJECT) for name in ("base", "head")]
        _check_difference(asked, environment, whats, hashes)
        python, found, words = sys.executable, None, []
        if asked.base_torch is not None:
            place = folder / "python"
            python, found = make_interpreter(asked.base_torch, place, environment, tell)
            words.append(f"torch {asked.base_torch}")
        elif asked.base_python is not None:
            python, found = named_interpreter(asked.base_python, environment)
            words += [python, found.python, f"torch {found.torch}"]
        words += [f"{name}={value}" for name, value in environment.items()]
        base = Side("base", python, folder / "base", environment)
        head = Side("head", sys.executable, folder / "head")
        yield (
            Made(base, redacted(", ".join([whats[0], *words])), hashes[0], found),
            Made(head, redacted(whats[1]), hashes[1]),
        )


def _environment(settings: Sequence[str]) -> dict[str, str]:
    """What NAME=VALUE settings amount to. Raises UsageError for one that is none, or is ours."""
    environment: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (name and equals):
            raise UsageError(f"--base-env: {setting!r} is not NAME=VALUE")
        if name in OURS:
            raise UsageError(f"--base-env: {name} cannot be set for the base: {OURS[name]}")
        if name in environment:
            raise UsageError(f"--base-env: {name} is given twice; give it once")
        environment[name] = value
    return environment


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        temporary = tempfile.TemporaryDirectory(prefix="sumnet-bench-")
    except OSError as error:
        raise MachineError(f"cannot make a temporary folder: {error.strerror}") from None
    with temporary as name:
        yield Path(name)


def _lay_both(asked: Asked, root: Path, folder: Path) -> tuple[str, str]:
    """Lay the subjects into `base` and `head` in the folder; in words, what they are."""
    if asked.head is not None:
        head = _lay_named("head", asked.head, root, folder / "head")
    else:
        head = _lay_working_tree(root, folder / "head")
    if asked.base is not None:
        return _lay_named("base", asked.base, root, folder / "base"), head
    if asked.one_subject:
        _copy(folder / "head", folder / "base")
        return head, head
    checkout = Checkout(root)
    if asked.head is None:
        tip, changed = "HEAD", checkout.dirty(checkout.commit("HEAD"), SUBJECT)
    elif _as_folder(asked.head) is None:
        tip, changed = asked.head, False
    else:
        tip, changed = "HEAD", True
    commit, why = checkout.base_of(tip, changed=changed)
    checkout.unpack(commit, folder / "base")
    return _commit_words(commit, why), head


def _lay_named(name: str, text: str, root: Path, target: Path) -> str:
    """Lay what --base or --head names into the target; in words, what it is.

    A folder that holds sumnet/ goes before a revision of the same name.
    """
    if not text or text.startswith("-"):
        raise UsageError(f"--{name}: {text!r} is neither a revision nor a folder; name one")
    source = _as_folder(text)
    if source is not None:
        _lay_folder(source, target)
        return f"folder {source.absolute()}"
    try:
        checkout = Checkout(root)
        commit = checkout.commit(text)
    except UsageError as error:
        if _as_folder(text, holding=".") is not None:
            raise UsageError(
                f"--{name}: {text} holds no {SUBJECT}/: name the folder that {SUBJECT}/ is in"
            ) from None
        raise UsageError(f"--{name}: {error}") from None
    checkout.unpack(commit, target)
    return _commit_words(commit, text)


def _lay_working_tree(root: Path, target: Path) -> str:
    if not (root / SUBJECT).is_dir():
        raise UsageError(f"{root} holds no {SUBJECT}/: name a --head")
    _lay_folder(root, target)
    if _is_installed(root):
        return f"installed {SUBJECT}"
    try:
        checkout = Checkout(root)
        commit = checkout.commit("HEAD")
        if checkout.dirty(commit, SUBJECT):
            return "working tree (with uncommitted changes)"
        return f"working tree (commit {commit[:10]})"
    except UsageError:  # no git, and none needed where the base needs none
        return "working tree"


def _as_folder(text: str, holding: str = SUBJECT) -> Path | None:
    """The folder of that name, where there is one that holds the other."""
    with contextlib.suppress(OSError):  # not ours to see, or too long for a name
        return Path(text) if (Path(text) / holding).is_dir() else None
    return None


def _commit_words(commit: str, named: str) -> str:
    """For example "commit 1a2b3c4d5e (v1.0)"."""
    return f"commit {commit[:10]}" + ("" if commit.startswith(named) else f" ({named})")


def _lay_folder(source: Path, target: Path) -> None:
    """Lay a folder's sumnet/ as it is on disk, save what git converted when it checked it out.

    Those files are laid as git holds them, as the files of a commit are: else an unchanged subject
    would differ from its own commit by its line ends.
    """
    _copy(source, target)
    with contextlib.suppress(UsageError):  # no git, and then nothing that it converted
        checkout = Checkout(source)
        checkout.restore(checkout.commit("HEAD"), target)


def _copy(source: Path, target: Path) -> None:
    """Copy a folder's sumnet/ into the target, bytecode left behind."""
    try:
        shutil.copytree(
            source / SUBJECT, target / SUBJECT, ignore=shutil.ignore_patterns("__pycache__")
        )
    except OSError as error:
        raise MachineError(f"cannot copy {source / SUBJECT}: {error}") from None


def _check_difference(
    asked: Asked, environment: dict[str, str], whats: tuple[str, str], hashes: Sequence[str]
) -> None:
    """Raise UsageError where nothing can have changed and that is not meant, or the reverse."""
    if asked.same and (asked.differs_otherwise or environment):
        raise UsageError(
            "--same measures identical sides: leave it out, or --base-torch, --base-python, "
            "--base-env and the values of axes"
        )
    if hashes[0] != hashes[1]:
        if asked.same:
            raise UsageError(
                f"--same: the sides load different subjects, {whats[0]} (hash {hashes[0]}) and "
                f"{whats[1]} (hash {hashes[1]}); leave out --base, or --same"
            )
        return
    changes = any(os.environ.get(name) != value for name, value in environment.items())
    if asked.same or asked.differs_otherwise or changes:
        return
    here = f", and --base-env says what the environment is already ({', '.join(environment)})"
    raise UsageError(
        f"both sides load the same subject (hash {hashes[0]}), {whats[0]} and {whats[1]}"
        f"{here if environment else ''}: nothing can have changed; name another --base, or "
        "--base-torch, --base-python or --base-env; --same measures identical sides on purpose"
    )
