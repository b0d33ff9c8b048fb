"""One run, from its plan to its run file."""

import contextlib
import functools
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from ..errors import UsageError
from ..machine.circumstances import (
    PLACE,
    VARIABLES,
    MeasuredDevice,
    differences,
    measured_devices,
)
from ..machine.fingerprint import Machine, commit_unknown, fingerprint
from ..machine.sampling import HealthMonitor
from ..matrix.default_step import Catalogue
from ..matrix.plan import ENVIRONMENTS, Plan
from ..options import OPTIONS, WAIT
from ..records.assembly import assemble, block_medians
from ..records.exclusive import exclusive
from ..records.run_file import Header, RunRecord
from ..records.state import remember_floors
from ..records.store import (
    Journal,
    how_to_finish,
    read_journal,
    resume_state,
    run_so_far,
    stored_runs,
    unfinished_runs,
    write_run,
)
from ..report.progress import ProgressDisplay
from ..runner.coordinator import Coordinator
from ..runner.discovery import catalogue_of, side_of
from ..runner.events import Event, HealthSampled, WorkerStarted
from ..stats.floors import floor_among, own_floors
from ..stats.frame import drift_of

RESUMABLE = (*PLACE, *VARIABLES, "code")
"""Circumstances that must not have changed between two sessions of one run."""
MOST_OTHERS = 20
"""Earlier runs of a machine that are read, the newest, to see how runs of one plan differ."""


class Measurement:
    """Measures a plan once, on first use, and keeps what it saw.

    A journal that is left when the run has ended holds what the command did not finish.
    """

    def __init__(
        self,
        plan: Plan,
        results: Path,
        catalogue: Catalogue | None = None,
        *,
        resume: Path | None = None,
        if_busy: str = WAIT,
    ) -> None:
        """`catalogue` is where the plan's steps are declared, where that is not the default step;
        `resume` is the journal of an interrupted run of this plan; `if_busy` is as in
        `exclusive`."""
        self.plan = plan
        self._catalogue = catalogue or Catalogue()
        self.resume = resume
        self.brief = False
        """Whether to measure as little as can be and to write nothing."""
        self.journal: Journal | None = None
        self.run: RunRecord | None = None
        self.run_path: Path | None = None
        self.medians_ns: dict[tuple[str, str], list[int]] = {}
        """Of the run's blocks: see `block_medians`."""
        self.warning: str | None = None
        """Why nothing is known of earlier runs, where that is not because there were none."""
        self._results = results
        self._if_busy = if_busy
        self._events: list[Event] = []

    @functools.cached_property
    def machine(self) -> Machine:
        """This machine, and the code that is measured."""
        return fingerprint(self._catalogue.root)

    def shorten(self) -> None:
        """Make it brief."""
        self.brief = True
        least = {"replicates": 1, "budget_s": 0, "profiled": False, "energy": False}
        self.plan = msgspec.structs.replace(self.plan, compile_timed=[], ceilings=[], **least)

    def measured(self, console: Console) -> RunRecord:
        """The run; it is measured when this is first asked for.

        Raises UsageError where it cannot be measured here and MachineError where it cannot go on.
        """
        if self.run is not None:
            return self.run
        # Before it waits for another measurement, which may be of the same journal.
        opened = None if self.resume is None else self._reopened(self.resume)
        try:
            with contextlib.ExitStack() as while_measuring:
                beside_another = False
                if not self.brief:
                    turn = exclusive(self.machine, self._if_busy, console.out)
                    beside_another = while_measuring.enter_context(turn)
                header, earlier = opened or (self._created(console), None)
                self._measure(header, earlier, console, beside_another)
        except UsageError:
            self._close(refused=True)
            raise
        except BaseException:
            self._close()
            raise
        self.medians_ns = block_medians(self._events)
        self.run = assemble(header, self._events)
        return self.run

    def _reopened(self, journal: Path) -> tuple[Header, RunRecord]:
        """The header of the journal, which is opened, and what was measured."""
        self.journal, header, self._events = Journal.reopen(journal)
        try:
            check_resumable(journal, header)
            return header, run_so_far(journal, header, self._events)
        except UsageError:
            self._close()
            raise

    def _created(self, console: Console) -> Header:
        """The header of a new journal, unless the run is brief."""
        header = Header(self.plan, self.machine)
        if not self.brief:
            for journal in unfinished_runs(self._results):
                console.out(f"an unfinished run is kept in {how_to_finish(journal)}")
            self.journal = Journal.create(self._results, header)
            if (why := commit_unknown(self._catalogue.root)) is not None:
                console.out(f"the run file names no commit: {why}")
        return header

    def _close(self, *, refused: bool = False) -> None:
        """Let go of the journal. It stays, unless it is that of a new run, which was refused."""
        if self.journal is None:
            return
        if refused and self.resume is None:
            self.journal.discard()
            self.journal = None
        else:
            self.journal.close()

    def _measure(
        self, header: Header, earlier: RunRecord | None, console: Console, beside_another: bool
    ) -> None:
        devices: dict[str, MeasuredDevice] = {} if earlier is None else earlier.devices
        settled = resume_state(self._events)
        display = ProgressDisplay(self.plan, console, settled.spent_s)
        monitor = HealthMonitor()
        worker: WorkerStarted | None = None

        def keep(event: Event) -> None:
            self._events.append(event)
            if self.journal is not None:
                self.journal.append(event)

        def on_event(event: Event) -> None:
            nonlocal worker
            if isinstance(event, WorkerStarted):
                if worker is None:  # a device that is lost later ends its own cases alone
                    _check_devices(devices, event)
                worker = event
                _check_torch(header, worker)
            keep(event)
            display.on_event(event)
            if worker is not None and monitor.due():  # no block is measured meanwhile
                on_gpu = bool(measured_devices(worker.hello.facts, [worker.device]))
                health = monitor.sample(worker.pid, worker.hello.bus_id, on_gpu=on_gpu)
                keep(HealthSampled(time.time(), health))

        with display:
            Coordinator(
                self.plan,
                on_event,
                side=side_of(self._catalogue, ENVIRONMENTS[self.plan.environment]),
                settled=settled,
                beside_another=beside_another,
            ).measure()

    def write(self, summaries: Mapping[str, Any]) -> None:
        """Write the run file with pytest-benchmark's summaries, and let go of the journal."""
        if self.journal is None or self.run is None:
            return
        try:
            self._place_among_earlier_runs(self.run, self.journal.path.parent)
        except Exception as error:  # in reading other runs: this one has to be written
            self.warning = f"earlier runs were left out of account: {error!r}"
        write_run(self.journal.run_path(), self.run, summaries)
        self.run_path = self.journal.run_path()
        self.journal.discard()
        self.journal = None

    def _place_among_earlier_runs(self, run: RunRecord, folder: Path) -> None:
        """Note which floors serve the run, and how runs of its plan differ, as is known now."""
        own = own_floors(run)
        earlier, self.warning = remember_floors(run, own)
        for name, floor_ns in own.items():
            floor = floor_among(floor_ns, earlier.get(name, ()))
            run.floors_ns[name], run.lowest_floors_ns[name] = floor.serving_ns, floor.lowest_ns
        others, _ = stored_runs(folder, newest=MOST_OTHERS)
        run.drift = drift_of(run, others)


