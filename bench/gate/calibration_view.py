"""What replays and runs of identical sides say of the gate: tables and a few lines."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from bench.gate.calibration import Pool, Replays, share_between
from bench.records.gate_report import GateReport, Rules
from bench.records.verdicts import EQUIVALENT, IMPROVED, INCONCLUSIVE, INVALID, REGRESSED, SLOWER
from bench.report.tables import Row, prose, render
from bench.report.terminal import Worth
from bench.stats.estimates import at_most

WORTH: Worth = (
    ("series equivalent",),
    ("invalid",),
    ("inconclusive",),
    ("improved",),
    ("runs",),
    ("proven slower",),
    ("at most",),
)
CURVE_WORTH: Worth = (
    ("runs",),
    ("pairs",),
    ("error",),
    ("regressed in every",),
    ("regressed in one",),
    ("in every case",),
)


def calibration_text(
    reports: Sequence[GateReport],
    pool: Pool,
    rules: Rules,
    identical: Replays,
    recorded: Replays,
    slowed: Sequence[Replays],
    style: str,
    width: int | None = None,
) -> str:
    """Everything, tables first: what identical sides came to, then the curve of slowdowns."""
    rows = [_row("replayed", identical), _row("as recorded", recorded)]
    # Not those whose number of pairs was given beforehand: no look decided them.
    runs = [report for report in reports if report.verdicts and not report.recorded]
    quiet = render([*rows, *([_runs_row(runs)] if runs else [])], style, WORTH, width)
    found = [_slowed_row(replays) for replays in slowed]
    curve = render(found, style, CURVE_WORTH, width) if slowed else ""
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


def _row(name: str, found: Replays, most: str = "") -> Row:
    return {
        "identical sides": name,
        "runs": found.runs,
        "proven slower": _counted(found.some_proven, found.runs),
        "regressed": _counted(found.some_regressed, found.runs),
        "at most": most,
        "improved": _counted(found.some_improved, found.runs),
        "inconclusive": _percent(found.outcomes[INCONCLUSIVE] / found.runs),
        "invalid": _percent(found.outcomes[INVALID] / found.runs),
        "series equivalent": _share(found.equivalent, found.series),
    }


def _runs_row(runs: Sequence[GateReport]) -> Row:
    """The same of runs of identical sides, as each was judged when it was made."""
    verdicts = [report.verdicts for report in runs]
    found = Replays(
        runs=len(runs),
        outcomes=Counter(report.outcome for report in runs),
        some_proven=sum(any(v.proven == SLOWER for v in of_run) for of_run in verdicts),
        some_regressed=sum(report.outcome == REGRESSED for report in runs),
        some_improved=sum(any(v.verdict == IMPROVED for v in of_run) for of_run in verdicts),
        series=sum(map(len, verdicts)),
        equivalent=sum(v.verdict == EQUIVALENT for of_run in verdicts for v in of_run),
    )
    return _row("runs", found, _percent(at_most(found.some_regressed, found.runs)))


def _slowed_row(found: Replays) -> Row:
    slowdown = found.slowdown
    assert slowdown is not None
    errors = np.expm1(found.errors)
    return {
        "slowdown": f"{slowdown.share:+.0%}",
        "phase": slowdown.phase,
        "hits": slowdown.of,
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
