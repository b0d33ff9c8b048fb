"""How often the gate errs: A/A pairs, replayed with and without a slowdown.

A replay is a run of the gate whose pairs are drawn from those that were recorded, a pair's whole
row at a time, so that it keeps the correlation of its series. The same code judges it that judges
a run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from msgspec import structs

from ..errors import UsageError
from ..matrix.case import WHOLE, is_phase
from ..records.gate_report import GateReport, PairRecord, Rules, SeriesVerdict
from ..records.verdicts import EQUIVALENT, IMPROVED, INVALID, REGRESSED, SLOWER, Verdict
from ..report.view import Row
from ..stats.calibration import slowed_parts
from ..stats.estimates import Floats
from .aa_control import control_moved
from .interim_looks import CONTROLS, FIRST_LOOKS, interim_looks
from .reduction import COLUMNS
from .verdicts import decided, judge, outcome_of

REPLAY_PATTERNS = 4000
"""Of signs at a look: a fifth of a run's, for speed; a p of 0.2% is then known to 0.07%."""
MIN_PAIRS = FIRST_LOOKS[1] + CONTROLS[1]
"""What the second look of a run takes."""
ALL, TENTH = "all", "every tenth"
"""The steps that a slowdown affects."""
SHARES = (0.01, 0.02, 0.05)
"""Of a phase's time: the slowdowns that are replayed."""
TENTH_TAIL = 2.0
"""How many times its mean share the upper tail shows of a slowdown of every tenth step.

Measured, median series: 2.0 at 1%, 2.8 at 2%, 3.1 at 5%; METHODOLOGY.md has the runs.
"""


@dataclass(frozen=True)
class Pool:
    """A/A pairs of one machine."""

    series: list[tuple[str, str]]
    table: Floats
    """Pairs by COLUMNS by series, log-ratios."""
    base_ns: Floats
    """Median of each series."""
    pair_s: float
    """Wall time of a pair, median."""
    budget_s: float


@dataclass(frozen=True)
class Slowdown:
    """What is added to a replay's head: in every case, a share of one phase's time."""

    phase: str
    share: float
    affected: str = ALL


def curve(pool: Pool) -> list[Slowdown]:
    """The slowdowns that replays are made of: of each phase, or of steps that have none."""
    names = dict.fromkeys(series for _, series in pool.series)
    phases = [name for name in names if is_phase(name)] or [WHOLE]
    return [
        Slowdown(phase, share, affected)
        for affected in (ALL, TENTH)
        for share in SHARES
        for phase in phases
    ]


@dataclass(frozen=True)
class Judged:
    """A run of the gate: replayed, or as it was."""

    outcome: Verdict
    verdicts: Sequence[SeriesVerdict]
    pairs: int
    """That it took, controls included."""


def pool_of(reports: Sequence[GateReport], budget_s: float) -> Pool:
    """The pairs of A/A reports, their control pairs too.

    A replay takes as many as a run has time for in `budget_s` seconds.

    Raises UsageError where reports are of different machines, devices, torch builds, cases or
    environments, or hold too few pairs to be replayed.
    """
    first = reports[0]
    if any(_circumstances(report) != _circumstances(first) for report in reports):
        raise UsageError(
            "reports of different machines, devices, torch builds, cases or environments cannot "
            "be replayed together"
        )
    pairs = [pair for report in reports for pair in report.pairs if None not in pair.mean]
    if len(pairs) < MIN_PAIRS:
        raise UsageError(f"{len(pairs)} pairs are too few to replay: {MIN_PAIRS} at least")
    return Pool(
        first.series,
        np.array([pair.columns for pair in pairs], float),
        np.median(np.array([pair.base_ns for pair in pairs], float), axis=0),
        float(np.median([pair.wall_s for pair in pairs])),
        budget_s,
    )


def is_aa(report: GateReport) -> bool:
    """Whether both sides ran the same code in the same way."""
    base, head = (
        (
            side.subject_hash,
            side.torch,
            side.python,
            side.environment,
            side.interpreter,
            side.devices,
        )
        for side in report.sides
    )
    return base == head and all(each.base == each.head for each in report.comparisons)


def _circumstances(report: GateReport) -> tuple[object, ...]:
    machine, base = report.machine, report.sides[0]
    place = machine.label, machine.available_cores, machine.quota, report.environment
    return *place, base.torch, base.python, base.devices, report.series


def replay(
    pool: Pool, rules: Rules, runs: int, slowdown: Slowdown | None = None, seed: int = 0
) -> list[Judged]:
    """So many runs of the gate on pairs drawn from the pool without replacement.

    Which side of a recorded pair is the base is drawn anew, since its sides did not differ.
    """
    draw = np.random.default_rng(seed)
    shift = shifts(pool, slowdown)
    found = []
    for _ in range(runs):
        signs = draw.choice((1.0, -1.0), size=(len(pool.table), 1, 1))
        table = (signs * pool.table)[draw.permutation(len(pool.table))]
        found.append(_run(pool, rules, table, shift, draw))
    return found


