"""Live progress: the case being measured and the time left, or plain lines without a terminal."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bench.matrix.plan import Plan
from bench.runner.events import (
    BlockMeasured,
    CaseEnded,
    CasePrepared,
    CompileMeasured,
    Event,
    WorkerStarted,
)

PLAIN_EVERY_S = 10.0
REFRESH_S = 0.25
COMPILE_S = 25
"""What a cold and a warm compilation take together on a small machine, more or less."""
CEILING_S = 0.6
"""The same of a ceiling, in all its replicates."""


def say(console: Console, text: str) -> None:
    """Print a plain line."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


class ProgressDisplay:
    """Listens to a run's events. A context manager, so that the terminal is always given back."""

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
        if self._plan.cases and not self._console.is_terminal:
            say(
                self._console,
                f"measuring {len(self._plan.cases)} cases, {self._plan.replicates} replicates, "
                f"about {self._plan.budget_s:.0f} s",
            )
        if self._plan.ceilings:
            say(
                self._console,
                f"{'then ' if self._plan.cases else ''}{len(self._plan.ceilings)} ceilings, "
                f"about {len(self._plan.ceilings) * CEILING_S:.0f} s",
            )
        if self._plan.compile_timed:
            say(
                self._console,
                f"then {len(self._plan.compile_timed)} compilations, cold and warm, "
                f"about {len(self._plan.compile_timed) * COMPILE_S} s",
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def tell(self, event: Event) -> None:
        """Show an event, if it is time to show one."""
        match event:
            case WorkerStarted(worker):
                self._worker = worker + 1
            case CasePrepared(prepared=prepared):
                self._show(f"prepared {prepared.case}")
            case BlockMeasured(block=block):
                self._blocks += 1
                self._show(f"measuring {block.case}")
            case CompileMeasured(case):
                say(self._console, f"timed the compilation of {case}")
            case CaseEnded(case, status, reason):
                say(self._console, f"{status}: {case}: {reason}")

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
            say(self._console, f"{text}; {self._blocks} blocks, {left}")
