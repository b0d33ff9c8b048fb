"""What the gate found: a row for each series, and the notes below."""

import math
from collections import Counter
from pathlib import Path

from msgspec import structs

from ..machine.circumstances import exchanged
from ..matrix.axes import columns_of
from ..matrix.case import PEAK_MEMORY
from ..records.gate_report import GateReport, SeriesVerdict
from ..records.verdicts import (
    EQUIVALENT,
    FAILED,
    IMPROVED,
    INCONCLUSIVE,
    INVALID,
    NO_BASELINE,
    REGRESSED,
    VERDICTS,
)
from ..report.notes import BESIDE_ANOTHER, impossible
from ..report.view import Row, Table, View, Worth
from ..units import duration, memory, percent
from .memory import LEAST_BYTES
from .verdicts import clearly_regressed

LONGEST_S = 3600.0
"""More time than that is not worth a proposal."""
MDE = "MDE (80% power)"
WORTH: Worth = ((MDE,), ("adjusted p",), ("base",), ("statistic",))


def report_view(report: GateReport, path: Path | None = None) -> View:
    """A row for each series, the worst first; the outcome and what it rests on; `path` at the end.

    The records are the verdicts, a row a series, effects as logarithms.
    """
    cases = [case for pair in report.comparisons for case in (pair.base, pair.head)]
    axes = columns_of(case.own_values for case in cases)
    varying = [name for name in axes if len({case.axes.get(name, "") for case in cases}) > 1]
    varying = varying or [*cases[0].own_values][:1] or ["workload"]
    comparisons = {comparison.id: comparison for comparison in report.comparisons}
    rows: list[Row] = []
    for verdict in sorted(report.verdicts, key=_rank):
        comparison = comparisons[verdict.comparison]
        row: Row = {"verdict": verdict.verdict}
        for name in varying:
            base, head = (case.axes.get(name, "") for case in (comparison.base, comparison.head))
            row[name] = base if base == head else f"{base} -> {head}"
        row |= {
            "series": verdict.series,
            "base": _base(verdict),
            "head vs base": effect_text(verdict),
            "statistic": "" if verdict.half is None else verdict.statistic,
            "adjusted p": _p(verdict.p_slower),
            MDE: "-" if verdict.detectable is None else percent(verdict.detectable),
        }
        rows.append(row)
    notes = [*_notes(report), *([f"Report: {path}"] if path else [])]
    return View([Table(rows, WORTH)], notes, list(map(structs.asdict, report.verdicts)))


def headline(report: GateReport) -> str:
    """The outcome in one line."""
    counted = [verdict for verdict in report.counted if verdict.series != PEAK_MEMORY]
    count = sum(verdict.verdict == report.outcome for verdict in counted)
    of = f"{count} of {len(counted)} series"
    found = {
        REGRESSED: f"{of} slower{_peaks(report, 'higher')}",
        IMPROVED: f"{of} faster{_peaks(report, 'lower')}, none regressed",
        EQUIVALENT: f"all {len(counted)} series within the margin",
        INCONCLUSIVE: f"{of} not settled{_peaks(report, 'unclear')}, none regressed",
        FAILED: f"{of} cannot be timed on the head: {report.reason}",
        INVALID: report.reason,
        NO_BASELINE: f"{of} cannot be timed on the base: {report.reason}",
    }
    return f"{report.outcome.upper()}: {found[report.outcome]}."


def _peaks(report: GateReport, way: str) -> str:
    """In how many cases the peak of memory has the run's outcome; nothing where in none."""
    peaks = [verdict for verdict in report.counted if verdict.series == PEAK_MEMORY]
    count = sum(verdict.verdict == report.outcome for verdict in peaks)
    return f", {PEAK_MEMORY} {way} in {count} of {len(peaks)} cases" if count else ""


def effect_text(verdict: SeriesVerdict) -> str:
    """For example `+2.1% ± 0.4%`; of a count `+2.1%`."""
    if verdict.effect is None:
        return "-"
    ratio = math.exp(verdict.effect)
    if verdict.half is None:
        return f"{100 * (ratio - 1):+.2f}%"
    return f"{100 * (ratio - 1):+.2f}% ± {100 * ratio * verdict.half:.2f}%"


