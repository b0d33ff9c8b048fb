"""What replays and runs of identical sides say of the gate: tables and a few lines."""

from collections.abc import Sequence

import numpy as np

from bench.analysis.calibration import (
    EVERY,
    Pool,
    Replays,
    identical_sides,
    share_between,
)
from bench.analysis.stats import at_most
from bench.records.gate import (
    EQUIVALENT,
    INCONCLUSIVE,
    INVALID,
    REGRESSED,
    SLOWER,
    GateReport,
    Rules,
)
from bench.report.tables import Row, prose, render


def calibration_text(
    reports: Sequence[GateReport],
    pool: Pool,
    rules: Rules,
    identical: Replays,
    recorded: Replays,
    slowed: Sequence[Replays],
    style: str,
) -> str:
    """Everything, tables first: what identical sides came to, then the curve of slowdowns."""
    quiet = render(
        [
            _row("replayed", identical),
            _row("as recorded", recorded),
            *([_runs_row(reports)] if _judged(reports) else []),
        ],
        style,
    )
    curve = render([_slowed_row(replays) for replays in slowed], style) if slowed else ""
    lines = [
        f"{len(pool)} pairs of identical sides from {len(reports)} reports; {len(pool.series)} "
        f"series; nominal: at most {rules.alpha:.1%} of runs with anything regressed.",
        f"95% intervals held the truth in {_share(identical.covered, identical.series)} of series; "
        f"their median half-width is {_percent(float(np.median(identical.half_widths)))}.",
        f"A run takes {np.mean(identical.pairs):.0f} pairs on average, controls too, of "
        f"{pool.pair_s:.1f} s each.",
        "replayed: pairs drawn from all, which side is the base drawn too: that checks the test. "
        "as recorded: pair after pair as they came; runs: each judged when it was made: those "
        "check the machine. In brackets 95% intervals by counts alone (all replays draw on "
        "the same pairs); at most: with 95% confidence. Of a slowdown its phase's series count.",
    ]
    return "\n".join([quiet, *(["", curve] if curve else []), *prose(lines, style)])


def _row(name: str, found: Replays) -> Row:
    return {
        "identical sides": name,
        "runs": found.runs,
        "proven slower": _counted(found.some_proven, found.runs),
        "regressed": _counted(found.some_regressed, found.runs),
        "at most": "",
        "improved": _counted(found.some_improved, found.runs),
        "inconclusive": _percent(found.outcomes.get(INCONCLUSIVE, 0) / found.runs),
        "invalid": _percent(found.outcomes.get(INVALID, 0) / found.runs),
        "series equivalent": _percent(found.equivalent / max(found.series, 1)),
    }


def _judged(reports: Sequence[GateReport]) -> list[GateReport]:
    """Reports of identical sides that looks decided, not a number of pairs given beforehand."""
    return [r for r in reports if identical_sides(r) and r.verdicts and not r.recorded]


def _runs_row(reports: Sequence[GateReport]) -> Row:
    runs = _judged(reports)
    outcomes = [report.outcome for report in runs]
    words = [verdict.verdict for report in runs for verdict in report.verdicts]
    red, better = outcomes.count(REGRESSED), sum(_improved(report) for report in runs)
    slower = sum(any(v.proven == SLOWER for v in report.verdicts) for report in runs)
    return {
        "identical sides": "runs",
        "runs": len(runs),
        "proven slower": _counted(slower, len(runs)),
        "regressed": _counted(red, len(runs)),
        "at most": _percent(at_most(red, len(runs))),
        "improved": _counted(better, len(runs)),
        "inconclusive": _percent(outcomes.count(INCONCLUSIVE) / len(runs)),
        "invalid": _percent(outcomes.count(INVALID) / len(runs)),
        "series equivalent": _percent(words.count(EQUIVALENT) / max(len(words), 1)),
    }


def _improved(report: GateReport) -> bool:
    return any(verdict.verdict == "improved" for verdict in report.verdicts)


def _slowed_row(found: Replays) -> Row:
    slowdown = found.slowdown
    assert slowdown is not None
    errors = np.expm1(found.errors)
    return {
        "slowdown": f"{slowdown.share:+.0%}",
        "phase": slowdown.phase,
        "hits": "every step" if slowdown.of == EVERY else slowdown.of,
        "runs": found.runs,
        "proven in one": _counted(found.some_proven, found.runs),
        "in every case": _counted(found.every_proven, found.runs),
        "regressed in one": _counted(found.some_regressed, found.runs),
        "regressed in every": _counted(found.every_regressed, found.runs),
        "error": f"{100 * float(np.mean(errors)):+.2f} points",
        "pairs": f"{np.mean(found.pairs):.0f}",
    }


def _counted(count: int, of: int) -> str:
    low, high = share_between(count, of)
    return f"{_percent(count / of)} ({_percent(low)} to {_percent(high)})"


def _share(count: int, of: int) -> str:
    return _percent(count / max(of, 1))


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"
