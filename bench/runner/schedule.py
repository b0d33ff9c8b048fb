"""The measuring loop, for one side or two: prepare what is measured together, then sweep over it.

A sweep measures each item in each of its kinds of block once, in fresh random order.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..devices import kind_of
from ..machine.redact import redacted
from ..matrix import default_step
from ..matrix.case import Case
from ..matrix.ceiling import Ceiling
from ..protocol import messages
from ..protocol.validation import is_possible
from ..protocol.verified import Expected
from .pool import Measurable, NotStarted, Pool

BLOCK_NS = 3_000_000
MIN_SAMPLES, MAX_SAMPLES = 8, 40
MIN_CEILING_SAMPLES = MIN_SLOW_SAMPLES = 4
"""A product in a dtype without units for it, or a large step, may take a tenth of a second."""
SLOW_NS = 20_000_000
"""What takes longer is slow: more samples a block would leave too few blocks."""
RENUMBERED = (
    "{} is another device than the one that was measured: one of several was lost and the others "
    "were numbered anew, so see what the driver's tools show, and start a new run"
)
MOST_IMPOSSIBLE = 5
"""Impossible blocks of an item in a run, with which it ends: one in a while is left out."""
MIN_SWEEPS = 5
"""Every item is swept so often by a replicate's workers, whatever the deadline."""


def samples_for(sample_ns: int, least: int = MIN_SAMPLES) -> int:
    """Samples of a block: as many as fill BLOCK_NS, from `least` to MAX_SAMPLES."""
    return min(max(round(BLOCK_NS / sample_ns), least), MAX_SAMPLES)


@dataclass(frozen=True)
class Item:
    """What is measured under one id: a case or ceiling on each side, in some kinds of block."""

    id: str
    sides: tuple[Measurable, ...]
    kinds: tuple[str, ...]


@dataclass
class Known:
    """What earlier workers settled, perhaps those of earlier sessions."""

    ended: set[str] = field(default_factory=set)
    """Ids of items that are not measured any further."""
    without_phases: set[str] = field(default_factory=set)
    """Ids of items whose phases are not."""
    identities: dict[tuple[str, str], str] = field(default_factory=dict)
    """Side's name and device to the identity that its first worker found."""
    unusable: dict[tuple[str, str], str] = field(default_factory=dict)
    """Side's name and device to why a worker could not use it: no other one tries."""
    impossible: Counter[str] = field(default_factory=Counter)
    """Id of an item to how many of its blocks were."""
    samples: dict[str, int] = field(default_factory=dict)
    """Id of an item to the samples its blocks hold, all through the run."""
    calls: dict[str, int] = field(default_factory=dict)
    """Id of a ceiling to the calls that make a sample."""
    expected: dict[str, Expected | None] = field(default_factory=dict)
    """Case id to what its training should do, None where that is not to be had; where sides may
    train differently, after the side's name."""


def one_side(draw: random.Random) -> tuple[int, ...]:
    """One block of the only side."""
    return (0,)


def abba(draw: random.Random) -> tuple[int, ...]:
    """A B B A, or B A A B: a drift through the four blocks cancels."""
    first = draw.randrange(2)
    return (first, 1 - first, 1 - first, first)


class WorkersLost(Exception):
    """The workers are gone and the item they were asked about has ended."""


