"""Real git checkouts with small subjects, and the sides that are made of them."""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.gate.side_spec import SideSpec, parse_side
from bench.gate.sides import make_sides, subject_root
from bench.runner.process import Side

Options = dict[str, Any]
"""What `sides` takes beside its root."""


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def write(root: Path, text: str) -> None:
    """A subject that differs from those with another text."""
    (root / "sumnet").mkdir(parents=True, exist_ok=True)
    (root / "sumnet" / "train.py").write_text(f"{text!r}\n")


def commit(root: Path, text: str | None) -> str:
    """A commit whose subject holds the text; None for one that leaves it as it is."""
    if text is not None:
        write(root, text)
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--allow-empty", "-m", text or "nothing")
    return git(root, "rev-parse", "HEAD")


def clone(root: Path, *options: str) -> Path:
    target = root.parent / "clone"
    git(root.parent, "clone", "--quiet", *options, f"file://{root}", str(target))
    return target


def says(side: Side) -> str:
    """The text of a side's subject."""
    return (side.subject / "sumnet" / "train.py").read_text().strip().strip("'")


def specs(
    base: str | None = None,
    head: str | None = None,
    *,
    torch: str | None = None,
    python: str | None = None,
    env: Sequence[str] = (),
    axes: Mapping[str, Any] | None = None,
) -> tuple[SideSpec, SideSpec]:
    """Both sides, of what their options say; `axes` are the head's."""
    head_words = [f"{name}={value}" for name, value in (axes or {}).items()]
    return (
        parse_side("base", [] if base is None else [base], torch, python, env),
        parse_side("head", head_words if head is None else [head, *head_words]),
    )


@contextlib.contextmanager
def sides(
    root: Path, on_progress: Callable[[str], None] = print, *, same: bool = False, **asked: Any
) -> Iterator[tuple[Side, Side]]:
    with make_sides(*specs(**asked), on_progress, same=same, root=root) as both:
        yield both


def looked_for(*, same: bool = False, **asked: Any) -> Path:
    """Where the subject is looked for."""
    return subject_root(*specs(**asked), same=same)


def made(root: Path, **asked: Any) -> tuple[str, str, str, str]:
    """The texts of both subjects, and what both sides are called."""
    with sides(root, **asked) as (base, head):
        return says(base), says(head), base.what, head.what


def refusal(root: Path, **asked: Any) -> str:
    """Why there are no such sides; none of their folders stays."""
    with pytest.raises(UsageError) as caught, sides(root, **asked):
        pass
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    return str(caught.value)
