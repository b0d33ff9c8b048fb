"""The workers of a run, one at a time, numbered and announced."""

import time
from collections.abc import Callable

import msgspec

from bench.machine.redact import redacted
from bench.matrix.case import Case
from bench.matrix.ceiling import Ceiling
from bench.protocol.messages import Hello, Reply, Request
from bench.runner.events import Event, WorkerStarted
from bench.runner.process import Side, WorkerProcess
from bench.runner.replies import ask

Measurable = Case | Ceiling
"""What a worker measures: each has an id, a device and a number of threads."""


class Workers:
    """Starts a worker where one is wanted, and ends it."""

    def __init__(
        self, side: Side, emit: Callable[[Event], None], hello_s: float, started: int
    ) -> None:
        """`started` is how many the run has had before."""
        self._side = side
        self._emit = emit
        self._hello_s = hello_s
        self._present: WorkerProcess | None = None
        self.started = started

    @property
    def number(self) -> int:
        """The present worker's, among all of the run."""
        return self.started - 1

    def unused(self, what: Measurable) -> WorkerProcess:
        """The present worker, which was asked nothing, where it suits; else a new one.

        Raises MachineError where it does not start.
        """
        setting = what.device, what.threads
        if self._present is not None and self._present.setting == setting:
            return self._present
        self.end()
        worker = WorkerProcess(self._side, *setting, self._hello_s)
        self._present = worker
        self.started += 1
        self._emit(
            WorkerStarted(
                self.number,
                self._side.name,
                time.time(),
                worker.startup_s,
                shareable(worker.hello),
                what.device,
                worker.pid,
            )
        )
        return worker

    def ask(self, about: str, request: Request, seconds: float) -> Reply:
        """What the present worker answers. Raises WorkerLost."""
        assert self._present is not None
        return ask(self._present, about, request, seconds)

    def end(self) -> None:
        """End the present worker, if there is one."""
        if self._present is not None:
            self._present.close()
            self._present = None


def shareable(hello: Hello) -> Hello:
    """The hello without its user's name in paths, as journals and reports keep it."""
    if (found := hello.interpreter) is None:
        return hello
    kept = {name: redacted(text) for name, text in msgspec.structs.asdict(found).items()}
    return msgspec.structs.replace(hello, interpreter=msgspec.structs.replace(found, **kept))
