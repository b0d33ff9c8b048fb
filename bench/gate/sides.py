"""The two sides of a comparison: their subjects side by side in one folder that goes again."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import MachineError, UsageError
from ..machine.git import Git
from ..machine.redact import redacted
from ..matrix.default_step import PACKAGE as SUBJECT
from ..protocol.subject import ROOT
from ..runner.process import Side
from .build import build
from .interpreters import make_interpreter, named_interpreter
from .shared_steps import STEPS_FROM, share_steps
from .side_spec import SideSpec
from .subjects import Package, Repository, Say, Subject, is_installed
from .trees import give_history


@dataclass(frozen=True)
class OwnSteps:
    """Steps of one's own, in one's own repository."""

    file: Path
    build: str | None = None
    """A shell command that makes a laid tree ready to be imported."""
    steps_from: str = STEPS_FROM[0]
    """The side whose steps file both sides load."""


@dataclass(frozen=True)
class Laid:
    """A subject that lies in its side's folder."""

    what: str
    """In words."""
    commit: str | None
    """Its own, or the one that it was edited from; None where git knows none."""


@contextlib.contextmanager
def make_sides(
    base: SideSpec,
    head: SideSpec,
    on_progress: Say,
    *,
    same: bool = False,
    root: Path | None = None,
    own: OwnSteps | None = None,
) -> Iterator[tuple[Side, Side]]:
    """The base and the head, for as long as the context lasts.

    What is compared, the subject, is the repository around one's `own` steps. Without these it is
    the package sumnet/ in `root`; where that is None, in `subject_root`. `same` asks for identical
    sides.

    Both sides are copies, at paths of one length, so that a later edit makes no difference, nor
    does the place. A head that is not named is the working tree. A base that is not named is
    - the head's subject, where the sides differ in something else or are the `same`;
    - else the commit where the head's branch left the main branch;
    - on the main branch, the last commit where the working tree has changes, else the one before.

    Raises UsageError where what is asked for is missing, cannot be built, or is the same on both
    sides without `same`; MachineError where a file cannot be copied.
    """
    is_special = base.is_special or head.is_special
    if same and (is_special or base.environment):
        raise UsageError(
            "--same measures identical sides: leave it out, or --base-torch, --base-python, "
            "--base-env and the values of axes"
        )
    subject: Subject = (
        Package(root or subject_root(base, head, same=same))
        if own is None
        else Repository.around(own.file, on_progress)
    )
    try:
        temporary = tempfile.TemporaryDirectory(prefix="sumnet-bench-")
    except OSError as error:
        raise MachineError(f"cannot make a temporary folder: {error.strerror}") from None
    with temporary as name:
        folder = Path(name).resolve()  # as modules that are loaded from it will say
        laid_head = laid_base = _lay_head(head, subject, folder / head.name)
        if base.subject is None and _one_subject(base, head, same):
            _copy(folder / head.name, folder / base.name)
        else:
            laid_base = _lay_base(base, head, subject, folder / base.name)
        sides = (
            _side(base, laid_base, subject, folder, on_progress),
            _side(head, laid_head, subject, folder, on_progress),
        )
        _check_difference(*sides, same, is_special)
        if own is not None:
            sides = _prepared(
                sides, (laid_base.commit, laid_head.commit), own, subject, on_progress
            )
        yield sides


def subject_root(base: SideSpec, head: SideSpec, *, same: bool = False) -> Path:
    """The current folder or the nearest above it that holds sumnet/, inside the git checkout.

    Without one it is the folder of this instrument. Raises UsageError where that is an installed
    one, which has no revisions, and revisions are asked for.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / SUBJECT / "__init__.py").is_file():
            return folder
        if (folder / ".git").exists():
            break
    named = [side.subject for side in (base, head) if side.subject is not None]
    needs_revisions = any(Package(here).as_folder(text) is None for text in named)
    needs_revisions |= base.subject is None and not _one_subject(base, head, same)
    if needs_revisions and is_installed(ROOT):
        raise UsageError(
            f"there is no {SUBJECT}/ to take revisions of: not in {here} or its git checkout, and "
            f"the one in {ROOT} is installed; run this in a checkout that holds {SUBJECT}/, name "
            "folders with --base and --head, or compare the installed one with itself by --same, "
            "--base-env, --base-python, --base-torch or the values of axes"
        )
    return ROOT


def _one_subject(base: SideSpec, head: SideSpec, same: bool) -> bool:
    """Whether a base that is not named is the head's subject."""
    return same or base.is_special or head.is_special or bool(base.environment)


def _lay_head(head: SideSpec, subject: Subject, target: Path) -> Laid:
    """Lay the head's subject into the target."""
    if head.subject is not None:
        return _lay_named(head.name, head.subject, subject, target)
    subject.check_head()
    subject.lay_folder(subject.root, target)
    if subject.is_installed():
        return Laid(f"installed {SUBJECT}", None)
    try:
        checkout = subject.checkout()
        commit = checkout.commit("HEAD")
        if checkout.dirty(commit):
            return Laid("working tree (with uncommitted changes)", commit)
        return Laid(f"working tree (commit {commit[:10]})", commit)
    except UsageError:  # no git, and none needed where the base needs none
        return Laid("working tree", None)