def measurement_of(asked: Namespace, plan: Callable[[Namespace], Plan]) -> Measurement:
    """The measurement of the plan that is asked for, or of the one whose journal is to be resumed.

    Raises UsageError for options that a resumed run could only ignore.
    """
    if asked.resume is None:
        return Measurement(plan(asked), asked.results, asked.catalogue, if_busy=asked.if_busy)
    planned = {option.flag for option in OPTIONS if option.planned}
    refuse_plan([flag for flag in asked.given if flag in planned])
    header, _ = read_journal(asked.resume, bounded=False)
    check_resumable(asked.resume, header)
    catalogue = catalogue_of(header.plan.steps)
    return Measurement(
        header.plan,
        asked.resume.parent.parent,
        catalogue,
        resume=asked.resume,
        if_busy=asked.if_busy,
    )


def refuse_plan(flags: Sequence[str]) -> None:
    """Raise UsageError for options, given beside --resume, that it could only ignore."""
    if flags:
        raise UsageError(f"--resume finishes a run as it was planned: drop {', '.join(flags)}")


def check_resumable(journal: Path, header: Header) -> None:
    """Raise UsageError where this machine cannot go on with a journal of this header."""
    now = Header(header.plan, fingerprint(catalogue_of(header.plan.steps).root))
    for name, (then_value, now_value) in differences((header, now), RESUMABLE).items():
        raise UsageError(
            f"cannot resume {journal}: it was measured with {name} {then_value}, and this is "
            f"{now_value}; start a new run"
        )


def _check_torch(header: Header, started: WorkerStarted) -> None:
    """Raise UsageError where a worker loads another torch than the one the run is filed under.

    What follows a plus names a build, which an installer's records may lack.
    """
    loaded, installed = started.hello.facts.torch, header.machine.torch
    if loaded.partition("+")[0] != installed.partition("+")[0]:
        raise UsageError(
            f"workers load torch {loaded}, and torch {installed} is what is installed here: "
            "is there another on PYTHONPATH?"
        )


def _check_devices(earlier: Mapping[str, MeasuredDevice], started: WorkerStarted) -> None:
    """Raise UsageError where a session's first worker lacks what earlier ones were measured on.

    A worker knows of all devices, also of those that its own cases do not run on.
    """
    facts = started.hello.facts
    found = measured_devices(facts, earlier)
    for name, device in earlier.items():
        if found.get(name) != device:
            here = found.get(name) or f"none: {facts.of(name).unavailable}"
            raise UsageError(
                f"cannot resume: on {name} it was measured with {device}, and here that is {here}; "
                "resume it where that device is, or start a new run"
            )
