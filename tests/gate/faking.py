"""Pairs that are made up instead of measured, so that a run of the gate takes no time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bench.gate import regress
from bench.gate.regress import Gate
from bench.gate.settings import Settings
from bench.matrix.comparison import Comparison
from bench.matrix.step import PHASES
from bench.protocol.messages import Block, Hello, Interpreter, series_of
from bench.records.gate_report import GateReport, Rules
from bench.runner.batches import shared_kinds
from bench.runner.pairs import BlockPair, Ended, ProcessPair
from bench.runner.process import Side
from tests.cases import sumnet
from tests.synthetic import FACTS

INTERPRETER = Interpreter("CPython 3.11.9", "/env", "2.13.0", "/env/site-packages/torch")
OTHER_TORCH = replace(INTERPRETER, torch="2.12.0", torch_folder="/other/site-packages/torch")
HASHES = ("a" * 16, "b" * 16)
COMPARISONS = [Comparison(case, case) for case in (sumnet(), sumnet(batch=64))]
FIRST, SECOND = (comparison.id for comparison in COMPARISONS)
BASE_NS = 100_000
JITTER = (3, -2, 1, -4, 0, 2, -1, 4, -3)
"""Thousandths by which the head differs, pair after pair."""

Effect = Callable[[int, str, str], float]
"""Number of the pair, comparison and series to the ratio of head to base."""


def nothing(number: int, comparison: str, series: str) -> float:
    return 1.0


def slower(share: float, *names: str) -> Effect:
    """All series, or those named, slower by so much in every pair."""
    return lambda number, comparison, series: 1 + share * (not names or series in names)


def noisy(number: int, comparison: str, series: str) -> float:
    return 1.15 if number % 2 else 1 / 1.15


@dataclass
class Script:
    """What stands in for Pairs does and has done."""

    effect: Effect = nothing
    control: Effect = nothing
    wall_s: Callable[[int], float] = lambda number: 0.0
    before: Callable[[int], None] = lambda number: None
    """Called before each pair with how many there were."""
    ends: dict[int, dict[str, Ended]] = field(default_factory=dict)
    """Number of a pair to the comparisons that end in it; -1 for the survey."""
    phases_end: dict[int, dict[str, str]] = field(default_factory=dict)
    """Number of a pair to the comparisons whose phases end in it."""
    hashes: tuple[str, str] = HASHES
    changed: dict[int, str] = field(default_factory=dict)
    """Number of a pair to the hash that its second worker says in place of its own."""
    interpreters: tuple[Interpreter, Interpreter] = (INTERPRETER, INTERPRETER)
    """What the sides' workers say they run on."""
    exchanged: dict[int, Interpreter] = field(default_factory=dict)
    """Number of a pair to what its second worker says in place of that."""
    survey_error: Exception | None = None
    taken: list[bool] = field(default_factory=list)
    """Of each pair whether it was a control."""
    made: dict[str, Any] = field(default_factory=dict)

    def pairs(self, comparisons: Sequence[Comparison], *rest: Any, **more: Any) -> "FakePairs":
        self.made = {"comparisons": comparisons, "rest": rest, **more}
        return FakePairs(self, list(comparisons))


@dataclass
class FakePairs:
    script: Script
    comparisons: list[Comparison]
    ended: dict[str, Ended] = field(default_factory=dict)
    without_phases: dict[str, str] = field(default_factory=dict)
    without_memory: dict[str, str] = field(default_factory=dict)
    impossible_blocks: int = 0

    def survey(self) -> tuple[Hello, Hello]:
        if self.script.survey_error is not None:
            raise self.script.survey_error
        self.ended |= self.script.ends.get(-1, {})
        base, head = map(said, self.script.hashes, self.script.interpreters)
        return base, head

    def measure(self, *, control: bool) -> ProcessPair | None:
        number = len(self.script.taken)
        self.script.before(number)
        self.script.taken.append(control)
        self.ended |= self.script.ends.get(number, {})
        self.without_phases |= self.script.phases_end.get(number, {})
        names = HASHES[0], self.script.changed.get(number, HASHES[0 if control else 1])
        usual = self.script.interpreters
        runs_on = usual[0], self.script.exchanged.get(number, usual[0 if control else 1])
        base, head = map(said, names, runs_on)
        pair = ProcessPair(control, time.time(), (base, head), 1.0, self.script.wall_s(number))
        effect = self.script.control if control else self.script.effect
        for comparison in self.comparisons:
            if comparison.id not in self.ended:
                pair.block_pairs[comparison.id] = {
                    kind: block_pairs(comparison.id, kind, number, effect)
                    for kind in shared_kinds(comparison)
                }
        return pair if pair.block_pairs else None


def said(digest: str, interpreter: Interpreter) -> Hello:
    return Hello(FACTS, "3.11.9", digest, 1, [0], interpreter=interpreter)


def block_pairs(comparison: str, kind: str, number: int, effect: Effect) -> list[BlockPair]:
    def block(times: dict[str, int]) -> Block:
        rows = {name: [ns - 1, ns, ns + 1, ns + 2] for name, ns in times.items()}
        return Block(comparison, kind, 8, 1000, {}, rows, times, times)

    names = series_of(kind, PHASES)
    noise = [1 + JITTER[(number + 2 * i) % len(JITTER)] / 1000 for i in range(len(names))]
    head = {
        name: round(BASE_NS * effect(number, comparison, name) * factor)
        for name, factor in zip(names, noise, strict=True)
    }
    return [BlockPair(block(dict.fromkeys(names, BASE_NS)), block(head))] * 10


def fake(monkeypatch: pytest.MonkeyPatch, **script: Any) -> Script:
    """Have the gate measure nothing and follow a script."""
    made = Script(**script)
    monkeypatch.setattr(regress, "Pairs", made.pairs)
    return made


def gate(folder: Path, budget_s: float = 280.0, **changes: Any) -> Gate:
    sides = tuple(
        Side(name, what=f"the {name}'s folder", subject_hash=digest)
        for name, digest in zip(("base", "head"), HASHES, strict=True)
    )
    options: dict[str, Any] = {"comparisons": COMPARISONS, "sides": sides, "seed": 3}
    options |= {"settings": Settings(Rules(), budget_s), "path": folder / "report.json"}
    return Gate(**(options | changes))


def count(report: GateReport, *, control: bool) -> int:
    return sum(pair.control == control for pair in report.pairs)
