"""From the rows of pairs to a verdict for each series, and whether more pairs are worth taking."""

import fnmatch
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.analysis.pairs import COLUMNS, rows
from bench.analysis.signflip import (
    LEAST_SPREAD,
    PATTERNS,
    adjusted_p,
    critical_t,
    sign_patterns,
    statistics_under,
)
from bench.records.gate import (
    EQUIVALENT,
    FASTER,
    IMPROVED,
    INCONCLUSIVE,
    INVALID,
    REGRESSED,
    SLOWER,
    VERDICTS,
    PairRecord,
    Rules,
    SeriesVerdict,
    Verdict,
)

Floats = NDArray[np.float64]

FIRST_LOOKS = (9, 16, 32)
"""Pairs at which the test looks; then at twice as many each time, and when time is up. Nine pairs
are the fewest whose least p, 2^-9, the first look's share of alpha allows."""
FIRST_SHARES = (0.2, 0.3, 0.25)
"""Of alpha, for each look; a later one has half of what is left."""
CONFIDENCE = 0.95
EQUIVALENCE_ALPHA = 0.05
"""Of each of the two one-sided tests."""
HINT = 2.0
"""A series whose t passes this may be a slowdown that more pairs would prove."""
POWER = 0.8
CONTROLS = (2, 3, 5)
"""Control pairs taken by each look, at random places; the last again for each later look."""
CONTROL_LIMIT = 9.0
"""How many standard errors the worst series of the control may be from nothing. Set by calibration:
METHODOLOGY.md says how often identical sides pass it."""


@dataclass(frozen=True)
class Column:
    """What is known of one column of a series (see pairs.COLUMNS). Logarithms of head / base."""

    effect: float
    half: float
    """Of the two-sided interval of CONFIDENCE."""
    equivalence_half: float
    """Of the interval that must lie inside the margin."""
    error: float
    """Standard error of the effect."""
    slower: bool = False
    """Proven, at this look or an earlier one."""
    faster: bool = False
    p_slower: float = 1.0
    p_faster: float = 1.0


def looks() -> Iterator[int]:
    """Numbers of pairs to look at, without end."""
    yield from FIRST_LOOKS
    for doublings in itertools.count(1):
        yield FIRST_LOOKS[-1] * 2**doublings


def shares() -> Iterator[float]:
    """The share of alpha that each look may spend; they add up to 1 at most."""
    yield from FIRST_SHARES
    left = 1 - sum(FIRST_SHARES)
    while True:
        left /= 2
        yield left


def controls_by(look: int) -> int:
    """Control pairs that are wanted by a look, counted from 0."""
    extra = max(look - len(CONTROLS) + 1, 0)
    return CONTROLS[min(look, len(CONTROLS) - 1)] + extra * (CONTROLS[-1] - CONTROLS[-2])


def threshold_of(contest: str, rules: Rules) -> float:
    """The practical threshold of a contest, a share."""
    fitting = [t for pattern, t in rules.thresholds.items() if fnmatch.fnmatch(contest, pattern)]
    return fitting[-1] if fitting else rules.threshold


def judge(
    series: Sequence[tuple[str, str]],
    pairs: Sequence[PairRecord],
    ended: Mapping[str, str],
    rules: Rules,
    looked: Sequence[int],
    patterns: int = PATTERNS,
) -> list[SeriesVerdict]:
    """The verdict of every series, after looks at these numbers of pairs.

    What is proven at one look stays proven; what it amounts to is estimated from all pairs.
    """
    table = rows(pairs, control=False)
    if not looked or len(table) < FIRST_LOOKS[0]:
        return [SeriesVerdict(c, s, INVALID, ended.get(c, _too_few(len(table)))) for c, s in series]
    there = [
        place
        for place, (contest, _) in enumerate(series)
        if contest not in ended and not np.isnan(table[:, :, place]).any()
    ]
    reasons = [ended.get(contest, "a pair has no time of it") for contest, _ in series]
    found = [
        SeriesVerdict(c, s, INVALID, reason) for (c, s), reason in zip(series, reasons, strict=True)
    ]
    if not there:
        return found
    columns, critical = _columns(table[:, :, there], looked, rules.alpha, patterns)
    for place, of_series in zip(there, columns, strict=True):
        contest, name = series[place]
        base = [ns for pair in pairs if (ns := pair.base_ns[place]) is not None]
        verdict = SeriesVerdict(contest, name, INCONCLUSIVE, base_ns=float(np.median(base)))
        threshold = threshold_of(contest, rules)
        found[place] = _verdict(verdict, of_series, threshold, rules.margin, critical, len(table))
    return found


