"""Two sides measured against each other: a pair of fresh workers, and blocks of both in turn."""

import contextlib
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from bench.errors import MachineError
from bench.machine.redact import redacted
from bench.matrix.case import Case
from bench.matrix.comparison import Comparison
from bench.matrix.support import unsupported_reason
from bench.protocol.messages import (
    Block,
    Expected,
    Hello,
    Measure,
    Prepare,
    Prepared,
    Refused,
    Reply,
    Status,
)
from bench.runner.batches import group_comparisons, shared_kinds
from bench.runner.coordinator import Deadlines, samples_for
from bench.runner.process import Side, WorkerLost, WorkerProcess
from bench.runner.replies import ask

SECONDS_PER_COMPARISON = 0.9
"""Of blocks, in each pair: long enough for start-up to stay below a quarter of the wall time, and
for blocks to leave less noise than processes differ by."""
MIN_SWEEPS = 5
"""Every comparison is swept so often in every pair, however slow it is."""
MAX_PADDING = 4096
"""Bytes by which the environment grows at random, and with it moves the stack: a page."""
PADDING = "SUMNET_BENCH_PADDING"


@dataclass(frozen=True)
class BlockPair:
    """A block of each side, one right after the other."""

    base: Block
    head: Block


@dataclass
class ProcessPair:
    """What one pair of processes showed."""

    control: bool
    """Whether both sides were the base."""
    at: float
    """When it began, seconds since the epoch."""
    hellos: tuple[Hello, ...] = ()
    """Of the last workers it needed, the base's first."""
    startup_s: float = 0.0
    """Wall time until its workers had said hello."""
    wall_s: float = 0.0
    block_pairs: dict[str, dict[str, list[BlockPair]]] = field(default_factory=dict)
    """Comparison to kind to its turns."""


@dataclass(frozen=True)
class Ended:
    """Why a comparison is not measured any further."""

    side: str
    status: Status
    reason: str


