"""What the gate found, as a table and in words."""

import math
from collections.abc import Sequence

from bench.gate.verdicts import clearly_regressed
from bench.matrix.axes import AXES
from bench.records.gate_report import GateReport, SeriesVerdict
from bench.records.verdicts import EQUIVALENT, IMPROVED, INCONCLUSIVE, INVALID, REGRESSED, VERDICTS
from bench.report.tables import Row, records, render
from bench.report.terminal import Worth
from bench.units import duration, percent

LONGEST_S = 3600.0
"""More time than that is not worth a proposal."""
EXIT_STATUS = {REGRESSED: 1, INVALID: 3, INCONCLUSIVE: 3, IMPROVED: 0, EQUIVALENT: 0}

WORTH: Worth = (("could see",), ("p slower",), ("base",), ("of",))


def exit_status(report: GateReport) -> int:
    """0 nothing regressed, 1 something did, 3 not settled."""
    return EXIT_STATUS[report.outcome]


def verdict_table(report: GateReport, style: str, width: int | None = None) -> str:
    """A row for each series, what matters most first."""
    if style == "csv":
        return render(_numeric_rows(report), style)
    names = _varying(report)
    cases = {comparison.id: comparison for comparison in report.comparisons}
    rows: list[Row] = []
    for verdict in sorted(report.verdicts, key=_weight):
        comparison = cases[verdict.comparison]
        row: Row = {"verdict": verdict.verdict}
        for name in names:
            base, head = comparison.base.axes[name], comparison.head.axes[name]
            row[name] = base if base == head else f"{base} -> {head}"
        row |= {
            "series": verdict.series,
            "base": "-" if verdict.base_ns is None else duration(verdict.base_ns),
            "head vs base": effect_text(verdict),
            "of": "" if verdict.effect is None else f"{verdict.statistic} step",
            "p slower": _p(verdict.p_slower),
            "could see": "-" if verdict.detectable is None else percent(verdict.detectable),
        }
        rows.append(row)
    return render(rows, style, WORTH, width) if rows else "Nothing was measured."


def verdict_lines(report: GateReport) -> list[str]:
    """What a reader of the table must know: the outcome first."""
    rules, lines = report.rules, [headline(report)]
    for word in VERDICTS:
        found = [verdict for verdict in report.verdicts if verdict.verdict == word]
        if found:
            lines.append(f"{word}: {len(found)} of {len(report.verdicts)} series{_reasons(found)}.")
    lines += how_to_settle(report)
    lines += [
        f"Not measured: {comparison}: {reason}." for comparison, reason in report.ended.items()
    ]
    main = [pair for pair in report.pairs if not pair.control]
    controls = len(report.pairs) - len(main)
    startup = sum(pair.startup_s for pair in report.pairs)
    share = f", of which {startup / report.wall_s:.0%} starting workers" if report.wall_s else ""
    lines += [
        f"{len(main)} pairs of fresh processes and {controls} control pairs (base against base), "
        f"{report.wall_s:.0f} s{share}.",
        f"regressed: proven slower, with a chance of {rules.alpha:.1%} that any series of "
        f"identical sides is, and by {rules.threshold:.1%} or more; equivalent: within "
        f"{rules.margin:.1%}; "
        "could see: the least slowdown proven four times in five; ± is a 95% interval.",
    ]
    if rules.thresholds:
        own = ", ".join(f"{share:.1%} for {name}" for name, share in rules.thresholds.items())
        lines.append(f"Thresholds of their own: {own}.")
    for side in report.sides:
        lines.append(
            f"{side.name}: {side.what}; subject {side.subject_hash}, torch {side.torch}, Python "
            f"{side.python}, {side.threads} thread{'s' * (side.threads != 1)} in the first case."
        )
    machine = report.machine
    lines.append(
        f"{machine.label}: {machine.cpu}, {machine.cores_used}; "
        f"instrument {machine.revision}, {report.environment} "
        "environment."
    )
    return lines


def how_to_settle(report: GateReport) -> list[str]:
    """What to do about the series that are inconclusive, in a line; nothing where none is."""
    unsettled = [v for v in report.verdicts if v.verdict == INCONCLUSIVE]
    pairs = sum(not pair.control for pair in report.pairs)
    if not unsettled or not pairs:
        return []
    if clearly_regressed(report.verdicts, report.rules):
        return [
            "A regression beyond doubt ends a run before all is settled: mend it, or leave its "
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
    budget = f"--budget {_round_up(max(report.budget_s, report.wall_s) + more_s)}"
    if not known:
        return [
            "What is inconclusive seems to differ by the margin or more, and is not proven to: "
            f"give it twice the time, with the same command and {budget}."
        ]
    minutes = math.ceil(more_s / 60)
    some = f"{len(known)} of the {len(unsettled)} inconclusive series"
    return [
        f"About {minutes} more minute{'s' * (minutes != 1)} would settle "
        f"{'what is inconclusive' if len(known) == len(unsettled) else some}: give the same "
        f"command with {budget}."
    ]


def headline(report: GateReport) -> str:
    """The outcome in one line."""
    count = sum(verdict.verdict == report.outcome for verdict in report.verdicts)
    of = f"{count} of {len(report.verdicts)} series"
    match report.outcome:
        case "regressed":
            return f"REGRESSED: {of} slower."
        case "improved":
            return f"IMPROVED: {of} faster, none regressed."
        case "equivalent":
            return f"EQUIVALENT: all {len(report.verdicts)} series within the margin."
        case "inconclusive":
            return f"INCONCLUSIVE: {of} not settled, none regressed."
    return f"INVALID: {report.reason}."


def effect_text(verdict: SeriesVerdict) -> str:
    """For example `+2.1% ± 0.4%`."""
    if verdict.effect is None or verdict.half is None:
        return "-"
    ratio = math.exp(verdict.effect)
    return f"{100 * (ratio - 1):+.2f}% ± {100 * ratio * verdict.half:.2f}%"


def _weight(verdict: SeriesVerdict) -> tuple[int, float]:
    effect = verdict.effect or 0.0
    return VERDICTS.index(verdict.verdict), effect if verdict.verdict == IMPROVED else -effect


def _varying(report: GateReport) -> list[str]:
    """Axes in which comparisons differ, from each other or within themselves."""
    values = {
        name: {(c.base.axes[name], c.head.axes[name]) for c in report.comparisons} for name in AXES
    }
    return [
        name for name, seen in values.items() if len(seen) > 1 or any(b != h for b, h in seen)
    ] or ["batch"]


def _reasons(found: Sequence[SeriesVerdict]) -> str:
    counts: dict[str, int] = {}
    for verdict in found:
        if verdict.reason:
            counts[verdict.reason] = counts.get(verdict.reason, 0) + 1
    told = [reason if n == len(found) else f"{reason} ({n})" for reason, n in counts.items()]
    return ": " + "; ".join(told) if told else ""


def _round_up(seconds: float) -> int:
    """To two digits, and to whole seconds."""
    unit: int = 10 ** max(math.floor(math.log10(seconds)) - 1, 0)
    return math.ceil(seconds / unit) * unit


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "< 0.01%" if value < 1e-4 else f"{value:.2%}"


def _numeric_rows(report: GateReport) -> list[Row]:
    import msgspec
    import pandas as pd

    return records(pd.DataFrame([msgspec.structs.asdict(v) for v in report.verdicts]))
