"""The workers of a run: one for each side, started together, and replaced where one is lost."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import msgspec

from ..errors import MachineError
from ..machine.redact import redacted
from ..matrix.case import Case
from ..matrix.ceiling import Ceiling
from ..protocol import messages
from .process import Side, WorkerLost, WorkerProcess


class NotStarted(MachineError):
    """A worker did not start; `side` is the number of its side, `reason` why, without its name, and
    `killed` whether a signal ended it."""

    def __init__(self, side: int, name: str, reason: str, *, killed: bool) -> None:
        super().__init__(f"{name}: {reason}" if name else reason)
        self.side = side
        self.reason = reason
        self.killed = killed


Measurable = Case | Ceiling
"""What a worker measures: each has an id, a device and a number of threads."""
LEAST_HELLO_S = 60.0
"""Whatever the budget: importing torch from a cold network disk may take that long."""
STARTS = 3
"""How often a worker is started that is killed from outside before it has said hello."""


@dataclass(frozen=True)
class Deadlines:
    """Seconds a worker may take before it counts as hung."""

    hello_s: float = 120
    prepare_s: float = 120
    prepare_compiled_s: float = 600
    measure_s: float = 60

    @classmethod
    def within(cls, budget_s: float | None) -> Self:
        """Those of a command with a budget, in which a worker that hangs while it starts does not
        take much longer than that. None stands for no budget."""
        if budget_s is None:
            return cls()
        return cls(hello_s=min(cls.hello_s, max(budget_s, LEAST_HELLO_S)))

    def of(self, request: messages.Request) -> float:
        """For the reply to this request."""
        match request:
            case messages.Measure(kind=messages.PHASES_KIND):
                return 2 * self.measure_s  # a worker may time it twice
            case (
                messages.Measure()
                | messages.MeasureEnergy()
                | messages.MeasureMemory()
                | messages.Profile()
            ):
                return self.measure_s
            case messages.PrepareCeiling() | messages.Describe():
                return self.prepare_s
            case _ if request.case.compilation.compiles:
                return self.prepare_compiled_s
            case _:
                return self.prepare_s


class Pool:
    """One worker for each side. As a context, it ends them."""

    def __init__(
        self,
        sides: Callable[[], Sequence[Side]],
        deadlines: Deadlines | None = None,
        *,
        on_start: Callable[[], None] = lambda: None,
        on_lost: Callable[[str], None] = lambda reason: None,
        draw: random.Random | None = None,
        started: int = 0,
    ) -> None:
        """`sides` is called before each start, and `on_start` after it; `on_lost` is given why a
        worker that is started once more was lost while it started.

        `draw` decides which side starts first. `started` counts the run's workers before these.
        """
        self.started = started
        self.startup_s = 0.0
        """From the last start until all its workers had sent their hello."""
        self._sides = sides
        self._deadlines = deadlines or Deadlines()
        self._on_start = on_start
        self._on_lost = on_lost
        self._draw = draw or random.Random()
        self._workers: dict[int, WorkerProcess] = {}
        self._unused = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    @property
    def workers(self) -> list[WorkerProcess]:
        """The present ones, by side; none before a start and after a loss."""
        return [self._workers[side] for side in sorted(self._workers)]

    @property
    def hellos(self) -> list[messages.Hello]:
        return [worker.hello for worker in self.workers]

    @property
    def number(self) -> int:
        """The last worker's, among all of the run."""
        return self.started - 1

    def provide(self, what: Sequence[Measurable], *, unused: bool = True) -> None:
        """Have workers on the devices and threads of `what`, an item a side: these, or new ones.

        `unused` ones were asked nothing. Raises NotStarted, whose text names the side where there
        are two, where one does not start.
        """
        settings = [(item.device, item.threads) for item in what]
        if [worker.setting for worker in self.workers] == settings and (self._unused or not unused):
            return
        for start in range(1, STARTS + 1):
            try:
                self._start(settings)
                break
            except NotStarted as error:
                if not error.killed or start == STARTS:
                    raise
                # What killed it, such as too little memory, may be over.
                self._on_lost(redacted(str(error)))
        self._on_start()

    def _start(self, settings: Sequence[tuple[str, int]]) -> None:
        self.end()
        began = time.monotonic()
        sides = self._sides()
        order = self._draw.sample(range(len(sides)), len(sides))
        side = order[0]
        try:
            for side in order:
                self._workers[side] = WorkerProcess(sides[side], *settings[side])
            for side in order:
                self._workers[side].greet(self._deadlines.hello_s)
        except (MachineError, WorkerLost) as error:
            self.end()
            killed = isinstance(error, WorkerLost) and error.status == "killed"
            reason = "a worker did not start: " * isinstance(error, WorkerLost) + str(error)
            name = sides[side].name * (len(sides) > 1)
            raise NotStarted(side, name, reason, killed=killed) from None
        self.startup_s = time.monotonic() - began
        self.started += len(sides)
        self._unused = True

    def ask(self, request: messages.Request, side: int = 0) -> messages.Reply:
        """The reply of a side's worker, its reason redacted where it is a refusal.

        Where the worker is lost, all workers are ended, and what became of the case is refused with
        that status and reason.
        """
        self._unused = False
        try:
            reply = self._workers[side].ask(request, self._deadlines.of(request))
        except WorkerLost as lost:
            self.end()
            reply = messages.Refused(messages.id_of(request), lost.status, lost.reason)
        if isinstance(reply, messages.Refused):
            return msgspec.structs.replace(reply, reason=redacted(reply.reason))
        return reply

    def end(self) -> None:
        """End the workers that there are."""
        while self._workers:
            side = next(reversed(self._workers))
            self._workers[side].close()  # and known until then, should an interruption come
            del self._workers[side]


def shareable(hello: messages.Hello) -> messages.Hello:
    """The hello without its user's name in paths, as journals and reports keep it."""
    if (found := hello.interpreter) is None:
        return hello
    kept = {name: redacted(text) for name, text in msgspec.structs.asdict(found).items()}
    return msgspec.structs.replace(hello, interpreter=msgspec.structs.replace(found, **kept))
