"""The gate as a command: two sides are made, measured and judged, and the verdicts told."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from bench.errors import UsageError
from bench.gate.github import tell_github
from bench.gate.regress import Gate
from bench.gate.settings import Settings, unmatched
from bench.gate.side_spec import axes_differ, comparisons, wanted
from bench.gate.sides import Asked, make_sides, subject_root
from bench.gate.views import exit_status, headline, verdict_lines, verdict_table
from bench.machine.fingerprint import commit_unknown, fingerprint
from bench.matrix.case import Case
from bench.matrix.comparison import Comparison
from bench.matrix.presets import PRESETS, select
from bench.records.gate_report import GateReport
from bench.report.progress import say
from bench.report.tables import prose
from bench.runner.interruption import end_as_if_interrupted


@dataclass(frozen=True)
class Request:
    """What the options of `regress` say, beside the settings."""

    cases: Sequence[Case]
    base: Sequence[str]
    head: Sequence[str]
    sides: Asked
    """What of the sides is not in `base` and `head`."""
    named: bool
    """Whether the cases were asked for by name."""
    report: Path | None
    results: Path
    style: str
    width: int | None = None
    """Columns of the terminal that the table is printed on."""


def run_gate(request: Request, settings: Settings) -> int:
    """Measure and judge; the exit status. Raises UsageError and MachineError."""
    base, head = wanted("base", request.base), wanted("head", request.head)
    differ = axes_differ(base, head)
    matches = comparisons(request.cases, base, head)
    _check_patterns(settings, matches)
    asked = replace(request.sides, base=base.subject, head=head.subject, axes_differ=differ)
    path = report_path(request.report, request.results, "regress")
    console, begun = Console(stderr=True), time.time()
    end_as_if_interrupted()
    try:
        root = subject_root(asked)
        with make_sides(asked, root, lambda text: say(console, text)) as sides:
            report = judged(Gate(matches, sides, settings, path, named=request.named), console)
    except KeyboardInterrupt:
        if path.exists() and path.stat().st_mtime >= begun:  # and is not an older run's
            say(console, f"interrupted; the pairs measured so far are in {path}")
        return 130
    print(text_of(report, request.style, path, request.width))
    if request.style in ("csv", "tsv"):  # which hold the table alone
        say(console, f"{headline(report)} Report: {path}")
    tell_github(report, verdict_table(report, "github"), verdict_lines(report))
    return exit_status(report)


def judged(gate: Gate, console: Console) -> GateReport:
    """Run the gate, and show how it gets on: a live line on a terminal, plain lines elsewhere."""
    gate.seed = int.from_bytes(os.urandom(4))
    cases = f"{len(gate.comparisons)} cases, at most {gate.settings.budget_s:.0f} s"
    if (why := commit_unknown()) is not None:
        say(console, f"the report names no commit of the instrument: {why}")
    if not console.is_terminal:
        gate.tell = lambda text: say(console, text)
        say(console, f"measuring {cases}")
        return gate.run()
    with console.status(f"measuring {cases}") as status:
        gate.tell = lambda text: status.update(text)
        return gate.run()


def text_of(report: GateReport, style: str, path: Path, width: int | None = None) -> str:
    """The table and what stands below it; csv and tsv carry the table alone."""
    table = verdict_table(report, style, width)
    if style in ("csv", "tsv"):
        return table
    return "\n".join([table, *prose([*verdict_lines(report), f"Report: {path}"], style)])


def report_path(asked: Path | None, results: Path, kind: str) -> Path:
    """Where the report goes, and that it can be written there. Raises UsageError."""
    if asked is None:
        machine = fingerprint()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        asked = results / machine.label / f"{kind}-{stamp}-{machine.commit}.json"
    try:
        asked.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {asked.parent}: {error.strerror}") from None
    if asked.is_dir() or not os.access(asked.parent, os.W_OK):
        raise UsageError(f"cannot write {asked}: name another file with --report")
    return asked


def _check_patterns(settings: Settings, matches: Sequence[Comparison]) -> None:
    """Raise UsageError for a pattern of thresholds that fits no case of any kind."""
    everything = [*matches, *(Comparison(c, c) for name in PRESETS for c in select(name, {}))]
    if lost := unmatched(settings, everything):
        raise UsageError(
            f"[tool.sumnet-bench.thresholds]: {lost[0]!r} fits no case of any preset: "
            "is it misspelt? `list` prints the ids"
        )
