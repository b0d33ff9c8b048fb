"""From the rows of pairs to a verdict for each series, and whether more pairs are worth taking."""

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from bench.gate.interim_looks import FIRST_LOOKS, shares
from bench.gate.reduction import COLUMNS, rows
from bench.gate.signflip import (
    PATTERNS,
    adjusted_p,
    critical_t,
    sign_patterns,
    statistics_under,
)
from bench.records.gate_report import PairRecord, Rules, SeriesVerdict
from bench.records.verdicts import (
    EQUIVALENT,
    FASTER,
    IMPROVED,
    INCONCLUSIVE,
    INVALID,
    REGRESSED,
    SLOWER,
    VERDICTS,
    Verdict,
    Way,
)
from bench.stats.estimates import CONFIDENCE, Floats

EQUIVALENCE_ALPHA = 0.05
"""Of each of the two one-sided tests; spent over the looks as alpha is."""
HINT = 2.0
"""A t from which on there may be a difference: a series that passes it is worth more pairs."""
POWER = 0.8


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


def threshold_of(comparison: str, rules: Rules) -> float:
    """The practical threshold of a comparison, a share."""
    fitting = [t for pattern, t in rules.thresholds.items() if fnmatch.fnmatch(comparison, pattern)]
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
        for place, (comparison, _) in enumerate(series)
        if comparison not in ended and not np.isnan(table[:, :, place]).any()
    ]
    reasons = [ended.get(comparison, "a pair has no time of it") for comparison, _ in series]
    found = [
        SeriesVerdict(c, s, INVALID, reason) for (c, s), reason in zip(series, reasons, strict=True)
    ]
    if not there:
        return found
    columns, critical = _columns(table[:, :, there], looked, rules.alpha, patterns)
    for place, of_series in zip(there, columns, strict=True):
        comparison, name = series[place]
        base = [ns for pair in pairs if (ns := pair.base_ns[place]) is not None]
        verdict = SeriesVerdict(comparison, name, INCONCLUSIVE, base_ns=float(np.median(base)))
        threshold = threshold_of(comparison, rules)
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
    critical, last = math.inf, 0.0
    for count, share in zip(looked, shares(), strict=False):
        t = statistics_under(sign_patterns(count, patterns), flat[:count])
        p_slower, p_faster = adjusted_p(t), adjusted_p(-t)
        slower |= p_slower <= alpha * share
        faster |= p_faster <= alpha * share
        critical = critical_t(t, alpha * share)
        last = share
    columns = [
        replace(
            column_of(flat[:, i], EQUIVALENCE_ALPHA * last),
            slower=bool(slower[i]),
            faster=bool(faster[i]),
            p_slower=float(p_slower[i]),
            p_faster=float(p_faster[i]),
        )
        for i in range(kinds * series)
    ]
    return [columns[place::series] for place in range(series)], critical


def column_of(values: Floats, equivalence_alpha: float) -> Column:
    """The mean over pairs, and Student's intervals."""
    pairs = len(values)
    error = float(values.std(ddof=1) / math.sqrt(pairs))
    return Column(
        effect=float(values.mean()),
        half=float(special.stdtrit(pairs - 1, (1 + CONFIDENCE) / 2)) * error,
        equivalence_half=float(special.stdtrit(pairs - 1, 1 - equivalence_alpha)) * error,
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
    worse = _called(columns, SLOWER, threshold)
    better = _called(columns, FASTER, threshold)
    equivalent = all(_reach(column) <= most for column in (usual, mean))
    called = better if worse is None else worse
    wider = int(not equivalent and _reach(mean) > _reach(usual))
    shown = wider if called is None else called
    column = columns[shown]
    verdict.statistic = COLUMNS[shown]
    verdict.effect, verdict.half = column.effect, column.half
    verdict.p_slower = min(c.p_slower for c in columns)
    verdict.p_faster = min(c.p_faster for c in columns)
    # Below the threshold a difference may be proven either way: what is called comes first.
    slower, faster = any(c.slower for c in columns), any(c.faster for c in columns)
    if worse is not None or (slower and better is None):
        verdict.proven = SLOWER
    elif faster:
        verdict.proven = FASTER
    if math.isfinite(critical):
        verdict.detectable = (critical + float(special.ndtri(POWER))) * column.error
    below = (
        f"proven {verdict.proven}, but not by the threshold of {threshold:.1%}"
        if called is None and verdict.proven is not None
        else ""
    )
    if called is not None:
        verdict.verdict = REGRESSED if worse is not None else IMPROVED
        if shown:
            verdict.reason = (
                f"{verdict.proven} by the mean step or slow ones, not by the usual step"
            )
    elif equivalent:
        verdict.verdict, verdict.reason = EQUIVALENT, below
        # It may yet hide a slowdown smaller than the margin, unless nothing hints at one.
        verdict.settled = all(c.effect < HINT * c.error for c in (usual, mean, slow))
    else:
        verdict.verdict, verdict.settled = INCONCLUSIVE, False
        verdict.more_pairs = _more_pairs(column, most, pairs)
        verdict.reason = below or f"the {verdict.statistic} step may differ by more than the margin"
    return verdict


def _called(columns: Sequence[Column], way: Way, threshold: float) -> int | None:
    """Which column calls a difference this way: its place in COLUMNS; None where none does.

    Slow steps may prove a difference; what it amounts to is the mean step's to tell, which must
    then agree that there is one.
    """
    sign = 1 if way == SLOWER else -1
    proven = [column.slower if way == SLOWER else column.faster for column in columns]
    usual, mean, _ = (sign * column.effect for column in columns)
    least = math.log1p(threshold)
    if proven[0] and usual >= least:
        return 0
    agrees = mean > HINT * columns[1].error or proven[1]
    if (proven[1] or proven[2]) and mean >= least and agrees:
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

    No verdict is likely to change; or a clear regression must be looked at whatever else there is.
    """
    return clearly_regressed(verdicts, rules) or all(verdict.settled for verdict in verdicts)


def clearly_regressed(verdicts: Sequence[SeriesVerdict], rules: Rules) -> bool:
    """Whether a series regressed by more than the margin, its interval too."""
    most = math.log1p(rules.margin)
    return any(
        verdict.verdict == REGRESSED and (verdict.effect or 0.0) - (verdict.half or 0.0) > most
        for verdict in verdicts
    )


def outcome_of(verdicts: Sequence[SeriesVerdict], moved: str | None) -> tuple[Verdict, str]:
    """What all verdicts come to, and why: the worst of them.

    Where a control moved none of them holds, and all become invalid.
    """
    if moved is not None and any(verdict.verdict != INVALID for verdict in verdicts):
        for verdict in verdicts:
            verdict.verdict, verdict.reason = INVALID, moved
        return INVALID, moved
    words = [verdict.verdict for verdict in verdicts] or [INVALID]
    word = min(words, key=VERDICTS.index)
    reasons = dict.fromkeys(v.reason for v in verdicts if v.verdict == word and v.reason)
    return word, "; ".join(reasons) if word in (INVALID, INCONCLUSIVE) else ""


def _too_few(pairs: int) -> str:
    return f"{pairs} pairs; a verdict needs {FIRST_LOOKS[0]}: raise --budget, or name fewer cases"
