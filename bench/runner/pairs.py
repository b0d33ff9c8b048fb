"""Two sides measured against each other: a pair of fresh workers, and blocks of both in turn."""

import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter

from ..machine.redact import redacted
from ..matrix.comparison import Comparison
from ..matrix.support import unsupported_reason
from ..protocol.messages import Block, Hello, MeasureMemory, MemoryMeasured, Refused, Status
from .batches import group_comparisons, shared_kinds
from .pool import Deadlines, Pool
from .process import Side
from .schedule import Item, Known, Schedule, WorkersLost, abba

SECONDS_PER_COMPARISON = 0.9
"""Of blocks, in each pair: long enough for start-up to stay below a quarter of the wall time, and
for blocks to leave less noise than processes differ by."""
MEMORY_PAIRS = 5
"""Pairs in which the peak of memory is counted, which takes time. Of a case whose counts scatter
alike on both sides, all five of the head lie above all of the base in 1 of 252 runs: there are 252
ways to choose 5 of 10."""
LEAST_SECONDS = 4.0
"""Of blocks in a pair of few comparisons: starting two workers takes about as long."""
MIN_SWEEPS = 4
"""Each yields two block pairs. A pair needs eight: see MIN_BLOCK_PAIRS."""
MAX_PADDING = 4096
"""Bytes by which the environment grows at random, and with it moves the stack: a page."""
PADDING = "SUMNET_BENCH_PADDING"


@dataclass(frozen=True)
class BlockPair:
    """A block of each side, one right after the other."""

    base: Block
    head: Block


