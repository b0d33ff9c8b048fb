"""How far to trust the gate here: pairs of identical sides, recorded and replayed."""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rich.console import Console

from bench.gate.calibration import (
    Pool,
    Replays,
    Slowdown,
    as_recorded,
    curve,
    identical_sides,
    pool_of,
    replay,
)
from bench.gate.calibration_view import calibration_text
from bench.gate.regress import Gate
from bench.gate.session import judged, report_path
from bench.gate.settings import Settings
from bench.gate.sides import Asked, make_sides, subject_root
from bench.matrix.case import Case
from bench.matrix.comparison import Comparison
from bench.records.gate_report import GateReport, Rules, load_report
from bench.records.kinds import Kind, OtherKind
from bench.records.loading import load_each
from bench.report.progress import say
from bench.runner.interruption import end_as_if_interrupted

BATCH = 100
"""Replays that one process makes at a time, from a seed of their own."""
FEWER = 10
"""Each slowdown gets so many times fewer replays than identical sides do."""
SLOW_PAIR_S = 60.0
"""What a pair may take at most when they are recorded: their number ends it, not time."""

DIFFERING = "only identical sides, as `regress --same` has them, tell of false alarms"


def record_pairs(cases: Sequence[Case], pairs: int, settings: Settings, results: Path) -> Path:
    """Measure so many pairs of identical sides; the report. Interrupted, it keeps those it has."""
    console = Console(stderr=True)
    end_as_if_interrupted()
    path = report_path(None, results, "pairs")
    budget = Settings(settings.rules, pairs * SLOW_PAIR_S)
    asked = Asked(same=True)
    with make_sides(asked, subject_root(asked), lambda text: say(console, text)) as sides:
        comparisons = [Comparison(case, case) for case in cases]
        judged(Gate(comparisons, sides, budget, path, pairs_wanted=pairs), console)
    say(console, f"Report: {path}")
    return path


def replay_reports(
    files: Sequence[Path], settings: Settings, replays: int, style: str, width: int | None = None
) -> str:
    """What the pairs of these reports say of the gate, as text.

    Files of other kinds are passed over, and reports of sides that differ. Raises UsageError where
    none is left, one cannot be read, or their pairs cannot be replayed together.
    """
    _, reports = load_each(list(dict.fromkeys(files)), _of_identical_sides)
    pool, rules = pool_of(reports, settings.budget_s), settings.rules
    wanted: list[tuple[Slowdown | None, int]] = [(None, replays)]
    wanted += [(slowdown, max(replays // FEWER, BATCH)) for slowdown in curve()]
    identical, *slowed = _replayed(pool, rules, wanted)
    return calibration_text(
        reports, pool, rules, identical, as_recorded(pool, rules), slowed, style, width
    )


def _of_identical_sides(path: Path) -> GateReport:
    report = load_report(path)
    if not identical_sides(report):
        base, head = report.sides
        raise OtherKind(path, Kind(f"compares {base.what} with {head.what}", DIFFERING))
    return report


def _replayed(
    pool: Pool, rules: Rules, wanted: Sequence[tuple[Slowdown | None, int]]
) -> list[Replays]:
    """Replays of each, in as many processes as there are cores."""
    jobs = [
        (place, slowdown, min(BATCH, runs - start))
        for place, (slowdown, runs) in enumerate(wanted)
        for start in range(0, runs, BATCH)
    ]
    found = [Replays(slowdown) for slowdown, _ in wanted]
    with ProcessPoolExecutor(os.cpu_count()) as pool_of_processes:
        futures = [
            pool_of_processes.submit(replay, pool, rules, runs, slowdown, seed)
            for seed, (_, slowdown, runs) in enumerate(jobs)
        ]
        for (place, _, _), future in zip(jobs, futures, strict=True):
            found[place].add(future.result())
    return found