class Pairs:
    """Measures one pair after the other; what goes wrong with a comparison ends it and no other."""

    def __init__(
        self,
        comparisons: Sequence[Comparison],
        sides: tuple[Side, Side],
        environment: dict[str, str],
        *,
        seed: int,
        seconds: float = SECONDS_PER_COMPARISON,
        deadlines: Deadlines | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`sides`: the base and the head. `environment` is that of both; a side's own wins.

        `seconds` of blocks go to each comparison in each pair. `tell` hears what ended.
        """
        self.ended: dict[str, Ended] = {}
        self._comparisons = list(comparisons)
        self._sides = sides
        self._environment = environment
        self._seconds = seconds
        self._deadlines = deadlines or Deadlines()
        self._tell = tell
        self._draw = random.Random(seed)
        self._expected: dict[Case, Expected] = {}
        self._samples: dict[str, int] = {}
        self._groups: list[list[Comparison]] = []

    def survey(self) -> tuple[Hello, Hello]:
        """What both sides are; comparisons that one of them cannot measure end here.

        Raises MachineError, naming the side, where one does not start.
        """
        workers = self._start(self._sides, self._comparisons[0])
        try:
            base, head = (worker.hello for worker in workers)
            self._refuse_unsupported(base, head)
            self._groups = group_comparisons(self.open(), (base.facts, head.facts))
            with contextlib.suppress(_Ended):
                self._learn(workers)
        finally:
            for worker in workers:
                worker.close()
        return base, head

    def _refuse_unsupported(self, base: Hello, head: Hello) -> None:
        for comparison in self._comparisons:
            reasons = [
                unsupported_reason(comparison.base, base.facts),
                unsupported_reason(comparison.head, head.facts),
            ]
            for side, reason in zip(self._sides, reasons, strict=True):
                if reason is not None and comparison.id not in self.ended:
                    name = "both" if all(reasons) else side.name
                    self._end(comparison, Ended(name, "unsupported", reason))

    def _learn(self, workers: tuple[WorkerProcess, WorkerProcess]) -> None:
        """Have the first group's training computed by workers that time nothing.

        The worker that computes has other things on its heap than one that is told: in the first
        pair of a run it was slower by half a per cent.
        """
        for comparison in self._groups[0] if self._groups else []:
            self._prepare(workers, comparison, control=False)

    def open(self) -> list[Comparison]:
        """The comparisons that have not ended."""
        return [comparison for comparison in self._comparisons if comparison.id not in self.ended]

    def measure(self, *, control: bool) -> ProcessPair | None:
        """One pair, of base and head or, as a control, of base and base; None where none is open.

        Raises MachineError where a worker does not start.
        """
        base, _ = self._sides
        sides = (base, base) if control else self._sides
        pair = ProcessPair(control, time.time())
        started = time.monotonic()
        for group in self._groups:
            while comparisons := [c for c in group if c.id not in self.ended]:
                with contextlib.suppress(_Ended):
                    self._measure_group(pair, sides, comparisons)
                    break
        pair.block_pairs = {
            c.id: pair.block_pairs[c.id] for c in self.open() if c.id in pair.block_pairs
        }
        pair.wall_s = time.monotonic() - started
        return pair if pair.block_pairs else None

    def _measure_group(
        self, pair: ProcessPair, sides: tuple[Side, Side], comparisons: list[Comparison]
    ) -> None:
        began = time.monotonic()
        workers = self._start(sides, comparisons[0], control=pair.control)
        try:
            pair.startup_s += time.monotonic() - began
            pair.hellos = (workers[0].hello, workers[1].hello)
            # In fresh order: which case lies where in the heap is drawn anew, for both sides alike.
            for comparison in self._draw.sample(comparisons, len(comparisons)):
                self._prepare(workers, comparison, pair.control)
            block_pairs = self._sweeps(workers, comparisons, pair.control)
        finally:
            for worker in workers:
                worker.close()
        pair.block_pairs |= block_pairs

    def _start(
        self, sides: tuple[Side, Side], comparison: Comparison, *, control: bool = False
    ) -> tuple[WorkerProcess, WorkerProcess]:
        """A worker for each side, started together, in random order."""
        seed = str(self._draw.randrange(1, 2**32))
        environments = [
            {**self._environment, "PYTHONHASHSEED": seed, **side.environment} for side in sides
        ]
        # Of all that they inherit too: what a side sets may stand in there already.
        sizes = [
            sum(len(os.fsencode(k)) + len(os.fsencode(v)) + 2 for k, v in whole.items())
            for whole in ({**os.environ, **env} for env in environments)
        ]
        size = max(sizes) + self._draw.randrange(MAX_PADDING)
        order = self._draw.sample((0, 1), 2)
        cases = (comparison.base, comparison.base if control else comparison.head)

        workers: dict[int, WorkerProcess] = {}
        name = ""
        try:
            for place in order:
                name, case = sides[place].name, cases[place]
                padded = {**environments[place], PADDING: "x" * (size - sizes[place])}
                side = replace(sides[place], environment=padded)
                workers[place] = WorkerProcess(side, case.device, case.threads, None)
            for place in order:
                name = sides[place].name
                workers[place].greet(self._deadlines.hello_s)
        except BaseException as error:
            for worker in workers.values():
                worker.close()
            if isinstance(error, MachineError):
                raise MachineError(f"{name}: {error}") from None
            raise
        return workers[0], workers[1]

    def _prepare(
        self, workers: tuple[WorkerProcess, WorkerProcess], comparison: Comparison, control: bool
    ) -> None:
        steps = []
        # The base computes what a case should do: where the two train differently it is the head
        # that is told to.
        known = comparison.base in self._expected
        for place in self._draw.sample((0, 1), 2) if known else (0, 1):
            case = comparison.base if control or place == 0 else comparison.head
            request = Prepare(case, None, self._expected.get(case))
            seconds = self._deadlines.build_s(case)
            reply = self._ask(workers[place], place, comparison, request, seconds, control)
            if not isinstance(reply, Prepared):
                return
            assert reply.verified is not None  # which was checked
            self._expected[case] = reply.verified.expected
            steps.append(reply.step_ns)
        self._samples.setdefault(comparison.id, samples_for(max(steps)))

    def _sweeps(
        self,
        workers: tuple[WorkerProcess, WorkerProcess],
        comparisons: list[Comparison],
        control: bool,
    ) -> dict[str, dict[str, list[BlockPair]]]:
        """Turns of all in fresh random order, again and again."""
        block_pairs: dict[str, dict[str, list[BlockPair]]] = {}
        deadline = time.monotonic() + self._seconds * len(comparisons)
        sweeps = 0
        while sweeps < MIN_SWEEPS or time.monotonic() < deadline:
            order = [
                (c, kind) for c in comparisons if c.id not in self.ended for kind in shared_kinds(c)
            ]
            if not order:
                break
            for comparison, kind in self._draw.sample(order, len(order)):
                if sweeps >= MIN_SWEEPS and time.monotonic() >= deadline:
                    break
                if comparison.id not in self.ended:
                    taken = self._turns(workers, comparison, kind, control)
                    block_pairs.setdefault(comparison.id, {}).setdefault(kind, []).extend(taken)
            sweeps += 1
        return block_pairs

    def _turns(
        self,
        workers: tuple[WorkerProcess, WorkerProcess],
        comparison: Comparison,
        kind: str,
        control: bool,
    ) -> list[BlockPair]:
        """A B B A, or B A A B: a drift through the four of them cancels."""
        first = self._draw.randrange(2)
        blocks: list[Block] = []
        for place in (first, 1 - first, 1 - first, first):
            case = comparison.base if control or place == 0 else comparison.head
            request = Measure(case.id, kind, self._samples[comparison.id], with_readings=False)
            reply = self._ask(
                workers[place], place, comparison, request, self._deadlines.measure_s, control
            )
            if not isinstance(reply, Block):
                return []
            blocks.append(reply)
        couples = ((blocks[0], blocks[1]), (blocks[3], blocks[2]))
        return [
            BlockPair(*couple) if first == 0 else BlockPair(*reversed(couple)) for couple in couples
        ]

    def _ask(
        self,
        worker: WorkerProcess,
        place: int,
        comparison: Comparison,
        request: Prepare | Measure,
        seconds: float,
        control: bool,
    ) -> Reply:
        """The worker's reply. A refusal ends the comparison; losing the worker, the pair too."""
        name = self._sides[0 if control else place].name
        case = request.case.id if isinstance(request, Prepare) else request.case
        try:
            reply = ask(worker, case, request, seconds)
        except WorkerLost as lost:
            self._end(comparison, Ended(name, lost.status, lost.reason))
            raise _Ended from None
        if isinstance(reply, Refused):
            self._end(comparison, Ended(name, reply.status, reply.reason))
        return reply

    def _end(self, comparison: Comparison, ended: Ended) -> None:
        self.ended[comparison.id] = replace(ended, reason=redacted(ended.reason))
        self._tell(f"{ended.status} on {ended.side}: {comparison.id}: {ended.reason}")


class _Ended(Exception):
    """A comparison ended and took its workers along; the others go on in new ones."""
