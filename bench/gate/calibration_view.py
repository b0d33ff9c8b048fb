"""What replays and A/A runs show of the gate: two tables and a few notes."""

from collections.abc import Mapping
from dataclasses import asdict

from ..records.gate_report import Rules
from ..report.view import Row, Table, View, Worth
from ..stats.calibration import at_most, share_between
from .replay import Pool, Slowdown

AA_WORTH: Worth = (
    ("series equivalent",),
    ("invalid",),
    ("inconclusive",),
    ("improved",),
    ("runs",),
    ("slowdown detected",),
    ("regressed at most",),
)
CURVE_WORTH: Worth = (
    ("runs",),
    ("pairs",),
    ("error",),
    ("regressed in all cases",),
    ("regressed in at least one case",),
    ("detected in all cases",),
)


def calibration_view(
    reports: int, pool: Pool, rules: Rules, aa: Mapping[str, Row], curve: Mapping[Slowdown, Row]
) -> View:
    """A/A runs by where they are from, `replayed` among them, then the curve of slowdowns."""
    replayed = aa["replayed"]
    covered = _share(replayed["covered"], replayed["series"])
    notes = [
        f"{len(pool.table)} A/A pairs from {reports} reports; {len(pool.series)} series; nominal: "
        f"at most {rules.alpha:.1%} of runs with a regressed series.",
        f"95% intervals covered the true value in {covered} of series; their median half-width is "
        f"{_percent(replayed['half'])}.",
        f"A run takes {replayed['pairs']:.0f} pairs on average, controls included, of "
        f"{pool.pair_s:.1f} s each.",
        "replayed: pairs drawn from all, and which side is the base: this checks the test. as "
        "recorded: pair after pair in their order; as judged: each run when it was made: these "
        "check the machine. In brackets: 95% intervals from the counts alone (all replays draw on "
        "the same pairs); regressed at most: with 95% confidence. A slowdown's rates are of its "
        "phase's series.",
    ]
    tables = [
        Table([_aa_row(source, rates) for source, rates in aa.items()], AA_WORTH),
        Table([_curve_row(slowdown, rates) for slowdown, rates in curve.items()], CURVE_WORTH),
    ]
    records: list[Row] = [{"source": source, **rates} for source, rates in aa.items()]
    records += [
        {"source": "replayed", **asdict(slowdown), **rates} for slowdown, rates in curve.items()
    ]
    return View(tables, notes, records)


def _aa_row(source: str, rates: Row) -> Row:
    bound = _percent(at_most(rates["regressed_in_one"], rates["runs"]))
    return {
        "A/A runs": source,
        "runs": rates["runs"],
        "slowdown detected": _counted(rates, "detected_in_one"),
        "regressed": _counted(rates, "regressed_in_one"),
        "regressed at most": bound if source == "as judged" else "",
        "improved": _counted(rates, "improved_in_one"),
        "inconclusive": _share(rates["inconclusive"], rates["runs"]),
        "invalid": _share(rates["invalid"], rates["runs"]),
        "series equivalent": _share(rates["equivalent"], rates["series"]),
    }


def _curve_row(slowdown: Slowdown, rates: Row) -> Row:
    return {
        "slowdown": f"{slowdown.share:+.0%}",
        "phase": slowdown.phase,
        "affected steps": slowdown.affected,
        "runs": rates["runs"],
        "detected in at least one case": _counted(rates, "detected_in_one"),
        "detected in all cases": _counted(rates, "detected_in_all"),
        "regressed in at least one case": _counted(rates, "regressed_in_one"),
        "regressed in all cases": _counted(rates, "regressed_in_all"),
        "error": f"{100 * rates['error']:+.2f} points",
        "pairs": f"{rates['pairs']:.0f}",
    }


def _counted(rates: Row, what: str) -> str:
    low, high = share_between(rates[what], rates["runs"])
    return f"{_share(rates[what], rates['runs'])} ({_percent(low)} to {_percent(high)})"


def _share(count: int, trials: int) -> str:
    return _percent(count / max(trials, 1))


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"