def _columns(
    table: Floats, looked: Sequence[int], alpha: float, patterns: int
) -> tuple[list[list[Column]], float]:
    """The columns of each series, tested as one family; and the t that the last look asks for."""
    pairs, kinds, series = table.shape
    flat = table.reshape(pairs, kinds * series)
    slower, faster = np.zeros(kinds * series, bool), np.zeros(kinds * series, bool)
    p_slower = p_faster = np.ones(kinds * series)
    critical = math.inf
    for count, share in zip(looked, shares(), strict=False):
        t = statistics_under(sign_patterns(count, patterns), flat[:count])
        p_slower, p_faster = adjusted_p(t), adjusted_p(-t)
        slower |= p_slower <= alpha * share
        faster |= p_faster <= alpha * share
        critical = critical_t(t, alpha * share)
    columns = [
        replace(
            column_of(flat[:, i]),
            slower=bool(slower[i]),
            faster=bool(faster[i]),
            p_slower=float(p_slower[i]),
            p_faster=float(p_faster[i]),
        )
        for i in range(kinds * series)
    ]
    return [columns[place::series] for place in range(series)], critical


def column_of(values: Floats) -> Column:
    """The mean over pairs, and Student's intervals."""
    pairs = len(values)
    error = float(values.std(ddof=1) / math.sqrt(pairs))
    return Column(
        effect=float(values.mean()),
        half=float(special.stdtrit(pairs - 1, (1 + CONFIDENCE) / 2)) * error,
        equivalence_half=float(special.stdtrit(pairs - 1, 1 - EQUIVALENCE_ALPHA)) * error,
        error=error,
    )


def _verdict(
    verdict: SeriesVerdict,
    columns: Sequence[Column],
    threshold: float,
    margin: float,
    critical: float,
    pairs: int,
) -> SeriesVerdict:
    """The verdict of one series.

    Slow steps may prove a difference, but what it amounts to is told by the usual step or the mean
    one, whichever was proven to differ; the mean where only slow steps were.
    """
    usual, mean, slow = columns
    most = math.log1p(margin)
    worse = _called([c.slower for c in columns], usual.effect, mean.effect, threshold)
    better = _called([c.faster for c in columns], -usual.effect, -mean.effect, threshold)
    equivalent = all(_reach(column) <= most for column in (usual, mean))
    if worse is None and better is None:
        shown = int(not equivalent and _reach(mean) > _reach(usual))
    else:
        shown = worse if worse is not None else better or 0
    column = columns[shown]
    verdict.statistic = COLUMNS[shown]
    verdict.effect, verdict.half = column.effect, column.half
    verdict.p_slower = min(c.p_slower for c in columns)
    verdict.p_faster = min(c.p_faster for c in columns)
    if any(c.slower for c in columns):
        verdict.proven = SLOWER
    elif any(c.faster for c in columns):
        verdict.proven = FASTER
    verdict.detectable = (critical + float(special.ndtri(POWER))) * column.error
    if worse is not None:
        verdict.verdict = REGRESSED
        verdict.reason = "slow steps are slower, the usual step is not proven so" * shown
    elif better is not None:
        verdict.verdict = IMPROVED
        verdict.reason = "slow steps are faster, the usual step is not proven so" * shown
    elif equivalent:
        verdict.verdict = EQUIVALENT
        # It may yet hide a slowdown smaller than the margin, unless nothing hints at one.
        verdict.settled = all(c.effect < HINT * c.error for c in (usual, mean, slow))
        if verdict.proven is not None:
            verdict.reason = (
                f"proven {verdict.proven}, by less than the threshold of {threshold:.1%}"
            )
    else:
        verdict.verdict, verdict.settled = INCONCLUSIVE, False
        verdict.more_pairs = _more_pairs(column, most, pairs)
        verdict.reason = f"the {verdict.statistic} step spreads too much between processes"
    return verdict