@dataclass
class Schedule:
    """The loop over one pool of workers."""

    pool: Pool
    names: Sequence[str]
    """Of the sides."""
    known: Known
    draw: random.Random
    block_order: Callable[[random.Random], Sequence[int]]
    """The sides to take a block of, in their order, each time an item is measured."""
    with_readings: bool
    """Whether reference loops are read before each block."""
    on_blocks: Callable[[Item, str, list[tuple[int, messages.Block]]], None]
    """Given the item, the kind and each block with its side."""
    on_ended: Callable[[Item, int, messages.Refused], None]
    """Given the item, the side and why it is not measured any further."""
    on_prepared: Callable[[messages.Prepared | messages.CeilingPrepared, int], None] = (
        lambda reply, samples: None
    )
    """Given a side's reply and the samples that the item's blocks hold."""
    on_phases_ended: Callable[[Item, int, str], None] = lambda item, side, reason: None
    """Given the item, the side and why its phases are not measured any further."""
    on_impossible: Callable[[Item], None] = lambda item: None
    """Given the item of a block that is left out: see `is_possible`."""
    lr: float | None = None
    named: bool = False
    """Whether the items were asked for by name."""
    min_sweeps: int = MIN_SWEEPS
    """Sweeps that workers take, whatever the deadline."""

    def pending(self, items: Sequence[Item]) -> list[Item]:
        """Those that have not ended."""
        return [item for item in items if item.id not in self.known.ended]

    def run(self, items: Sequence[Item], until: Callable[[Sequence[Item], float], float]) -> None:
        """Measure the items in unused workers, and in others again where one is lost.

        Once items are prepared, `until` gives the time at which their sweeps end (monotonic), of
        the items and the seconds that preparing them took. The workers stay. Raises MachineError
        where workers do not start.
        """
        self._end_unusable(items)
        while pending := self.pending(items):
            try:
                if not self.start(pending):
                    continue
                started = time.monotonic()
                self.prepare(pending)
                self._sweep(pending, until(pending, time.monotonic() - started))
                return
            except WorkersLost:
                continue

    def start(self, items: Sequence[Item]) -> bool:
        """Have unused workers for items of one setting; whether they can use its devices.

        Where they cannot, the items end. Raises NotStarted for a worker on the CPU.
        """
        self._provide(items[0])
        return not self._end_unusable(items)

    def _provide(self, item: Item) -> None:
        """Have unused workers, or know why a device other than the CPU cannot be used."""
        try:
            self.pool.provide(item.sides)
        except NotStarted as error:
            device = item.sides[error.side].device
            if not kind_of(device).asynchronous:
                raise
            self.known.unusable[self.names[error.side], device] = redacted(error.reason)
            return
        for name, worker in zip(self.names, self.pool.workers, strict=True):
            device, _ = worker.setting
            facts = worker.hello.facts.of(device)
            reason = facts.unavailable
            seen = self.known.identities.setdefault((name, device), facts.identity)
            if reason is None and facts.identity != seen:
                reason = RENUMBERED.format(device)
            if reason is not None:
                self.known.unusable[name, device] = redacted(reason)

    def _end_unusable(self, items: Sequence[Item]) -> bool:
        """End those whose device cannot be used; whether there are any.

        Of an item that was measured before, or asked for by its name, it is a failure of this run.
        """
        ended = False
        for item in items:
            for side, (name, what) in enumerate(zip(self.names, item.sides, strict=True)):
                reason = self.known.unusable.get((name, what.device))
                if reason is not None and item.id not in self.known.ended:
                    failed = self.named or item.id in self.known.samples
                    status: messages.Status = "failed" if failed else "unsupported"
                    self._end(item, side, messages.Refused(what.id, status, reason))
                    ended = True
        return ended

    def prepare(self, items: Sequence[Item]) -> None:
        """Have the present workers prepare the items. Raises WorkersLost.

        In fresh order: which case lies where in the heap is drawn anew, for all sides alike.
        """
        for item in self.draw.sample(items, len(items)):
            self._prepare(item)

    def _prepare(self, item: Item) -> None:
        # The base computes what a case should do: where the two train differently it is the head
        # that is held to it.
        order: Sequence[int] = range(len(item.sides))
        if all(self._training(w, s) in self.known.expected for s, w in enumerate(item.sides)):
            order = self.draw.sample(order, len(order))
        replies: list[messages.Prepared | messages.CeilingPrepared] = []
        sample_ns = []
        for side in order:
            match reply := self._ask(item, side, self._preparation(item.sides[side], side)):
                case messages.Prepared(step_ns=step_ns, verified=verified):
                    assert verified is not None  # which was checked
                    key = self._training(item.sides[side], side)
                    self.known.expected[key] = verified.expected
                    sample_ns.append(step_ns)
                case messages.CeilingPrepared(ceiling=ceiling, calls=calls):
                    self.known.calls[ceiling] = calls
                    sample_ns.append(reply.sample_ns)
                case _:
                    return
            replies.append(reply)
        least = MIN_SLOW_SAMPLES if max(sample_ns) > SLOW_NS else MIN_SAMPLES
        if isinstance(item.sides[0], Ceiling):
            least = MIN_CEILING_SAMPLES
        samples = samples_for(max(sample_ns), least)
        samples = self.known.samples.setdefault(item.id, samples)
        for reply in replies:
            self.on_prepared(reply, samples)

    def _preparation(self, what: Measurable, side: int) -> messages.Request:
        if isinstance(what, Ceiling):
            return messages.PrepareCeiling(what, self.known.calls.get(what.id))
        key = self._training(what, side)
        expected = self.known.expected.get(key)
        return messages.Prepare(what, self.lr, expected, key in self.known.expected)

    def _training(self, what: Measurable, side: int) -> str:
        """The key of what the training of a side's case should do.

        The default step's is known from outside, and holds for every side. Of any other step a side
        is held to what its own code does in float64: a change of the model is no fault.
        """
        is_anyones = isinstance(what, Ceiling) or default_step.is_known(what)
        return what.id if is_anyones or len(self.names) == 1 else f"{self.names[side]} {what.id}"

    def _sweep(self, items: Sequence[Item], deadline: float) -> None:
        sweeps = 0
        while sweeps < self.min_sweeps or time.monotonic() < deadline:
            order = [(item, kind) for item in self.pending(items) for kind in self._kinds(item)]
            if not order:
                return
            for item, kind in self.draw.sample(order, len(order)):
                if sweeps >= self.min_sweeps and time.monotonic() >= deadline:
                    return
                if item.id not in self.known.ended:
                    self._measure(item, kind)
            sweeps += 1

    def _kinds(self, item: Item) -> list[str]:
        left = messages.PHASES_KIND if item.id in self.known.without_phases else None
        return [kind for kind in item.kinds if kind != left]

    def _measure(self, item: Item, kind: str) -> None:
        blocks = []
        samples = self.known.samples[item.id]
        for side in self.block_order(self.draw):
            what = item.sides[side]
            series = messages.series_of(kind, what.phases if isinstance(what, Case) else ())
            request = messages.Measure(what.id, kind, samples, series, self.with_readings)
            reply = self._ask(item, side, request)
            if isinstance(reply, messages.PhasesRefused):
                self.known.without_phases.add(item.id)
                self.on_phases_ended(item, side, reply.reason)
            if not isinstance(reply, messages.Block):
                return
            if not is_possible(reply):
                self._leave_out(item, side)
                return
            blocks.append((side, reply))
        self.on_blocks(item, kind, blocks)

    def _leave_out(self, item: Item, side: int) -> None:
        """Count an impossible block; the item ends where there were too many."""
        self.on_impossible(item)
        self.known.impossible[item.id] += 1
        if self.known.impossible[item.id] >= MOST_IMPOSSIBLE:
            why = f"{MOST_IMPOSSIBLE} blocks held a time that is not positive: check its clock"
            self._end(item, side, messages.Refused(item.sides[side].id, "invalid", why))

    def _ask(self, item: Item, side: int, request: messages.Request) -> messages.Reply:
        """The reply. A refusal ends the item; losing the worker raises WorkersLost too."""
        reply = self.pool.ask(request, side)
        if isinstance(reply, messages.Refused):
            self._end(item, side, reply)
            if not self.pool.workers:
                raise WorkersLost
        return reply

    def _end(self, item: Item, side: int, refused: messages.Refused) -> None:
        self.known.ended.add(item.id)
        self.on_ended(item, side, refused)
