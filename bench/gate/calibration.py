"""How often the gate errs: pairs of identical sides, replayed with and without a slowdown.

A replay is a run of the gate whose pairs are drawn from those that were recorded, a pair's whole
row at a time, so that it keeps what its series have in common. The same code judges it that judges
a run.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from scipy import stats

from bench.errors import UsageError
from bench.gate.aa_control import control_moved
from bench.gate.interim_looks import CONTROLS, FIRST_LOOKS, looks, slots
from bench.gate.reduction import COLUMNS
from bench.gate.verdicts import decided, judge, outcome_of
from bench.matrix.case import PHASES, WHOLE
from bench.records.gate_report import GateReport, PairRecord, Rules, SeriesVerdict
from bench.records.verdicts import EQUIVALENT, IMPROVED, INVALID, REGRESSED, SLOWER
from bench.stats.estimates import Floats

REPLAY_PATTERNS = 4000
"""Of signs at a look: a fifth of a run's, for speed; a p of 0.2% is then known to 0.07%."""
EVERY, TENTH = "every step", "every tenth step"
"""What a slowdown may hit: all steps alike, or now and then one."""
SHARES = (0.01, 0.02, 0.05)
"""Of a phase's time: the slowdowns that are looked at."""
TENTH_SHOWS = 2.0
"""How much more than its mean share the slow steps show of a slowdown of every tenth step.

Measured, median series: 2.0 at 1%, 2.8 at 2%, 3.1 at 5%; METHODOLOGY.md has the runs.
"""


@dataclass(frozen=True)
class Pool:
    """Pairs of identical sides, on one machine."""

    series: list[tuple[str, str]]
    table: Floats
    """Pairs by COLUMNS by series, log-ratios."""
    base_ns: Floats
    """Median of each series."""
    pair_s: float
    """Wall time of a pair, median."""
    budget_s: float

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True)
class Slowdown:
    """What is put into a replay's head: one phase of every case, by a share of its time."""

    phase: str
    share: float
    of: str = EVERY


@dataclass
class Replays:
    """What became of many replays; counts are of replays, or of series over all of them."""

    slowdown: Slowdown | None = None
    runs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    some_regressed: int = 0
    """Runs with a series called regressed; of the slowed phase, where one is."""
    some_improved: int = 0
    some_proven: int = 0
    """Likewise: proven slower, by however little."""
    every_regressed: int = 0
    """Runs in which every series of the slowed phase was called."""
    every_proven: int = 0
    series: int = 0
    equivalent: int = 0
    covered: int = 0
    """Series whose 95% interval holds the truth."""
    half_widths: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    """Estimate less truth, of the slowed phase's series."""
    pairs: list[int] = field(default_factory=list)
    """That a run took, controls too."""

    def add(self, more: "Replays") -> None:
        """Take in further replays of the same slowdown."""
        for each in fields(self):
            if each.name != "slowdown":  # counts, lists and a counter: each knows how to add
                setattr(self, each.name, getattr(self, each.name) + getattr(more, each.name))


def pool_of(reports: Sequence[GateReport], budget_s: float) -> Pool:
    """The pairs of reports, all of identical sides, their control pairs too.

    A replay takes as many as a run has time for in `budget_s` seconds.

    Raises UsageError where reports are of different machines, torch builds, cases or environments,
    or hold too few pairs to be replayed.
    """
    first = reports[0]
    for report in reports:
        if _kind(report) != _kind(first):
            raise UsageError(
                "reports of different machines, torch builds, cases or environments cannot be "
                "replayed together"
            )
    pairs = [pair for report in reports for pair in report.pairs if None not in pair.usual]
    least = FIRST_LOOKS[1] + CONTROLS[1]
    if len(pairs) < least:
        raise UsageError(f"{len(pairs)} pairs are too few to replay: {least} at least")
    return Pool(
        first.series,
        np.array([(pair.usual, pair.mean, pair.slow) for pair in pairs], float),
        np.median(np.array([pair.base_ns for pair in pairs], float), axis=0),
        float(np.median([pair.wall_s for pair in pairs])),
        budget_s,
    )


def identical_sides(report: GateReport) -> bool:
    """Whether both sides ran the same code in the same way."""
    base, head = report.sides
    alike = (base.subject_hash, base.torch, base.python, base.environment, base.interpreter) == (
        head.subject_hash,
        head.torch,
        head.python,
        head.environment,
        head.interpreter,
    )
    return alike and all(comparison.base == comparison.head for comparison in report.comparisons)


def _kind(report: GateReport) -> tuple[object, ...]:
    return (
        report.machine.label,
        report.machine.available_cores,
        report.machine.quota,
        report.sides[0].torch,
        report.sides[0].python,
        report.series,
        report.environment,
    )


