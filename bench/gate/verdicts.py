"""From the rows of pairs to a verdict for each series, and whether more pairs are worth taking."""

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ..matrix.case import PEAK_MEMORY
from ..records.gate_report import PairRecord, Rules, SeriesVerdict
from ..records.verdicts import (
    EQUIVALENT,
    FAILED,
    FASTER,
    IMPROVED,
    INCONCLUSIVE,
    INVALID,
    NO_BASELINE,
    REGRESSED,
    SLOWER,
    UNTIMED,
    Verdict,
    worst,
)
from ..runner.pairs import Ended
from ..stats.estimates import CONFIDENCE, POWER_SIGMAS, Floats
from .interim_looks import FIRST_LOOKS, shares
from .reduction import COLUMNS, rows
from .signflip import PATTERNS, adjusted_p, critical_t, sign_patterns, statistics_under

EQUIVALENCE_ALPHA = 0.05
"""Of each of the two one-sided tests; spent over the looks as alpha is."""
CODE_FAULTS = ("failed", "invalid", "oom")
"""What becomes of a case that its code cannot run."""
HINT = 2.0
"""A t from which on there may be a difference: a series that passes it is worth more pairs."""


@dataclass(frozen=True)
class Evidence:
    """What all pairs show: arrays of COLUMNS by series; logarithms of head / base."""

    pairs: int
    effect: Floats
    error: Floats
    """Standard error of the effect."""
    half: Floats
    """Half the width of the two-sided interval of CONFIDENCE."""
    equivalence_half: Floats
    """That of the interval that must lie inside the margin."""
    slower: NDArray[np.bool_]
    """Whether detected, at the last look or an earlier one."""
    faster: NDArray[np.bool_]
    p_slower: Floats
    p_faster: Floats
    critical_t: float
    """The t that detects at the last look."""


def threshold_of(comparison: str, rules: Rules) -> float:
    """The practical threshold of a comparison, a share."""
    fitting = [t for pattern, t in rules.thresholds.items() if fnmatch.fnmatch(comparison, pattern)]
    return fitting[-1] if fitting else rules.threshold


def judge(
    series: Sequence[tuple[str, str]],
    pairs: Sequence[PairRecord],
    unjudged: Mapping[tuple[str, str], tuple[Verdict, str]],
    rules: Rules,
    looked: Sequence[int],
    patterns: int = PATTERNS,
) -> list[SeriesVerdict]:
    """The verdict of every series, after interim looks at these numbers of pairs.

    Those `unjudged`, whose measuring has ended, have the verdict and the reason given there.
    What one look detects stays detected; its size is estimated from all pairs.
    """
    table = rows(pairs, control=False)
    enough = len(table) >= FIRST_LOOKS[0]
    lacking = (
        "a pair has no time of it"
        if enough
        else f"{len(table)} pairs; a verdict needs {FIRST_LOOKS[0]}: raise --budget, or name fewer "
        "cases"
    )
    found = [SeriesVerdict(*key, *unjudged.get(key, (INVALID, lacking))) for key in series]
    known = [
        place
        for place, key in enumerate(series)
        if enough and key not in unjudged and not np.isnan(table[:, :, place]).any()
    ]
    if known:
        evidence = _evidence(table[:, :, known], looked, rules.alpha, patterns)
        for index, place in enumerate(known):
            base = [ns for pair in pairs if (ns := pair.base_ns[place]) is not None]
            found[place] = SeriesVerdict(
                *series[place], INCONCLUSIVE, base_ns=np.median(base).item()
            )
            _judge_series(found[place], evidence, index, rules)
    return found


def _evidence(table: Floats, looked: Sequence[int], alpha: float, patterns: int) -> Evidence:
    """The columns of all series, tested as one family."""
    pairs, *shape = table.shape
    flat = table.reshape(pairs, -1)
    slower = faster = np.zeros(flat.shape[1], bool)
    for count, share in zip(looked, shares(), strict=False):
        t = statistics_under(sign_patterns(count, patterns), flat[:count])
        p_slower, p_faster = adjusted_p(t), adjusted_p(-t)
        slower = slower | (p_slower <= alpha * share)
        faster = faster | (p_faster <= alpha * share)
        critical = critical_t(t, alpha * share)
    error = table.std(axis=0, ddof=1) / math.sqrt(pairs)
    return Evidence(
        pairs,
        effect=table.mean(axis=0),
        error=error,
        half=special.stdtrit(pairs - 1, (1 + CONFIDENCE) / 2) * error,
        equivalence_half=special.stdtrit(pairs - 1, 1 - EQUIVALENCE_ALPHA * share) * error,
        slower=slower.reshape(shape),
        faster=faster.reshape(shape),
        p_slower=p_slower.reshape(shape),
        p_faster=p_faster.reshape(shape),
        critical_t=critical,
    )