BlockPairs = dict[str, dict[str, list[BlockPair]]]
"""Comparison to kind to its blocks."""


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
    """Wall time until its workers had sent hello."""
    wall_s: float = 0.0
    block_pairs: BlockPairs = field(default_factory=dict)
    peak_bytes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Comparison to the peaks of memory of base and head, where they were counted."""


@dataclass(frozen=True)
class Ended:
    """Why a comparison is not measured any further."""

    side: str
    status: Status
    reason: str


class Pairs:
    """Measures one pair after the other; a failure ends its comparison and no other."""

    def __init__(
        self,
        comparisons: Sequence[Comparison],
        sides: tuple[Side, Side],
        environment: dict[str, str],
        *,
        seed: int,
        seconds: float | None = None,
        deadlines: Deadlines | None = None,
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`sides`: the base and the head. `environment` is that of both; a side's own wins.

        `seconds` of blocks go to each comparison in each pair; where it is None,
        SECONDS_PER_COMPARISON, and LEAST_SECONDS to all. `on_progress` is given what ended.
        """
        self.ended: dict[str, Ended] = {}
        self.without_phases: dict[str, str] = {}
        """Comparison to the side and reason for which its phases are measured on neither."""
        self.without_memory: dict[str, str] = {}
        """Comparison to the side and reason for which its memory cannot be counted."""
        self.impossible_blocks = 0
        """Blocks that were left out because a time in them was not positive."""
        self._memory_pairs: Counter[str] = Counter()
        self._comparisons = list(comparisons)
        self._sides = sides
        self._environment = environment
        self._seconds = seconds
        self._deadlines = deadlines
        self._on_progress = on_progress
        self._draw = random.Random(seed)
        self._known = Known()
        self._batches: list[list[Comparison]] = []

    def survey(self) -> tuple[Hello, Hello]:
        """The hellos of both sides; comparisons that one of them cannot measure end here.

        The first batch's training is computed here too, by workers that time nothing. The worker
        that computes it has other things on its heap than one that is given it: in the first pair
        of a run it was slower by half a per cent.

        Raises MachineError, naming the side, where one does not start.
        """
        schedule = self._schedule(pair := ProcessPair(False, time.time()), {})
        with schedule.pool as pool:
            first = self._comparisons[0]
            pool.provide((first.base, first.head))
            base, head = pair.hellos
            for side, hello in zip(self._sides, pair.hellos, strict=True):
                for case in (case for c in self._comparisons for case in (c.base, c.head)):
                    identity = hello.facts.of(case.device).identity
                    self._known.identities[side.name, case.device] = identity
            for comparison in self._comparisons:
                cases = comparison.base, comparison.head
                reasons = {
                    side.name: redacted(reason)
                    for side, case, hello in zip(self._sides, cases, pair.hellos, strict=True)
                    if (reason := unsupported_reason(case, hello.facts)) is not None
                }
                if reasons:
                    name, reason = next(iter(reasons.items()))
                    where = name if len(reasons) == 1 else "both"
                    self._end(comparison.id, Ended(where, "unsupported", reason))
            self._batches = group_comparisons(self.open(), (base.facts, head.facts))
            for batch in self._batches[:1]:
                items = self._items(batch, control=False)
                with contextlib.suppress(WorkersLost):
                    if schedule.start(items):
                        schedule.prepare(items)
        return base, head

    def open(self) -> list[Comparison]:
        """The comparisons that have not ended."""
        return [comparison for comparison in self._comparisons if comparison.id not in self.ended]

    def measure(self, *, control: bool) -> ProcessPair | None:
        """One pair, of base and head or, as a control, of base and base; None where none is open.

        Raises MachineError where a worker does not start.
        """
        pair = ProcessPair(control, time.time())
        started = time.monotonic()
        for batch in self._batches:
            block_pairs: BlockPairs = {}
            schedule = self._schedule(pair, block_pairs)
            with schedule.pool:
                schedule.run(
                    self._items(batch, control),
                    lambda items, _: time.monotonic() + self._seconds_for(len(items)),
                )
                if not control:
                    self._count_memory(batch, schedule.pool, pair)
            pair.block_pairs |= block_pairs
        still_open = [c.id for c in self.open() if c.id in pair.block_pairs]
        pair.block_pairs = {name: pair.block_pairs[name] for name in still_open}
        pair.wall_s = time.monotonic() - started
        return pair if pair.block_pairs else None

    def _count_memory(self, batch: Sequence[Comparison], pool: Pool, pair: ProcessPair) -> None:
        """Of comparisons whose blocks are measured: after it workers may time nothing more.

        One that cannot be counted on a side is not tried again, and goes on being timed.
        """
        for comparison in batch:
            what = comparison.id
            if {what} & {*self.ended, *self.without_memory} or self._memory_pairs[
                what
            ] == MEMORY_PAIRS:
                continue
            peaks = []
            for side, case in enumerate((comparison.base, comparison.head)):
                match pool.ask(MeasureMemory(case.id), side):
                    case MemoryMeasured(peak_bytes=peak):
                        peaks.append(peak)
                    case Refused(reason=reason):
                        self.without_memory[what] = f"on {self._sides[side].name}: {reason}"
                        break
            if len(peaks) == len(self._sides):
                pair.peak_bytes[what] = peaks[0], peaks[1]
                self._memory_pairs[what] += 1
            if not pool.workers:
                return

    def _seconds_for(self, comparisons: int) -> float:
        """Of blocks of so many comparisons, in a pair."""
        if self._seconds is not None:
            return self._seconds * comparisons
        return max(SECONDS_PER_COMPARISON * comparisons, LEAST_SECONDS)

    def _items(self, comparisons: Sequence[Comparison], control: bool) -> list[Item]:
        return [
            Item(c.id, (c.base, c.base if control else c.head), shared_kinds(c))
            for c in comparisons
        ]

    def _schedule(self, pair: ProcessPair, block_pairs: BlockPairs) -> Schedule:
        """A schedule over workers of the pair, which puts their blocks into `block_pairs`."""
        base, head = self._sides
        sides = (base, base if pair.control else head)

        def on_start() -> None:
            pair.startup_s += pool.startup_s
            pair.hellos = tuple(pool.hellos)
            block_pairs.clear()  # what lost workers measured is not of one pair with what follows

        def on_blocks(item: Item, kind: str, blocks: list[tuple[int, Block]]) -> None:
            taken = block_pairs.setdefault(item.id, {}).setdefault(kind, [])
            for couple in zip(blocks[::2], blocks[1::2], strict=True):
                taken.append(BlockPair(*(block for _, block in sorted(couple, key=itemgetter(0)))))

        def on_impossible(item: Item) -> None:
            self.impossible_blocks += 1

        def on_ended(item: Item, side: int, refused: Refused) -> None:
            self._end(item.id, Ended(sides[side].name, refused.status, refused.reason))

        def on_phases_ended(item: Item, side: int, reason: str) -> None:
            self.without_phases[item.id] = reason = f"no phases on {sides[side].name}: {reason}"
            self._on_progress(f"{item.id}: {reason}")

        pool = Pool(lambda: self._alike(sides), self._deadlines, on_start=on_start, draw=self._draw)
        return Schedule(
            pool,
            [side.name for side in sides],
            self._known,
            self._draw,
            abba,
            with_readings=False,
            min_sweeps=MIN_SWEEPS,
            on_blocks=on_blocks,
            on_impossible=on_impossible,
            on_ended=on_ended,
            on_phases_ended=on_phases_ended,
        )

    def _alike(self, sides: tuple[Side, Side]) -> list[Side]:
        """The sides with one hash seed and environments of one size, both drawn."""
        seed = str(self._draw.randrange(1, 2**32))
        environments = [
            {**self._environment, "PYTHONHASHSEED": seed, **side.environment} for side in sides
        ]
        # Of all that they inherit too: what a side sets may stand in there already.
        sizes = [
            sum(len(os.fsencode(k)) + len(os.fsencode(v)) + 2 for k, v in whole.items())
            for whole in ({**os.environ, **own} for own in environments)
        ]
        size = max(sizes) + self._draw.randrange(MAX_PADDING)
        return [
            replace(side, environment={**own, PADDING: "x" * (size - own_size)})
            for side, own, own_size in zip(sides, environments, sizes, strict=True)
        ]

    def _end(self, comparison: str, ended: Ended) -> None:
        self.ended[comparison] = ended
        self._known.ended.add(comparison)
        self._on_progress(f"{ended.status} on {ended.side}: {comparison}: {ended.reason}")
