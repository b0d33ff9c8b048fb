"""Workers that measure nothing and answer at once, so that tests need not wait for torch."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bench.protocol.messages import Request
from bench.runner.process import Side

MakeSide = Callable[..., Side]


@pytest.fixture
def script_side(tmp_path: Path) -> MakeSide:
    """A side whose interpreter is the given shell script; it ignores its arguments."""

    def make(script: str) -> Side:
        interpreter = tmp_path / "interpreter"
        interpreter.write_text(f"#!/bin/sh\n{script}\n")
        interpreter.chmod(0o755)
        return Side(python=str(interpreter))

    return make


@pytest.fixture
def fake_side(tmp_path: Path, script_side: MakeSide) -> MakeSide:
    """A side whose workers are fake_worker.py, with what `body` defines put over its own."""

    def make(body: str = "") -> Side:
        overrides = tmp_path / "overrides.py"
        overrides.write_text(body)
        fake = Path(__file__).with_name("fake_worker.py")
        words = [sys.executable, "-P", str(fake), str(overrides)]
        return script_side(f'exec {shlex.join(words)} "$@"')

    return make


@pytest.fixture
def pids(tmp_path: Path) -> Callable[[], list[int]]:
    """The process of each fake worker that was started."""
    return lambda: [int(line.split()[0]) for line in (tmp_path / "log").read_text().splitlines()]


@pytest.fixture
def settings(tmp_path: Path) -> Callable[[], list[str]]:
    """Device and threads of each fake worker that was started."""
    return lambda: [line.split(" ", 1)[1] for line in (tmp_path / "log").read_text().splitlines()]


@pytest.fixture
def asked(tmp_path: Path, pids: Callable[[], list[int]]) -> Callable[[], list[list[Request]]]:
    """What each fake worker was asked, in order."""
    decode = msgspec.json.Decoder(Request).decode_lines
    return lambda: [decode((tmp_path / f"asked-{pid}").read_bytes()) for pid in pids()]
