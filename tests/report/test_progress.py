"""Progress: a live line on a terminal, a plain one now and then elsewhere."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from bench.matrix.case import WHOLE
from bench.matrix.ceiling import ceilings
from bench.matrix.plan import Plan
from bench.protocol.messages import CEILING
from bench.report import progress
from bench.report.progress import ProgressDisplay
from bench.runner.events import CaseEnded, PhasesEnded, SessionEnded, SessionStarted
from tests.cases import sumnet
from tests.synthetic import (
    EPOCH,
    block_measured,
    case_prepared,
    compile_measured,
    worker_started,
)

SGD = sumnet()
ADAM = sumnet(optimizer="adam", batch=1024)
PLAN = Plan([SGD, ADAM], replicates=3, budget_s=60.0)


class Clock(SimpleNamespace):
    """A clock that stands until it is moved."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(progress, "time", stopped)
    return stopped


def console(terminal: bool) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=160, highlight=False, _environ={}
    )


def written(shown_on: Console) -> str:
    assert isinstance(shown_on.file, io.StringIO)
    return shown_on.file.getvalue()


def test_without_a_terminal_there_are_plain_lines(clock: Clock) -> None:
    out = console(terminal=False)
    with ProgressDisplay(PLAN, out) as display:
        display.on_event(SessionStarted(EPOCH))
        display.on_event(worker_started(0, EPOCH))
        clock.now += 12
        display.on_event(case_prepared(0, SGD))
        clock.now += 12
        display.on_event(block_measured(0, EPOCH, ADAM, WHOLE, 1e5))
        display.on_event(CaseEnded(SGD.id, "failed", "it [bold]broke[/bold] " + "so " * 60))
        display.on_event(PhasesEnded(ADAM.id, "unclear"))
        display.on_event(SessionEnded(EPOCH))
    assert written(out).splitlines() == [
        "measuring 2 cases, 3 replicates, about 60 s",
        f"worker 1: prepared {SGD.id}; 0 blocks, 48 s left",
        f"worker 1: measuring {ADAM.id}; 1 blocks, 36 s left",
        f"failed: {SGD.id}: it [bold]broke[/bold] " + "so " * 60,
        f"no phases: {ADAM.id}: unclear",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_compilations_are_announced_and_each_is_reported(clock: Clock, terminal: bool) -> None:
    compiled = [sumnet(compile="on"), sumnet(compile="step")]
    plan = Plan(compiled, 3, 60.0, compile_timed=[case.id for case in compiled])
    out = console(terminal)
    with ProgressDisplay(plan, out) as display:
        display.on_event(compile_measured(compiled[1], 20.0, 2.0))
    text = written(out)
    assert "then 2 compilations, cold and warm, about 50 s" in text
    assert f"timed the compilation of {compiled[1].id}" in text
    assert compiled[0].id not in text


@pytest.mark.parametrize("terminal", [False, True])
def test_ceilings_are_announced_after_the_cases_and_before_the_compilations(
    clock: Clock, terminal: bool
) -> None:
    above = ceilings("cpu", 1, ["float32"])[:20]
    compiled = sumnet(compile="on")
    plan = Plan([compiled], 3, 60.0, compile_timed=[compiled.id], ceilings=above)
    out = console(terminal)
    with ProgressDisplay(plan, out):
        pass
    assert re.findall(r"then [\w, ]+", written(out)) == [
        "then 20 ceilings, about 12 s",
        "then 1 compilations, cold and warm, about 25 s",
    ]


def test_ceilings_alone_are_all_that_is_announced(clock: Clock) -> None:
    above = ceilings("cpu", 1, ["float32"])[:10]
    out = console(terminal=False)
    with ProgressDisplay(Plan([], 3, 60.0, ceilings=above), out) as display:
        display.on_event(worker_started(0, EPOCH))
        clock.now += 12
        display.on_event(block_measured(0, EPOCH, above[0], CEILING, 1e6))
        display.on_event(CaseEnded(above[1].id, "invalid", "too fast"))
    first, block, end = written(out).splitlines()
    assert first == "10 ceilings, about 6 s"
    assert block.startswith(f"worker 1: measuring {above[0].id}; 1 blocks")
    assert end == f"invalid: {above[1].id}: too fast"


def test_plain_lines_come_now_and_then_and_count_every_block(clock: Clock) -> None:
    out = console(terminal=False)
    with ProgressDisplay(PLAN, out) as display:
        for _ in range(300):
            clock.now += 0.1
            display.on_event(block_measured(0, EPOCH, SGD, WHOLE, 1e5))
    lines = written(out).splitlines()[1:]
    assert len(lines) == 3
    counts = [int(line.split("; ")[1].split()[0]) for line in lines]
    assert counts[0] == 1 and counts[1:] == pytest.approx([101, 201], abs=2)


def test_time_left_counts_earlier_sessions_and_does_not_go_below_none(clock: Clock) -> None:
    out = console(terminal=False)
    with ProgressDisplay(PLAN, out, spent_s=45) as display:
        clock.now += 5
        display.on_event(block_measured(0, EPOCH, SGD, WHOLE, 1e5))
        clock.now += 500
        display.on_event(block_measured(0, EPOCH, SGD, WHOLE, 1e5))
    lines = written(out).splitlines()
    assert [line.split(", ")[-1] for line in lines[1:]] == ["10 s left", "0 s left"]


def test_terminal_shows_the_case_the_worker_and_the_time_left(clock: Clock) -> None:
    out = console(terminal=True)
    with ProgressDisplay(PLAN, out) as display:
        display.on_event(worker_started(4, EPOCH))
        clock.now += 20
        display.on_event(block_measured(4, EPOCH, ADAM, WHOLE, 1e5))
        display.on_event(CaseEnded(SGD.id, "timeout", "no answer within 60 s"))
    text = written(out)
    assert f"worker 5: measuring {ADAM.id}" in text
    assert "40 s left" in text
    assert f"timeout: {SGD.id}: no answer within 60 s" in text
    assert "measuring 2 cases" not in text


def test_terminal_is_restored_when_measuring_breaks_off(clock: Clock) -> None:
    out = console(terminal=True)
    with pytest.raises(KeyboardInterrupt), ProgressDisplay(PLAN, out) as display:
        clock.now += 1
        display.on_event(block_measured(0, EPOCH, SGD, WHOLE, 1e5))
        raise KeyboardInterrupt
    hide, show = "\x1b[?25l", "\x1b[?25h"
    text = written(out)
    assert hide in text
    assert text.rfind(show) > text.rfind(hide)