def _called(proven: Sequence[bool], usual: float, mean: float, threshold: float) -> int | None:
    """Which column calls a difference: its place among COLUMNS; None where none does.

    Slow steps may prove a difference; what it amounts to is the mean step's to tell.
    """
    least = math.log1p(threshold)
    if proven[0] and usual >= least:
        return 0
    if (proven[1] or proven[2]) and mean >= least:
        return 1
    return None


def _reach(column: Column) -> float:
    """The farthest from nothing that its equivalence interval goes."""
    return abs(column.effect) + column.equivalence_half


def _more_pairs(column: Column, most: float, pairs: int) -> int | None:
    """How many more pairs would bring the interval inside the margin, if the effect stays."""
    room = most - abs(column.effect)
    if room <= 0:
        return None
    return max(math.ceil(pairs * (column.equivalence_half / room) ** 2) - pairs, 1)


def decided(verdicts: Sequence[SeriesVerdict], rules: Rules) -> bool:
    """Whether more pairs are not worth their time.

    No verdict is likely to change; or something regressed so clearly, by more than the margin, that
    the change has to be looked at whatever else there is.
    """
    most = math.log1p(rules.margin)
    clear = any(
        verdict.verdict == REGRESSED and (verdict.effect or 0.0) - (verdict.half or 0.0) > most
        for verdict in verdicts
    )
    return clear or all(verdict.settled for verdict in verdicts)


def control_moved(pairs: Sequence[PairRecord]) -> str | None:
    """Why base against base says that this run cannot be trusted; None where it says nothing.

    The mean of the control pairs must lie within CONTROL_LIMIT standard errors of nothing, in every
    series; a pair's spread is that of the other pairs, and no less than half of the median series'.
    """
    usual = COLUMNS.index("usual")
    main, control = rows(pairs, control=False), rows(pairs, control=True)
    z = control_statistic(main[:, usual], control[:, usual])
    if z is None or z <= CONTROL_LIMIT:
        return None
    return (
        f"base against base differs by {z:.1f} standard errors in one series; "
        f"up to {CONTROL_LIMIT:.0f} is chance"
    )


def control_statistic(main: Floats, control: Floats) -> float | None:
    """The largest distance of a control series from nothing, in standard errors."""
    if len(main) < 2 or not len(control):
        return None
    there = ~(np.isnan(main).any(axis=0) | np.isnan(control).any(axis=0))
    if not there.any():
        return None
    spread = main[:, there].std(axis=0, ddof=1)
    spread = np.maximum(spread, max(np.median(spread) / 2, LEAST_SPREAD))
    z = np.abs(control[:, there].mean(axis=0)) / spread * math.sqrt(len(control))
    return float(z.max())


def outcome_of(verdicts: Sequence[SeriesVerdict], moved: str | None) -> tuple[Verdict, str]:
    """What all verdicts come to, and why: the worst of them, and invalid where a control moved."""
    if moved is not None:
        return INVALID, moved
    words = [verdict.verdict for verdict in verdicts] or [INVALID]
    word = min(words, key=VERDICTS.index)
    reasons = dict.fromkeys(v.reason for v in verdicts if v.verdict == word and v.reason)
    return word, "; ".join(reasons) if word in (INVALID, INCONCLUSIVE) else ""


def _too_few(pairs: int) -> str:
    return f"{pairs} pairs; a verdict needs {FIRST_LOOKS[0]}: raise --budget, or name fewer cases"
