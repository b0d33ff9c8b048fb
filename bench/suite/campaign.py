"""One run, from its plan to its run file, as the suite drives it."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from bench.analysis.frame import heard_floors
from bench.errors import UsageError
from bench.measure.coordinator import Coordinator
from bench.measure.events import Event, HealthSampled, Plan, WorkerStarted
from bench.measure.health import HealthMonitor
from bench.records.machine import fingerprint
from bench.records.schema import Header, RunRecord, assemble
from bench.records.store import (
    Journal,
    floors_path,
    read_floors,
    read_journal,
    remember_floors,
    settled_by,
    write_run,
)
from bench.report.progress import ProgressDisplay

RESUMABLE = (
    "name",
    "available_cores",
    "memory_bytes",
    "gpus",
    "torch",
    "python",
    "environment",
    "code_hash",
)
"""What must not have changed between two sittings of one run."""


class Campaign:
    """Measures a plan once, on first use, and keeps what it saw.

    A journal that is left when the run has ended holds what the command did not finish.
    """

    def __init__(
        self, plan: Plan, results: Path, *, resume: Path | None = None, brief: bool = False
    ) -> None:
        """`brief` measures as little as can be and writes nothing."""
        self.plan = plan
        self.results = results
        self.journal: Journal | None = None
        self.run: RunRecord | None = None
        self.run_path: Path | None = None
        self.resuming = resume is not None
        self._resume = resume
        self._brief = brief
        self._events: list[Event] = []

    def measured(self, console: Console) -> RunRecord:
        """The run; it is measured when this is first asked for."""
        if self.run is None:
            self.run = self._measure(console)
        return self.run

    def write(self, document: dict[str, Any]) -> None:
        """Write the run file from pytest-benchmark's document, and let go of the journal."""
        if self.journal is None or self.run is None:
            return
        self.run.floors_ns = remember_floors(self.results, self.run, heard_floors(self.run))
        document["sumnet"] = msgspec.to_builtins(self.run)
        write_run(self.journal.run_path(), document)
        self.run_path = self.journal.run_path()
        self.journal.discard()
        self.journal = None

    def _measure(self, console: Console) -> RunRecord:
        header = Header(self.plan, fingerprint())
        earlier: list[Event] = []
        spent_s = 0.0
        if self._resume is not None:
            header, earlier = resumable(self._resume)
            sittings = assemble(header, earlier).sittings
            spent_s = sum(sitting.ended_at - sitting.started_at for sitting in sittings)
            self.journal = Journal.reopen(self._resume, header)
        elif not self._brief:
            with contextlib.suppress(OSError):  # damaged, the file would only end the run
                read_floors(floors_path(self.results, header.machine))
            self.journal = Journal.create(self.results, header)
        self._events += earlier
        display = ProgressDisplay(self.plan, console, spent_s)

        def keep(event: Event) -> None:
            self._events.append(event)
            if self.journal is not None:
                self.journal.tell(event)

        watch = _HealthWatch(keep)

        def tell(event: Event) -> None:
            keep(event)
            display.tell(event)
            watch.tell(event)

        coordinator = Coordinator(self.plan, tell, settled=settled_by(earlier, spent_s))
        try:
            with display:
                coordinator.measure()
        except UsageError:
            if self.journal is not None and self._resume is None:
                self.journal.discard()
                self.journal = None
            raise
        finally:
            if self.journal is not None:
                self.journal.close()
        return assemble(header, self._events)


class _HealthWatch:
    """Samples the machine's health when it is told of something, which no block is measured in."""

    def __init__(self, keep: Callable[[Event], None]) -> None:
        self._keep = keep
        self._monitor = HealthMonitor()
        self._worker: WorkerStarted | None = None

    def tell(self, event: Event) -> None:
        if isinstance(event, WorkerStarted):
            self._worker = event
        if self._worker is not None and self._monitor.due():
            worker = self._worker
            health = self._monitor.sample(worker.pid, worker.hello.bus_id)
            self._keep(HealthSampled(time.time(), health))


def resumable(journal: Path) -> tuple[Header, list[Event]]:
    """A journal's header and events. Raises UsageError where this machine cannot go on with it."""
    header, events = read_journal(journal)
    now = fingerprint()
    for name in RESUMABLE:
        then_value, now_value = getattr(header.machine, name), getattr(now, name)
        if then_value != now_value:
            raise UsageError(
                f"cannot resume {journal}: it was measured with {name} {then_value}, and this is "
                f"{now_value}; start a new run"
            )
    return header, events