def how_to_settle(report: GateReport) -> list[str]:
    """What to do about the times that are inconclusive, in a line; nothing where none is."""
    unsettled = [
        v for v in report.verdicts if v.verdict == INCONCLUSIVE and v.series != PEAK_MEMORY
    ]
    pairs = sum(not pair.control for pair in report.pairs)
    if not unsettled or not pairs:
        return []
    if clearly_regressed(report.verdicts, report.rules):
        return [
            "A clear regression ends a run before all series are settled: fix it, or leave its "
            "cases out, to settle what is inconclusive."
        ]
    known = [v.more_pairs for v in unsettled if v.more_pairs is not None]
    pair_s = sum(pair.wall_s for pair in report.pairs) / pairs  # its share of controls included
    more_s = max(known) * pair_s if known else report.budget_s
    if more_s > LONGEST_S:
        return [
            "More than an hour would be needed to settle what is inconclusive: name fewer cases "
            "(by id, or with --batch and the like), or widen --margin."
        ]
    budget_s = max(report.budget_s, report.wall_s) + more_s
    unit = 10 ** max(math.floor(math.log10(budget_s)) - 1, 0)  # two digits are enough
    budget = f"--budget {math.ceil(budget_s / unit) * unit}"
    if not known:
        return [
            "What is inconclusive seems to differ by the margin or more, and no difference was "
            f"detected: repeat the command with twice the time, {budget}."
        ]
    minutes = math.ceil(more_s / 60)
    some = f"{len(known)} of the {len(unsettled)} inconclusive series"
    return [
        f"About {minutes} more minute{'s' * (minutes != 1)} would settle "
        f"{'what is inconclusive' if len(known) == len(unsettled) else some}: repeat the command "
        f"with {budget}."
    ]


def _notes(report: GateReport) -> list[str]:
    rules, notes = report.rules, [headline(report)]
    for word in VERDICTS:
        found = [verdict.reason for verdict in report.verdicts if verdict.verdict == word]
        reasons = [
            why if number == len(found) else f"{why} ({number})"
            for why, number in Counter(found).items()
            if why
        ]
        if found:
            because = f": {'; '.join(reasons)}" if reasons else ""
            notes.append(f"{word}: {len(found)} of {len(report.verdicts)} series{because}.")
    notes += how_to_settle(report)
    notes += [f"Not measured: {name}: {reason}." for name, reason in report.ended.items()]
    notes += [f"Not measured, on neither side: {step}." for step in report.nowhere]
    memoryless = sorted({*report.without_memory} - {*report.ended})
    notes += [
        f"{PEAK_MEMORY.capitalize()} not judged: {name}: {report.without_memory[name]}."
        for name in memoryless
    ]
    controls = sum(pair.control for pair in report.pairs)
    startup = sum(pair.startup_s for pair in report.pairs)
    share = f", of which {startup / report.wall_s:.0%} starting workers" if report.wall_s else ""
    notes += [
        f"{len(report.pairs) - controls} pairs of fresh processes and {controls} A/A control pairs "
        f"(base against base), {report.wall_s:.0f} s{share}.",
        f"regressed: slower by {rules.threshold:.1%} or more, and statistically significant at a "
        f"family-wise error rate of {rules.alpha:.1%} over all series; equivalent: within "
        f"{rules.margin:.1%}; {MDE}: the slowdown detected four times in five; ± is a 95% "
        "interval.",
    ]
    if any(verdict.series == PEAK_MEMORY for verdict in report.verdicts):
        notes.append(
            f"{PEAK_MEMORY}: the most that training takes, above the net and its data. It is a "
            f"count, which needs no test: regressed is more by {rules.threshold:.1%} and "
            f"{memory(LEAST_BYTES)} in every process."
        )
    if rules.thresholds:
        own = ", ".join(f"{share:.1%} for {name}" for name, share in rules.thresholds.items())
        notes.append(f"Thresholds of their own: {own}.")
    for side in report.sides:
        devices = "".join(f"{name}: {device}, " for name, device in side.devices.items())
        notes.append(
            f"{side.name}: {side.what}; {devices}subject {side.subject_hash}, torch {side.torch}, "
            f"Python {side.python}, {side.threads} thread{'s' * (side.threads != 1)} in the first "
            "case."
        )
    if _same_code(report):
        notes.append(
            "Importing the steps loaded the same code on both sides: what changed between them is "
            "not what is measured here."
        )
    if exchanged(side.devices for side in report.sides):
        notes.append("The sides ran on different devices: what differs may be theirs.")
    if report.beside_another:
        notes.append(BESIDE_ANOTHER)
    if report.impossible_blocks:
        notes.append(impossible(report.impossible_blocks))
    machine = report.machine
    instrument = machine.code_hash.partition("-")[0]  # the commit may be of a user's repository
    notes.append(
        f"{machine.label}: {machine.cpu}, {machine.cores_used}; commit {machine.revision}, "
        f"instrument {instrument}, {report.environment} environment."
    )
    return notes


def _base(verdict: SeriesVerdict) -> str:
    if verdict.base_bytes is not None:
        return memory(verdict.base_bytes)
    return "-" if verdict.base_ns is None else duration(verdict.base_ns)


def _same_code(report: GateReport) -> bool:
    """Whether sides that were laid out of different trees loaded the same code."""
    base, head = report.sides
    is_plain = all(comparison.base == comparison.head for comparison in report.comparisons)
    return (
        is_plain
        and base.subject_hash == head.subject_hash
        and (base.torch, base.environment) == (head.torch, head.environment)
        and base.what != head.what
    )


def _rank(verdict: SeriesVerdict) -> tuple[int, float]:
    effect = verdict.effect or 0.0
    return VERDICTS.index(verdict.verdict), effect if verdict.verdict == IMPROVED else -effect


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "< 0.01%" if value < 1e-4 else f"{value:.2%}"