def _judge_series(verdict: SeriesVerdict, evidence: Evidence, series: int, rules: Rules) -> None:
    """Complete the verdict of one series from its evidence.

    The upper tail may detect a difference, but its size is that of the lower quartile or of the
    mean, whichever detected it; the mean's where the upper tail alone did.
    """
    effect, error = evidence.effect[:, series], evidence.error[:, series]
    slower, faster = evidence.slower[:, series], evidence.faster[:, series]
    threshold, margin = threshold_of(verdict.comparison, rules), math.log1p(rules.margin)
    reach = np.abs(effect) + evidence.equivalence_half[:, series]
    equivalent = bool((reach[:2] <= margin).all())
    worse = _decisive(effect, error, slower, threshold)
    decisive = _decisive(-effect, error, faster, threshold) if worse is None else worse
    shown = int(not equivalent and reach[1] > reach[0]) if decisive is None else decisive
    verdict.statistic = COLUMNS[shown]
    verdict.effect = float(effect[shown])
    verdict.half = float(evidence.half[shown, series])
    verdict.p_slower = float(evidence.p_slower[:, series].min())
    verdict.p_faster = float(evidence.p_faster[:, series].min())
    # Below the threshold both ways may be detected: the decisive one comes first.
    if worse is not None or (slower.any() and decisive is None):
        verdict.detected = SLOWER
    elif faster.any():
        verdict.detected = FASTER
    if math.isfinite(evidence.critical_t):
        verdict.detectable = float((evidence.critical_t + POWER_SIGMAS) * error[shown])
    if decisive is not None:
        verdict.verdict = IMPROVED if worse is None else REGRESSED
        if shown:
            verdict.reason = (
                f"{verdict.detected} in the mean or the upper tail, not in the lower quartile"
            )
        return
    if verdict.detected is not None:
        verdict.reason = f"{verdict.detected} by less than the threshold of {threshold:.1%}"
    if equivalent:
        verdict.verdict = EQUIVALENT
        # It may yet hide a slowdown smaller than the margin, unless nothing hints at one.
        verdict.settled = bool((effect < HINT * error).all())
        return
    verdict.verdict, verdict.settled = INCONCLUSIVE, False
    verdict.reason = verdict.reason or f"the {verdict.statistic} may differ by more than the margin"
    room = margin - abs(verdict.effect)
    if room > 0:  # else no number of pairs would do, if the effect stays
        wanted = evidence.pairs * (evidence.equivalence_half[shown, series] / room) ** 2
        verdict.more_pairs = max(math.ceil(wanted) - evidence.pairs, 1)


def _decisive(
    effect: Floats, error: Floats, detected: NDArray[np.bool_], threshold: float
) -> int | None:
    """Which of COLUMNS makes it a slowdown, the lower quartile or the mean; None for neither.

    What the upper tail alone detects needs a mean that agrees.
    """
    least = math.log1p(threshold)
    if detected[0] and effect[0] >= least:
        return 0
    agreed = detected[1] or (detected[2] and effect[1] > HINT * error[1])
    return 1 if agreed and effect[1] >= least else None


def decided(verdicts: Sequence[SeriesVerdict], rules: Rules) -> bool:
    """Whether no verdict is likely to change, or a clear regression needs a person already."""
    return clearly_regressed(verdicts, rules) or all(verdict.settled for verdict in verdicts)


def clearly_regressed(verdicts: Sequence[SeriesVerdict], rules: Rules) -> bool:
    """Whether a series regressed by more than the margin, its whole interval too."""
    margin = math.log1p(rules.margin)
    return any(
        verdict.verdict == REGRESSED
        and verdict.series != PEAK_MEMORY  # which ends no run
        and (verdict.effect or 0.0) - (verdict.half or 0.0) > margin
        for verdict in verdicts
    )


def outcome_of(verdicts: Sequence[SeriesVerdict], moved: str | None) -> tuple[Verdict, str]:
    """The outcome of a run, and why it is not settled; nothing where it is.

    Where the A/A control failed (`moved`), all verdicts that rest on times become invalid.
    """
    timed = [v for v in verdicts if v.series != PEAK_MEMORY and v.verdict not in UNTIMED]
    if moved is not None:
        for verdict in timed:
            verdict.verdict, verdict.reason = INVALID, moved
    word = worst(verdict.verdict for verdict in verdicts)
    reasons = dict.fromkeys(v.reason for v in verdicts if v.verdict == word and v.reason)
    return word, "; ".join(reasons) if word in (*UNTIMED, INCONCLUSIVE) else ""


def verdict_of(ended: Ended, *, measured: bool) -> Verdict:
    """The verdict on a comparison that is not measured any further.

    Where one side's code cannot run what the other's can, that is what is known of it. What was
    `measured` before could be run; and a timeout or a signal may be the machine's doing.
    """
    if measured or ended.status not in CODE_FAULTS:
        return INVALID
    verdicts: dict[str, Verdict] = {"base": NO_BASELINE, "head": FAILED}
    return verdicts.get(ended.side, INVALID)