def replay(
    pool: Pool, rules: Rules, runs: int, slowdown: Slowdown | None = None, seed: int = 0
) -> Replays:
    """So many runs of the gate on pairs drawn from the pool without replacement.

    Which side of a recorded pair is the base is drawn anew, since its sides were identical.
    """
    draw = np.random.default_rng(seed)
    found = Replays(slowdown)
    shift = shifts(pool, slowdown)
    for _ in range(runs):
        signs = draw.choice((1.0, -1.0), size=(len(pool), 1, 1))
        table = (signs * pool.table)[draw.permutation(len(pool))]
        _tally(found, pool, _run(pool, rules, table, shift, draw))
    return found


def as_recorded(pool: Pool, rules: Rules) -> Replays:
    """Runs over consecutive pairs as they were recorded, one after another without overlap."""
    found, draw = Replays(), np.random.default_rng(0)
    start = 0
    while start + FIRST_LOOKS[1] + CONTROLS[1] <= len(pool):
        result = _run(pool, rules, pool.table[start:], shifts(pool, None), draw)
        _tally(found, pool, result)
        start += len(result.pairs)
    return found


def shifts(pool: Pool, slowdown: Slowdown | None) -> Floats:
    """What a slowdown adds to the log-ratios, COLUMNS by series.

    The whole step is slower by as much time as the phase. One of every tenth step leaves the usual
    step alone and moves slow steps by TENTH_SHOWS times its share.
    """
    added = np.zeros((len(COLUMNS), len(pool.series)))
    if slowdown is None:
        return added
    times = dict(zip(pool.series, pool.base_ns, strict=True))
    shown = (1.0, 1.0, 1.0) if slowdown.of == EVERY else (0.0, 1.0, TENTH_SHOWS)
    for place, (comparison, name) in enumerate(pool.series):
        phase_ns = times.get((comparison, slowdown.phase))
        if phase_ns is not None and name in (slowdown.phase, WHOLE):
            share = slowdown.share * phase_ns / times[comparison, name]
            added[:, place] = np.log1p(share * np.array(shown))
    return added


@dataclass(frozen=True)
class _Run:
    verdicts: list[SeriesVerdict]
    pairs: list[PairRecord]
    outcome: str
    truth: Floats
    """COLUMNS by series."""


def _run(pool: Pool, rules: Rules, table: Floats, shift: Floats, draw: np.random.Generator) -> _Run:
    """One run of the gate over these rows, in their order, until it is settled or time is up."""
    affordable = min(int(pool.budget_s / pool.pair_s) - 1, len(table))  # start-up takes one
    pairs: list[PairRecord] = []
    looked: list[int] = []
    verdicts: list[SeriesVerdict] = []
    for look, count in enumerate(looks()):
        main = sum(not pair.control for pair in pairs)
        wanted = slots(look, main, len(pairs) - main)
        draw.shuffle(wanted)
        for control in wanted[: affordable - len(pairs)]:
            usual, mean, slow = (table[len(pairs)] + (0.0 if control else shift)).tolist()
            base: list[int | None] = [round(ns) for ns in pool.base_ns]
            pairs.append(PairRecord(control, 0.0, 0.0, pool.pair_s, usual, mean, slow, base))
        main = sum(not pair.control for pair in pairs)
        if main > max(looked, default=0):
            looked.append(main)
        verdicts = judge(pool.series, pairs, {}, rules, looked, REPLAY_PATTERNS)
        if main < count or decided(verdicts, rules):
            break
    outcome, _ = outcome_of(verdicts, control_moved(pairs))
    return _Run(verdicts, pairs, outcome, shift)


def _tally(found: Replays, pool: Pool, run: _Run) -> None:
    found.runs += 1
    found.outcomes[run.outcome] += 1
    found.pairs.append(len(run.pairs))
    valid = run.outcome != INVALID
    words = [verdict.verdict for verdict in run.verdicts]
    proven = [verdict.proven == SLOWER for verdict in run.verdicts]
    phase = None if found.slowdown is None else found.slowdown.phase
    slowed = [place for place, (_, name) in enumerate(pool.series) if name == phase]
    watched = slowed or range(len(words))
    found.some_regressed += valid and any(words[i] == REGRESSED for i in watched)
    found.some_improved += valid and any(words[i] == IMPROVED for i in watched)
    found.some_proven += valid and any(proven[i] for i in watched)
    found.every_regressed += valid and all(words[i] == REGRESSED for i in watched)
    found.every_proven += valid and all(proven[i] for i in watched)
    for place, verdict in enumerate(run.verdicts):
        if verdict.effect is None or verdict.half is None:
            continue
        truth = run.truth[COLUMNS.index(verdict.statistic), place]
        found.series += 1
        found.equivalent += verdict.verdict == EQUIVALENT
        found.covered += abs(verdict.effect - truth) <= verdict.half
        found.half_widths.append(verdict.half)
        if place in slowed:
            found.errors.append(verdict.effect - truth)


def share_between(count: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """The share that a count stands for: the Clopper-Pearson interval."""
    interval = stats.binomtest(count, of).proportion_ci(confidence, "exact")
    return float(interval.low), float(interval.high)


def curve() -> list[Slowdown]:
    """Every slowdown of every phase."""
    return [
        Slowdown(phase, share, of) for of in (EVERY, TENTH) for share in SHARES for phase in PHASES
    ]
