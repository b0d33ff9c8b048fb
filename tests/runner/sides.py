"""Two sides of fake workers, each with overrides of its own, and what was asked of either."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.matrix.case import Case
from bench.matrix.comparison import Comparison
from bench.protocol.messages import Request
from bench.runner.pairs import Pairs, ProcessPair
from bench.runner.process import Side

Asked = tuple[str, int, Request]
"""Side whose worker was asked, its process, and what it was asked."""

RECORDING = """
import time
from msgspec import structs
from bench.protocol.messages import Refused

good_answer, good_prepared, good_block = answer, prepared, block

def answer(request):
    with (FOLDER.parent / "asked").open("ab", buffering=0) as file:
        file.write(f"{FOLDER.name} {os.getpid()} ".encode() + msgspec.json.encode(request) + b"\\n")
    return good_answer(request)

def block(request):
    good = good_block(request)
    means = dict.fromkeys(good.quantiles_ns, 21)
    return structs.replace(good, readings_ns={}, means_ns=means, upper_tail_ns=means)

bare_block = block
"""
"""What every fake worker does here beside what it does elsewhere."""


def same(*cases: Case) -> list[Comparison]:
    return [Comparison(case, case) for case in cases]


def fake(folder: Path, name: str, body: str = "", **environment: str) -> Side:
    """A side whose workers are fake_worker.py, with what `body` defines put over its own."""
    home = folder / name
    home.mkdir()
    (home / "overrides.py").write_text(RECORDING + body)
    words = [sys.executable, "-P", Path(__file__).with_name("fake_worker.py")]
    command = shlex.join([*map(str, words), str(home / "overrides.py")])
    interpreter = home / "interpreter"
    interpreter.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    interpreter.chmod(0o755)
    return Side(name, str(interpreter), environment=environment)


@dataclass
class Match:
    """Pairs of fake workers in a folder, and what they were asked and reported."""

    folder: Path
    pairs: Pairs
    reported: list[str]

    @classmethod
    def of(
        cls,
        folder: Path,
        comparisons: Sequence[Comparison],
        *,
        base: str = "",
        head: str = "",
        base_env: dict[str, str] | None = None,
        seed: int = 0,
        survey: bool = True,
        **more: Any,
    ) -> "Match":
        """`base` and `head` are put over the workers of that side."""
        reported: list[str] = []
        sides = fake(folder, "base", base, **(base_env or {})), fake(folder, "head", head)
        options = {"seconds": 0.0, "seed": seed, "on_progress": reported.append} | more
        match = cls(folder, Pairs(comparisons, sides, {}, **options), reported)
        if survey:
            match.pairs.survey()
        return match

    def measure(self, *, control: bool = False) -> ProcessPair:
        pair = self.pairs.measure(control=control)
        assert pair is not None
        return pair

    def asked(self) -> list[Asked]:
        """What both sides' workers were asked, in the order in which it was."""
        lines = (self.folder / "asked").read_bytes().splitlines()
        words = [line.split(b" ", 2) for line in lines]
        decode = msgspec.json.Decoder(Request).decode
        return [(name.decode(), int(pid), decode(text)) for name, pid, text in words]

    def workers(self, name: str) -> list[int]:
        """The processes that were started for a side, the survey's first."""
        log = self.folder / name / "log"
        return [int(line.split()[0]) for line in log.read_text().splitlines()]
