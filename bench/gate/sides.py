"""The two sides of a comparison: their subjects side by side in one folder that goes again."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import MachineError, UsageError
from ..machine.checkout import SUBJECT, Checkout
from ..machine.redact import redacted
from ..protocol.subject import ROOT, subject_hash
from ..runner.process import Side
from .interpreters import make_interpreter, named_interpreter
from .side_spec import SideSpec


@contextlib.contextmanager
def make_sides(
    base: SideSpec,
    head: SideSpec,
    on_progress: Callable[[str], None],
    *,
    same: bool = False,
    root: Path | None = None,
) -> Iterator[tuple[Side, Side]]:
    """The base and the head, for as long as the context lasts.

    `same` sides are meant to be identical. `root`, or else `subject_root`, is the folder whose
    sumnet/ is compared where the sides name no other.

    Both subjects are copies, at paths of one length and with nothing beside them, so that neither
    later edits nor their places make a difference. A head that is not named is the working tree. A
    base that is not named is the head's subject where something else differs, or nothing;
    otherwise the commit where the head left the main branch, and on the main branch itself the
    commit before it, or the head's own where that has changes on top.

    Raises UsageError where what is asked for is missing or cannot differ, MachineError where it
    cannot be copied.
    """
    is_special = base.is_special or head.is_special
    if same and (is_special or base.environment):
        raise UsageError(
            "--same measures identical sides: leave it out, or --base-torch, --base-python, "
            "--base-env and the values of axes"
        )
    root = root or subject_root(base, head, same=same)
    try:
        temporary = tempfile.TemporaryDirectory(prefix="sumnet-bench-")
    except OSError as error:
        raise MachineError(f"cannot make a temporary folder: {error.strerror}") from None
    with temporary as name:
        folder = Path(name)
        what_head = what_base = _lay_head(head, root, folder / "head")
        if base.subject is None and _one_subject(base, head, same):
            _copy(folder / "head", folder / "base")
        else:
            what_base = _lay_base(base, head, root, folder / "base")
        sides = (
            _side(base, what_base, folder, on_progress),
            _side(head, what_head, folder, on_progress),
        )
        _check_difference(*sides, same, is_special)
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
    needs_revisions = any(_as_folder(text) is None for text in named)
    needs_revisions |= base.subject is None and not _one_subject(base, head, same)
    if needs_revisions and _is_installed(ROOT):
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


def _is_installed(root: Path) -> bool:
    """Whether the packages in a folder were put there by an installer."""
    return any(root.glob("sumnet_bench-*.dist-info"))


def _lay_head(head: SideSpec, root: Path, target: Path) -> str:
    """Lay the head's subject into the target; in words, what it is."""
    if head.subject is not None:
        return _lay_named(head.name, head.subject, root, target)
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


def _lay_base(base: SideSpec, head: SideSpec, root: Path, target: Path) -> str:
    """Lay the base's subject into the target, or the commit to compare the head with."""
    if base.subject is not None:
        return _lay_named(base.name, base.subject, root, target)
    checkout, tip = Checkout(root), "HEAD"
    if head.subject is None:
        changed = checkout.dirty(checkout.commit(tip), SUBJECT)
    elif not (changed := _as_folder(head.subject) is not None):
        tip = head.subject
    commit, why = checkout.base_of(tip, changed=changed)
    checkout.unpack(commit, target)
    return _commit_words(commit, why)


def _lay_named(name: str, text: str, root: Path, target: Path) -> str:
    """Lay what --base or --head names into the target; in words, what it is.

    A folder that holds sumnet/ goes before a revision of the same name.
    """
    if (source := _as_folder(text)) is not None:
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


def _side(spec: SideSpec, what: str, folder: Path, on_progress: Callable[[str], None]) -> Side:
    """The side of a subject that lies in the folder, with an interpreter to run it on."""
    python, interpreter, words = sys.executable, None, [what]
    if spec.torch is not None:
        place = folder / "python"
        python, interpreter = make_interpreter(spec.torch, place, spec.environment, on_progress)
        words.append(f"torch {spec.torch}")
    elif spec.python is not None:
        python, interpreter = named_interpreter(spec.python, spec.environment)
        words += [python, interpreter.python, f"torch {interpreter.torch}"]
    words += [f"{name}={value}" for name, value in spec.environment.items()]
    subject = folder / spec.name
    return Side(
        spec.name,
        python,
        subject,
        environment=spec.environment,
        what=redacted(", ".join(words)),
        subject_hash=subject_hash(subject / SUBJECT),
        interpreter=interpreter,
    )


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
