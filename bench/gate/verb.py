"""The verb `regress`: cases on both sides are measured and judged."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from ..errors import UsageError
from ..machine.checkout import root_of
from ..machine.fingerprint import commit_unknown, fingerprint
from ..matrix.case import Case
from ..matrix.comparison import Comparison
from ..matrix.default_step import DEFAULT
from ..matrix.presets import PRESETS, select
from ..matrix.step import StepDescription
from ..records.exclusive import exclusive
from ..records.gate_report import GateReport
from ..records.store import check_target
from .discovery import steps_of
from .regress import Gate
from .settings import Settings, unmatched
from .side_spec import SideSpec, comparisons
from .sides import OwnSteps, make_sides


def regress(
    cases: Callable[[Sequence[StepDescription]], Sequence[Case]],
    *,
    own: OwnSteps | None,
    device: str,
    named: bool,
    base: SideSpec,
    head: SideSpec,
    same: bool,
    settings: Settings,
    report: Path | None,
    results: Path,
    if_busy: str,
    console: Console,
) -> tuple[GateReport, Path]:
    """Measure and judge; the report and where it is. An interruption says where the pairs are.

    `cases` selects those of some steps; `named` ones were asked for by id. One's `own` steps are
    built on `device` to see what they are, which only the sides can do. Raises UsageError and
    MachineError.
    """

    def compared(steps: Sequence[StepDescription]) -> list[Comparison]:
        found = comparisons(cases(steps), base, head, steps)
        _check_thresholds(settings, found, steps)
        return found

    default = None if own is not None else compared([DEFAULT])
    root = None if own is None else root_of(own.file)
    path = report_path(report, results, "regress", root)
    begun = time.time()
    try:
        with make_sides(base, head, console.out, same=same, own=own) as sides:
            gate = Gate(default or [], sides, settings, path, named=named)
            if default is None:
                steps, gate.nowhere = steps_of(*sides, device, settings.budget_s, console.out)
                gate.comparisons = compared(steps)
            return judged(gate, if_busy, console), path
    except KeyboardInterrupt:
        if path.exists() and path.stat().st_mtime >= begun:  # and is not an older run's
            console.out(f"interrupted; the pairs measured so far are in {path}")
        raise


def _check_thresholds(
    settings: Settings, compared: Sequence[Comparison], steps: Sequence[StepDescription]
) -> None:
    """Raise UsageError for a threshold of cases that there are not."""
    presets = [Comparison(case, case) for name in PRESETS for case in select(name, {}, steps)]
    if lost := unmatched(settings, [*compared, *presets]):
        raise UsageError(
            f"[tool.sumnet-bench.thresholds]: {lost[0]!r} fits no case of any preset: "
            "is it misspelt? `list` prints the ids"
        )


def judged(gate: Gate, if_busy: str, console: Console) -> GateReport:
    """Run the gate with a seed of its own, `if_busy` as in `exclusive`; progress is a live line on
    a terminal, else lines."""
    gate.seed = int.from_bytes(os.urandom(4))
    cases = f"{len(gate.comparisons)} cases, at most {gate.settings.budget_s:.0f} s"
    if (why := commit_unknown(gate.sides[1].checkout)) is not None:
        console.out(f"the report names no commit: {why}")
    machine = fingerprint(gate.sides[1].checkout)
    with exclusive(machine, if_busy, console.out) as gate.beside_another:
        if not console.is_terminal:
            gate.on_progress = console.out
            console.out(f"measuring {cases}")
            return gate.run()
        with console.status(f"measuring {cases}") as status:
            gate.on_progress = status.update
            return gate.run()


def report_path(asked: Path | None, results: Path, kind: str, own: Path | None = None) -> Path:
    """Where the report goes, and that it can be written there; `own` is as in `fingerprint`.

    Raises UsageError.
    """
    if asked is None:
        machine = fingerprint(own)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        # With the process, for two may start in one second.
        name = f"{kind}-{stamp}-{machine.commit}-{os.getpid()}.json"
        asked = results / machine.label / name
    return check_target(asked, "--report")
