"""The verdict on the peak of memory: a count, which needs no test."""

import math
import statistics
from collections.abc import Sequence

from ..matrix.case import PEAK_MEMORY
from ..records.gate_report import GateReport, PairRecord, Rules, SeriesVerdict
from ..records.verdicts import EQUIVALENT, IMPROVED, REGRESSED
from ..units import memory
from .verdicts import threshold_of

MIN_COUNTS = 3
"""Pairs that counted, from which on there is a verdict. An assumption: counts repeat."""
LEAST_BYTES = 4096
"""A smaller difference is none. An assumption: a page, less than which no process takes."""


def judge_memory(report: GateReport) -> tuple[list[SeriesVerdict], dict[str, str]]:
    """The verdicts, and comparison to why there is none where there are counts.

    They are outside the family of times: they neither share its error rate nor settle a run.
    """
    verdicts: list[SeriesVerdict] = []
    unjudged: dict[str, str] = {}
    for comparison in (c.id for c in report.comparisons if c.id not in report.ended):
        match _judge(comparison, report.pairs, report.rules):
            case SeriesVerdict() as verdict:
                verdicts.append(verdict)
            case str() as reason:
                unjudged[comparison] = reason
    return verdicts, unjudged


def _judge(
    comparison: str, pairs: Sequence[PairRecord], rules: Rules
) -> SeriesVerdict | str | None:
    """The verdict, or why the counts of a comparison have none; None where they are too few.

    Sides differ where the difference of their medians is more than the threshold and LEAST_BYTES,
    and all counts of one side lie further from all of the other's than those of any side scatter.
    """
    counts = [pair.peak_bytes[comparison] for pair in pairs if comparison in pair.peak_bytes]
    if len(counts) < MIN_COUNTS:
        return None
    base, head = zip(*counts, strict=True)
    before, after = statistics.median(base), statistics.median(head)
    effect = math.log(max(after, 1) / max(before, 1))
    verdict = SeriesVerdict(comparison, PEAK_MEMORY, EQUIVALENT, base_bytes=before, effect=effect)
    if abs(after - before) < LEAST_BYTES:
        return verdict
    threshold = threshold_of(comparison, rules)
    if abs(math.expm1(effect)) < threshold:
        verdict.reason = f"{PEAK_MEMORY} differs by less than the threshold of {threshold:.1%}"
        return verdict
    scatter = max(max(base) - min(base), max(head) - min(head))
    apart = max(min(head) - max(base), min(base) - max(head))
    if apart <= scatter:
        return (
            f"its counts scatter by {memory(scatter)} within a side, and the sides differ by "
            f"{memory(abs(after - before))}"
        )
    verdict.verdict = REGRESSED if after > before else IMPROVED
    verdict.reason = f"{PEAK_MEMORY} {memory(before)} -> {memory(after)}"
    return verdict
