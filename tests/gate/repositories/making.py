"""Repositories with steps of their own, and the sides that are made of them."""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.gate.sides import OwnSteps, make_sides
from bench.runner.process import Side
from tests.gate.sides.making import git, specs

LIBRARY = """\
import torch


class Net(torch.nn.Linear):
    pass
"""
STEPS = """\
import torch
from mylib.net import Net
from sumnet import Step, training_step


@training_step(batch=[4])
def tiny(device, batch):
    model = Net(8, 8).to(device)
    x = torch.randn(batch, 8, device=device)
    return Step(model, loss=lambda: (model(x) - 1).square().mean(), samples=batch)
"""


def write(top: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def commit(top: Path, files: Mapping[str, str | bytes] = {}) -> str:
    """A commit with these files written."""
    write(top, files)
    git(top, "add", ".")
    git(top, "commit", "--quiet", "--allow-empty", "-m", "next")
    return git(top, "rev-parse", "HEAD")


@contextlib.contextmanager
def sides(
    top: Path,
    *,
    steps: str = "benchmarks/steps.py",
    build: str | None = None,
    steps_from: str = "head",
    same: bool = False,
    say: Callable[[str], None] = print,
    **asked: Any,
) -> Iterator[tuple[Side, Side]]:
    own = OwnSteps(top / steps, build, steps_from)
    with make_sides(*specs(**asked), say, same=same, own=own) as both:
        yield both


def refusal(top: Path, **asked: Any) -> str:
    """Why there are no such sides; none of their folders stays."""
    with pytest.raises(UsageError) as caught, sides(top, **asked):
        pass
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    return str(caught.value)


def files(folder: Path) -> dict[str, str]:
    """The files of a tree and what they hold; of links, where they lead."""
    return {
        path.relative_to(folder).as_posix(): (
            f"-> {path.readlink()}" if path.is_symlink() else path.read_text(errors="replace")
        )
        for path in folder.rglob("*")
        if (path.is_symlink() or path.is_file()) and ".git" not in path.parts
    }


def untouched(top: Path) -> dict[str, tuple[bytes, int]]:
    """All that is in a checkout, git's own files too, with the times of their last changes."""
    return {
        path.relative_to(top).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in top.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def runs(side: Side, code: str) -> str:
    """What a Python program prints that the side's interpreter runs in its tree."""
    command = [side.python, "-c", code]
    done = subprocess.run(command, cwd=side.subject, capture_output=True, text=True, check=True)
    return done.stdout.strip()
