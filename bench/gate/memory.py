"""The verdict on the peak of memory: a count, which needs no test."""

import math
import statistics
from collections.abc import Sequence

from ..matrix.case import PEAK_MEMORY
from ..records.gate_report import GateReport, PairRecord, Rules, SeriesVerdict
from ..records.verdicts import EQUIVALENT, IMPROVED, INCONCLUSIVE, REGRESSED
from ..runner.pairs import MEMORY_PAIRS
from ..units import memory
from .verdicts import threshold_of

REPEATED = 3
"""Fewer are enough where each side's are all the same."""
LEAST_BYTES = 4096
"""A smaller difference is none. An assumption: a page, less than which no process takes."""


def judge_memory(report: GateReport) -> list[SeriesVerdict]:
    """The verdicts on the comparisons that have counts of enough pairs.

    They are outside the family of times: they neither share its error rate nor settle a run.
    """
    return [
        verdict
        for comparison in (c.id for c in report.comparisons if c.id not in report.ended)
        if (verdict := _judge(comparison, report.pairs, report.rules)) is not None
    ]


def _judge(comparison: str, pairs: Sequence[PairRecord], rules: Rules) -> SeriesVerdict | None:
    """The verdict on the counts of a comparison; None where they are too few.

    Sides differ where the smallest count of one is above the greatest of the other, by more than
    the threshold and LEAST_BYTES. They are equivalent where no two counts differ by as much.
    """
    counts = [pair.peak_bytes[comparison] for pair in pairs if comparison in pair.peak_bytes]
    sides: list[set[int]] = [set(side) for side in zip(*counts, strict=True)]
    repeat = all(len(side) == 1 for side in sides)
    if len(counts) < (REPEATED if repeat else MEMORY_PAIRS):
        return None
    base, head = zip(*counts, strict=True)
    before, after = statistics.median(base), statistics.median(head)
    effect = math.log(max(after, 1) / max(before, 1))
    verdict = SeriesVerdict(comparison, PEAK_MEMORY, EQUIVALENT, base_bytes=before, effect=effect)
    threshold = threshold_of(comparison, rules)

    def is_above(count: int, other: int) -> bool:
        return count - other >= LEAST_BYTES and count >= other * (1 + threshold)

    if not is_above(max(*base, *head), min(*base, *head)):
        if abs(after - before) >= LEAST_BYTES:
            verdict.reason = f"{PEAK_MEMORY} differs by less than the threshold of {threshold:.1%}"
    elif is_above(min(head), max(base)) or is_above(min(base), max(head)):
        verdict.verdict = REGRESSED if after > before else IMPROVED
        verdict.reason = f"{PEAK_MEMORY} {memory(before)} -> {memory(after)}"
    else:
        verdict.verdict = INCONCLUSIVE
        verdict.reason = (
            f"{PEAK_MEMORY} is not the same in every process: {_range(base)} on the base, "
            f"{_range(head)} on the head"
        )
    return verdict


def _range(counts: Sequence[int]) -> str:
    return f"{memory(min(counts))} to {memory(max(counts))}"