def as_recorded(pool: Pool, rules: Rules) -> list[Judged]:
    """Runs over consecutive pairs as they were recorded, one after another without overlap."""
    found, draw = [], np.random.default_rng(0)
    start = 0
    while start + MIN_PAIRS <= len(pool.table):
        found.append(_run(pool, rules, pool.table[start:], shifts(pool, None), draw))
        start += found[-1].pairs
    return found


def shifts(pool: Pool, slowdown: Slowdown | None) -> Floats:
    """What a slowdown adds to the log-ratios, COLUMNS by series.

    The whole step is slower by as much time as the phase. One of every tenth step leaves the lower
    quartile alone and moves the upper tail by TENTH_TAIL times its share.
    """
    if slowdown is None:
        return np.zeros((len(COLUMNS), len(pool.series)))
    shown = (1.0, 1.0, 1.0) if slowdown.affected == ALL else (0.0, 1.0, TENTH_TAIL)
    parts = slowed_parts(pool.series, pool.base_ns.tolist(), slowdown.phase)
    added: Floats = np.log1p(slowdown.share * np.outer(shown, parts))
    return added


def _run(
    pool: Pool, rules: Rules, table: Floats, shift: Floats, draw: np.random.Generator
) -> Judged:
    """One run of the gate over these rows, in their order, until it is settled or time is up."""
    affordable = min(int(pool.budget_s / pool.pair_s) - 1, len(table))  # start-up takes one
    base: list[int | None] = [round(ns) for ns in pool.base_ns]
    pairs: list[PairRecord] = []
    verdicts: list[SeriesVerdict] = []

    def take(control: bool) -> bool:
        if len(pairs) >= affordable:
            return False
        quartile, mean, tail = (table[len(pairs)] + (0.0 if control else shift)).tolist()
        pairs.append(PairRecord(control, 0.0, 0.0, pool.pair_s, quartile, mean, tail, base))
        return True

    for looked in interim_looks(pairs, take, draw.shuffle):
        verdicts = judge(pool.series, pairs, {}, rules, looked, REPLAY_PATTERNS)
        if decided(verdicts, rules):
            break
    outcome, _ = outcome_of(verdicts, control_moved(pairs))
    return Judged(outcome, verdicts, len(pairs))


def rates(runs: Sequence[Judged], pool: Pool, slowdown: Slowdown | None = None) -> Row:
    """What became of these runs of the pool's series, in which this slowdown was the truth.

    Counts of runs: runs, inconclusive, invalid, and those in which at least one series (`_in_one`)
    or all of them (`_in_all`) were detected as slower, however little, regressed or improved; of
    the slowed phase alone, where one is. Counts of series with an effect: series, equivalent, and
    covered, whose 95% interval covers the true value. Then half, the median half-width of those
    intervals, a logarithm; error, the mean of estimate over true value less one, of the slowed
    phase; and pairs, of a run on average, controls included.
    """
    table = pd.DataFrame(
        {"run": number, "phase": name, **structs.asdict(verdict)}
        for number, run in enumerate(runs)
        for (_, name), verdict in zip(pool.series, run.verdicts, strict=True)
    )
    statistics = [COLUMNS.index(statistic) for statistic in table["statistic"]]
    truth = shifts(pool, slowdown)[statistics, np.tile(np.arange(len(pool.series)), len(runs))]
    error = table["effect"].astype(float) - truth
    slowed = table["phase"] == (slowdown.phase if slowdown else None)
    watched = slowed if slowed.any() else ~slowed
    found = {
        "detected": (table["detected"] == SLOWER) & (table["verdict"] != INVALID),
        "regressed": table["verdict"] == REGRESSED,
        "improved": table["verdict"] == IMPROVED,
    }
    by_run = pd.DataFrame(found)[watched].groupby(table["run"])
    outcomes = [run.outcome for run in runs]
    return {
        "runs": len(runs),
        **by_run.any().sum().add_suffix("_in_one"),
        **by_run.all().sum().add_suffix("_in_all"),
        "inconclusive": outcomes.count("inconclusive"),
        "invalid": outcomes.count("invalid"),
        "series": error.count(),
        "equivalent": (table["verdict"] == EQUIVALENT)[error.notna()].sum(),
        "covered": (error.abs() <= table["half"].astype(float)).sum(),
        "half": table["half"].astype(float)[error.notna()].median(),
        "error": np.expm1(error[slowed]).mean(),
        "pairs": np.mean([run.pairs for run in runs]),
    }