def _lay_base(base: SideSpec, head: SideSpec, subject: Subject, target: Path) -> Laid:
    """Lay the base's subject into the target, or the commit to compare the head with."""
    if base.subject is not None:
        return _lay_named(base.name, base.subject, subject, target)
    checkout, tip = subject.checkout(), "HEAD"
    if head.subject is None:
        changed = checkout.dirty(checkout.commit(tip))
    elif not (changed := subject.as_folder(head.subject) is not None):
        tip = head.subject
    commit, why = checkout.base_of(tip, changed=changed)
    subject.lay_commit(commit, target)
    return Laid(_commit_words(commit, why), commit)


def _lay_named(name: str, text: str, subject: Subject, target: Path) -> Laid:
    """Lay what --base or --head names into the target.

    A folder that holds the subject goes before a revision of the same name.
    """
    if (source := subject.as_folder(text)) is not None:
        subject.lay_folder(source, target)
        return Laid(f"folder {source.absolute()}", None)
    try:
        commit = subject.checkout().commit(text)
    except UsageError as error:
        if (what := subject.lacking(text)) is not None:
            raise UsageError(f"--{name}: {text} {what}") from None
        raise UsageError(f"--{name}: {error}") from None
    subject.lay_commit(commit, target)
    return Laid(_commit_words(commit, text), commit)


def _commit_words(commit: str, named: str) -> str:
    """For example "commit 1a2b3c4d5e (v1.0)"."""
    return f"commit {commit[:10]}" + ("" if commit.startswith(named) else f" ({named})")


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, symlinks=True)
    except OSError as error:
        raise MachineError(f"cannot copy {source}: {error}") from None


def _side(spec: SideSpec, laid: Laid, subject: Subject, folder: Path, say: Say) -> Side:
    """The side of a subject that lies in the folder, with an interpreter to run it on."""
    python, interpreter, words = sys.executable, None, [laid.what]
    if spec.torch is not None:
        place = folder / "python"
        python, interpreter = make_interpreter(spec.torch, place, spec.environment, say)
        words.append(f"torch {spec.torch}")
    elif spec.python is not None:
        python, interpreter = named_interpreter(spec.python, spec.environment)
        words += [python, interpreter.python, f"torch {interpreter.torch}"]
    words += [f"{name}={value}" for name, value in spec.environment.items()]
    return Side(
        name=spec.name,
        python=python,
        subject=folder / spec.name,
        steps=subject.steps,
        environment=spec.environment,
        what=redacted(", ".join(words)),
        subject_hash=subject.hash(folder / spec.name),
        interpreter=interpreter,
    )


def _prepared(
    sides: tuple[Side, Side],
    commits: tuple[str | None, str | None],
    own: OwnSteps,
    subject: Subject,
    say: Say,
) -> tuple[Side, Side]:
    """The sides with one steps file; built, where that is asked for."""
    # What is loaded of a tree, only its workers know.
    base, head = (replace(side, subject_hash=None, checkout=subject.root) for side in sides)
    giver, taker = (head, base) if own.steps_from == head.name else (base, head)
    if not (giver.subject / subject.steps).is_file():
        why = "; git ignores it" if Git(subject.root).ignores(subject.steps) else ""
        raise UsageError(
            f"the {giver.name} ({giver.what}) holds no {subject.steps}{why}: commit the file, or "
            "take the other side's with --steps-from"
        )
    differs, left_out = share_steps(giver.subject, taker.subject, subject.steps)
    if differs:
        what = f"{taker.what}, with the {subject.steps} of the {giver.name}"
        if left_out:
            names = ", ".join(sorted(left_out))
            what += f", not measuring {names}"
            say(f"not measured: {names}: only the {taker.name}'s {subject.steps} declares it")
        base, head = (replace(s, what=what) if s.name == taker.name else s for s in (base, head))
    if own.build is None:
        return base, head
    for side, commit in zip((base, head), commits, strict=True):
        if commit is not None:
            give_history(subject.root, commit, side.subject)
    here = Path.cwd().resolve()
    inside = here.relative_to(subject.root) if here.is_relative_to(subject.root) else Path()
    return build(base, own.build, inside, say), build(head, own.build, inside, say)


def _check_difference(base: Side, head: Side, same: bool, is_special: bool) -> None:
    """Raise UsageError where nothing can have changed and that is not meant, or the reverse."""
    if base.subject_hash != head.subject_hash:
        if same:
            raise UsageError(
                f"--same: the sides load different subjects, {base.what} (hash "
                f"{base.subject_hash}) and {head.what} (hash {head.subject_hash}); leave out "
                "--base, or --same"
            )
        return
    changes = any(os.environ.get(name) != value for name, value in base.environment.items())
    if same or is_special or changes:
        return
    names = ", ".join(base.environment)
    here = f", and --base-env sets what the environment has already ({names})" if names else ""
    raise UsageError(
        f"both sides load the same subject (hash {base.subject_hash}), {base.what} and "
        f"{head.what}{here}: nothing can have changed; name another --base, or --base-torch, "
        "--base-python or --base-env; --same measures identical sides on purpose"
    )
