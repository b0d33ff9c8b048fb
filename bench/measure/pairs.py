"""Two sides measured against each other: a pair of fresh workers, and blocks of both in turn."""

import contextlib
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from bench.errors import MachineError
from bench.matrix.case import Case
from bench.matrix.support import unsupported_reason
from bench.measure.anonymous import anonymous
from bench.measure.contests import Contest, group_contests
from bench.measure.coordinator import Deadlines, samples_for
from bench.measure.protocol import (
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
from bench.measure.replies import ask
from bench.measure.worker_process import Side, WorkerLost, WorkerProcess

SECONDS_A_CONTEST = 0.9
"""Of blocks, in each pair: long enough for start-up to stay below a quarter of the wall time, and
for blocks to leave less noise than processes differ by."""
MIN_SWEEPS = 5
"""Every contest is swept so often in every pair, however slow it is."""
MAX_PADDING = 4096
"""Bytes by which the environment grows at random, and with it moves the stack: a page."""
PADDING = "SUMNET_BENCH_PADDING"


@dataclass(frozen=True)
class Turn:
    """A block of each side, one right after the other."""

    base: Block
    head: Block


@dataclass
class Pair:
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
    turns: dict[str, dict[str, list[Turn]]] = field(default_factory=dict)
    """Contest to kind to its turns."""


@dataclass(frozen=True)
class Ended:
    """Why a contest is not measured any further."""

    side: str
    status: Status
    reason: str


class Pairs:
    """Measures one pair after the other; what goes wrong with a contest ends it and no other."""

    def __init__(
        self,
        contests: Sequence[Contest],
        sides: tuple[Side, Side],
        environment: dict[str, str],
        *,
        seed: int,
        seconds: float = SECONDS_A_CONTEST,
        deadlines: Deadlines | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`sides`: the base and the head. `environment` is that of both; a side's own wins.

        `seconds` of blocks go to each contest in each pair. `tell` hears what ended.
        """
        self.ended: dict[str, Ended] = {}
        self._contests = list(contests)
        self._sides = sides
        self._environment = environment
        self._seconds = seconds
        self._deadlines = deadlines or Deadlines()
        self._tell = tell
        self._draw = random.Random(seed)
        self._expected: dict[Case, Expected] = {}
        self._samples: dict[str, int] = {}
        self._groups: list[list[Contest]] = []

    def survey(self) -> tuple[Hello, Hello]:
        """What both sides are; contests that one of them cannot measure end here.

        Raises MachineError, naming the side, where one does not start.
        """
        workers = self._start(self._sides, self._contests[0])
        try:
            base, head = (worker.hello for worker in workers)
            self._refuse_unsupported(base, head)
            self._groups = group_contests(self.open(), (base.facts, head.facts))
            with contextlib.suppress(_Ended):
                self._learn(workers)
        finally:
            for worker in workers:
                worker.close()
        return base, head

    def _refuse_unsupported(self, base: Hello, head: Hello) -> None:
        for contest in self._contests:
            reasons = [
                unsupported_reason(contest.base, base.facts),
                unsupported_reason(contest.head, head.facts),
            ]
            for side, reason in zip(self._sides, reasons, strict=True):
                if reason is not None and contest.id not in self.ended:
                    name = "both" if all(reasons) else side.name
                    self._end(contest, Ended(name, "unsupported", reason))

    def _learn(self, workers: tuple[WorkerProcess, WorkerProcess]) -> None:
        """Have the first group's training reckoned by workers that time nothing.

        The worker that reckons has other things on its heap than one that is told: in the first
        pair of a run it was slower by half a per cent.
        """
        for contest in self._groups[0] if self._groups else []:
            self._prepare(workers, contest, control=False)

    def open(self) -> list[Contest]:
        """The contests that have not ended."""
        return [contest for contest in self._contests if contest.id not in self.ended]

    def measure(self, *, control: bool) -> Pair | None:
        """One pair, of base and head or, as a control, of base and base; None where none is open.

        Raises MachineError where a worker does not start.
        """
        base, _ = self._sides
        sides = (base, base) if control else self._sides
        pair = Pair(control, time.time())
        started = time.monotonic()
        for group in self._groups:
            while contests := [c for c in group if c.id not in self.ended]:
                with contextlib.suppress(_Ended):
                    self._measure_group(pair, sides, contests)
                    break
        pair.turns = {c.id: pair.turns[c.id] for c in self.open() if c.id in pair.turns}
        pair.wall_s = time.monotonic() - started
        return pair if pair.turns else None

    def _measure_group(self, pair: Pair, sides: tuple[Side, Side], contests: list[Contest]) -> None:
        began = time.monotonic()
        workers = self._start(sides, contests[0], control=pair.control)
        try:
            pair.startup_s += time.monotonic() - began
            pair.hellos = (workers[0].hello, workers[1].hello)
            # In fresh order: which case lies where in the heap is drawn anew, for both sides alike.
            for contest in self._draw.sample(contests, len(contests)):
                self._prepare(workers, contest, pair.control)
            turns = self._sweeps(workers, contests, pair.control)
        finally:
            for worker in workers:
                worker.close()
        pair.turns |= turns

    def _start(
        self, sides: tuple[Side, Side], contest: Contest, *, control: bool = False
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
        cases = (contest.base, contest.base if control else contest.head)

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
        self, workers: tuple[WorkerProcess, WorkerProcess], contest: Contest, control: bool
    ) -> None:
        steps = []
        # The base reckons what a case should do: where the two train differently it is the head
        # that is told to.
        known = contest.base in self._expected
        for place in self._draw.sample((0, 1), 2) if known else (0, 1):
            case = contest.base if control or place == 0 else contest.head
            request = Prepare(case, None, self._expected.get(case))
            seconds = self._deadlines.build_s(case)
            reply = self._ask(workers[place], place, contest, request, seconds, control)
            if not isinstance(reply, Prepared):
                return
            assert reply.verified is not None  # which was checked
            self._expected[case] = reply.verified.expected
            steps.append(reply.step_ns)
        self._samples.setdefault(contest.id, samples_for(max(steps)))

    def _sweeps(
        self,
        workers: tuple[WorkerProcess, WorkerProcess],
        contests: list[Contest],
        control: bool,
    ) -> dict[str, dict[str, list[Turn]]]:
        """Turns of all in fresh random order, again and again."""
        turns: dict[str, dict[str, list[Turn]]] = {}
        deadline = time.monotonic() + self._seconds * len(contests)
        sweeps = 0
        while sweeps < MIN_SWEEPS or time.monotonic() < deadline:
            order = [(c, kind) for c in contests if c.id not in self.ended for kind in c.kinds]
            if not order:
                break
            for contest, kind in self._draw.sample(order, len(order)):
                if sweeps >= MIN_SWEEPS and time.monotonic() >= deadline:
                    break
                if contest.id not in self.ended:
                    taken = self._turns(workers, contest, kind, control)
                    turns.setdefault(contest.id, {}).setdefault(kind, []).extend(taken)
            sweeps += 1
        return turns

    def _turns(
        self,
        workers: tuple[WorkerProcess, WorkerProcess],
        contest: Contest,
        kind: str,
        control: bool,
    ) -> list[Turn]:
        """A B B A, or B A A B: a drift through the four of them cancels."""
        first = self._draw.randrange(2)
        blocks: list[Block] = []
        for place in (first, 1 - first, 1 - first, first):
            case = contest.base if control or place == 0 else contest.head
            request = Measure(case.id, kind, self._samples[contest.id], heard=False)
            reply = self._ask(
                workers[place], place, contest, request, self._deadlines.measure_s, control
            )
            if not isinstance(reply, Block):
                return []
            blocks.append(reply)
        couples = ((blocks[0], blocks[1]), (blocks[3], blocks[2]))
        return [Turn(*couple) if first == 0 else Turn(*reversed(couple)) for couple in couples]

    def _ask(
        self,
        worker: WorkerProcess,
        place: int,
        contest: Contest,
        request: Prepare | Measure,
        seconds: float,
        control: bool,
    ) -> Reply:
        """What the worker answers. A refusal ends the contest; losing the worker, the pair too."""
        name = self._sides[0 if control else place].name
        case = request.case.id if isinstance(request, Prepare) else request.case
        try:
            reply = ask(worker, case, request, seconds)
        except WorkerLost as lost:
            self._end(contest, Ended(name, lost.status, lost.reason))
            raise _Ended from None
        if isinstance(reply, Refused):
            self._end(contest, Ended(name, reply.status, reply.reason))
        return reply

    def _end(self, contest: Contest, ended: Ended) -> None:
        self.ended[contest.id] = replace(ended, reason=anonymous(ended.reason))
        self._tell(f"{ended.status} on {ended.side}: {contest.id}: {ended.reason}")


class _Ended(Exception):
    """A contest ended and took its workers along; the others go on in new ones."""
