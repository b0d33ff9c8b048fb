"""How far to trust the gate on this machine: A/A pairs, recorded and replayed."""

import itertools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from rich.console import Console

from ..matrix.case import PEAK_MEMORY, Case
from ..matrix.comparison import Comparison
from ..records.gate_report import GateReport, Rules, load_report
from ..records.loading import load_each
from ..records.store import Kind, OtherKind
from ..report.view import View
from . import replay
from .calibration_view import calibration_view
from .regress import Gate
from .settings import Settings
from .side_spec import SideSpec
from .sides import make_sides
from .verb import judged, report_path

BATCH = 100
"""Replays that one process makes at a time, from a seed of their own."""
FEWER = 10
"""Each slowdown gets so many times fewer replays than A/A runs do."""
SLOW_PAIR_S = 60.0
"""What a pair may take at most when they are recorded: their number ends it, not time."""


def calibrate(
    reports: Sequence[Path],
    *,
    pairs: int,
    replays: int,
    cases: Sequence[Case],
    settings: Settings,
    results: Path,
    if_busy: str,
) -> View:
    """What A/A pairs show of the gate: those of the reports, or else so many measured on `cases`.

    Files of other kinds are passed over, and reports of sides that differ. Raises UsageError where
    none is left, one cannot be read, or their pairs cannot be replayed together.
    """
    files = list(dict.fromkeys(reports)) or [record_pairs(cases, pairs, settings, results, if_busy)]
    _, aa_reports = load_each(files, _load_aa)
    pool, rules = replay.pool_of(aa_reports, settings.budget_s), settings.rules
    fewer = max(replays // FEWER, BATCH)
    curve = replay.curve(pool)
    replayed = _replayed(pool, rules, {None: replays} | dict.fromkeys(curve, fewer))
    aa = {
        "replayed": replayed[None],
        "as recorded": replay.as_recorded(pool, rules),
        # Recorded pairs, whose number was given beforehand, are no run: no look decided them.
        "as judged": [
            replay.Judged(
                report.outcome,
                [verdict for verdict in report.verdicts if verdict.series != PEAK_MEMORY],
                len(report.pairs),
            )
            for report in aa_reports
            if report.verdicts and not report.recorded
        ],
    }
    return calibration_view(
        len(aa_reports),
        pool,
        rules,
        {source: replay.rates(runs, pool) for source, runs in aa.items() if runs},
        {what: replay.rates(replayed[what], pool, what) for what in curve},
    )


def record_pairs(
    cases: Sequence[Case], pairs: int, settings: Settings, results: Path, if_busy: str
) -> Path:
    """Measure so many A/A pairs; the report. Interrupted, it keeps those it has."""
    console = Console(stderr=True, highlight=False)
    path = report_path(None, results, "pairs")
    budget = Settings(settings.rules, pairs * SLOW_PAIR_S)
    base, head = SideSpec("base"), SideSpec("head")
    with make_sides(base, head, console.out, same=True) as sides:
        comparisons = [Comparison(case, case) for case in cases]
        judged(Gate(comparisons, sides, budget, path, pairs_wanted=pairs), if_busy, console)
    console.out(f"Report: {path}")
    return path


def _load_aa(path: Path) -> GateReport:
    report = load_report(path)
    if not replay.is_aa(report):
        base, head = report.sides
        remedy = "calibrate takes A/A reports, such as those of `regress --same`"
        raise OtherKind(path, Kind(f"compares {base.what} with {head.what}", remedy))
    return report


def _replayed(
    pool: replay.Pool, rules: Rules, wanted: Mapping[replay.Slowdown | None, int]
) -> dict[replay.Slowdown | None, list[replay.Judged]]:
    """So many replays of each, in as many processes as there are cores."""
    jobs = [
        (slowdown, min(BATCH, runs - start))
        for slowdown, runs in wanted.items()
        for start in range(0, runs, BATCH)
    ]
    slowdowns, sizes = zip(*jobs, strict=True)
    found: dict[replay.Slowdown | None, list[replay.Judged]] = {what: [] for what in wanted}
    with ProcessPoolExecutor(os.cpu_count()) as executor:
        runs_of = partial(replay.replay, pool, rules)
        done = executor.map(runs_of, sizes, slowdowns, itertools.count())  # the last are seeds
        for slowdown, runs in zip(slowdowns, done, strict=True):
            found[slowdown] += runs
    return found
