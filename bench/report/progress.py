"""Live progress: the case being measured and the time left; plain lines without a terminal."""

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ..matrix.plan import Plan
from ..runner.events import (
    BlockMeasured,
    CaseEnded,
    CasePrepared,
    CompileMeasured,
    Event,
    PhasesEnded,
    WorkerReplaced,
    WorkerStarted,
)

PLAIN_EVERY_S = 10.0
REFRESH_S = 0.25
COMPILE_S = 25
"""About what a cold and a warm compilation take together on a small machine."""
CEILING_S = 0.6
"""About what a ceiling takes there, in all its replicates."""


class ProgressDisplay:
    """Shows a run's events. A context manager, so that the terminal is always restored."""

    def __init__(self, plan: Plan, console: Console, spent_s: float = 0.0) -> None:
        self._plan = plan
        self._console = console
        self._started = time.monotonic() - spent_s
        self._shown = 0.0
        self._blocks = 0
        self._worker = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting a worker", total=plan.budget_s, left="")

    def __enter__(self) -> Self:
        self._bar.start()
        plan, terminal = self._plan, self._console.is_terminal
        cases, above, compiled = len(plan.cases), len(plan.ceilings), len(plan.compile_timed)
        announced = (
            (cases, f"measuring {cases} cases, {plan.replicates} replicates", plan.budget_s),
            (above, f"{'then ' if cases else ''}{above} ceilings", above * CEILING_S),
            (compiled, f"then {compiled} compilations, cold and warm", compiled * COMPILE_S),
        )
        for count, what, seconds in announced[1:] if terminal else announced:  # the bar has cases
            if count:
                self._console.out(f"{what}, about {seconds:.0f} s")
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def on_event(self, event: Event) -> None:
        """Show an event, if it is time to show one."""
        match event:
            case WorkerStarted(worker):
                self._worker = worker + 1
            case WorkerReplaced(reason):
                self._console.out(f"{reason}; it is replaced")
            case CasePrepared(prepared=prepared):
                self._show(f"prepared {prepared.case}")
            case BlockMeasured(block=block):
                self._blocks += 1
                self._show(f"measuring {block.case}")
            case CompileMeasured(case):
                self._console.out(f"timed the compilation of {case}")
            case CaseEnded(case, status, reason):
                self._console.out(f"{status}: {case}: {reason}")
            case PhasesEnded(case, reason):
                self._console.out(f"no phases: {case}: {reason}")

    def _show(self, what: str) -> None:
        now = time.monotonic()
        every = REFRESH_S if self._console.is_terminal else PLAIN_EVERY_S
        if now - self._shown < every:
            return
        self._shown = now
        spent = now - self._started
        left = f"{max(self._plan.budget_s - spent, 0):.0f} s left"
        text = f"worker {self._worker}: {what}"
        if self._console.is_terminal:
            self._bar.update(self._task, description=text, completed=spent, left=left)
        else:
            self._console.out(f"{text}; {self._blocks} blocks, {left}")
