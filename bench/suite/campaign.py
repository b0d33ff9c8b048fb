"""One run, from its plan to its run file, as the suite drives it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from bench.errors import UsageError
from bench.machine.circumstances import (
    HARDWARE,
    MACHINE,
    SHARE,
    SOFTWARE,
    VARIABLES,
    differences,
)
from bench.machine.fingerprint import commit_unknown, fingerprint
from bench.machine.sampling import HealthMonitor
from bench.matrix.plan import Plan
from bench.records.run_file import Header, RunRecord, assemble
from bench.records.state import remember_floors
from bench.records.store import Journal, read_journal, resume_state, stored_runs, write_run
from bench.report.progress import ProgressDisplay, say
from bench.runner.coordinator import Coordinator
from bench.runner.events import Event, HealthSampled, WorkerStarted
from bench.stats.floors import floor_among, own_floors
from bench.stats.frame import drift_of

RESUMABLE = (*MACHINE, *HARDWARE, *SHARE, *SOFTWARE, *VARIABLES, "code")
"""Circumstances that must not have changed between two sessions of one run."""
MOST_OTHERS = 20
"""Earlier runs of a machine that are read, the newest, to see how runs of one plan differ."""


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
        self.trouble: str | None = None
        """Why nothing is known of earlier runs, where that is not because there were none."""
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
        try:
            self._place_among_earlier_runs(self.run, self.journal.path.parent)
        except Exception as error:  # in reading other runs: this one has to be written
            self.trouble = f"earlier runs were left out of account: {error!r}"
        document["sumnet"] = msgspec.to_builtins(self.run)
        write_run(self.journal.run_path(), document)
        self.run_path = self.journal.run_path()
        self.journal.discard()
        self.journal = None

    def _place_among_earlier_runs(self, run: RunRecord, folder: Path) -> None:
        """Note which floors serve the run, and how runs of its plan differ, as is known now."""
        own = own_floors(run)
        earlier, self.trouble = remember_floors(run, own)
        for name, floor_ns in own.items():
            floor = floor_among(floor_ns, earlier.get(name, ()))
            run.floors_ns[name], run.lowest_floors_ns[name] = floor.serving_ns, floor.lowest_ns
        others, _ = stored_runs(folder, newest=MOST_OTHERS)
        run.drift = drift_of(run, others)

    def _measure(self, console: Console) -> RunRecord:
        header = Header(self.plan, fingerprint())
        earlier: list[Event] = []
        spent_s = 0.0
        if self._resume is not None:
            header, earlier = resumable(self._resume)
            sessions = assemble(header, earlier).sessions
            spent_s = sum(session.ended_at - session.started_at for session in sessions)
            self.journal = Journal.reopen(self._resume, header)
        elif not self._brief:
            self.journal = Journal.create(self.results, header)
            if (why := commit_unknown()) is not None:
                say(console, f"the run file names no commit: {why}")
        self._events += earlier
        display = ProgressDisplay(self.plan, console, spent_s)

        def keep(event: Event) -> None:
            _check_torch(header, event)
            self._events.append(event)
            if self.journal is not None:
                self.journal.tell(event)

        watch = _HealthWatch(keep)

        def tell(event: Event) -> None:
            keep(event)
            display.tell(event)
            watch.tell(event)

        coordinator = Coordinator(self.plan, tell, settled=resume_state(earlier, spent_s))
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


def _check_torch(header: Header, event: Event) -> None:
    """Raise UsageError where a worker loads another torch than the one the run is filed under.

    What follows a plus names a build, which an installer's records may lack.
    """
    if isinstance(event, WorkerStarted):
        loaded, installed = event.hello.facts.torch, header.machine.torch
        if loaded.partition("+")[0] != installed.partition("+")[0]:
            raise UsageError(
                f"workers load torch {loaded}, and torch {installed} is what is installed here: "
                "is there another on PYTHONPATH?"
            )


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
    now = Header(header.plan, fingerprint())
    for name, (then_value, now_value) in differences(header, now, RESUMABLE).items():
        raise UsageError(
            f"cannot resume {journal}: it was measured with {name} {then_value}, and this is "
            f"{now_value}; start a new run"
        )
    return header, events
