"""The outcome of a run as a badge of shields.io: https://shields.io/badges/endpoint-badge."""

import math
from pathlib import Path

import msgspec

from ..matrix.case import WHOLE
from ..records.gate_report import GateReport
from ..records.store import write_atomically
from ..records.verdicts import EQUIVALENT, IMPROVED, INCONCLUSIVE, REGRESSED
from ..units import percent

LABEL = "training step"
COLOURS = {
    REGRESSED: "red",
    INCONCLUSIVE: "yellow",
    IMPROVED: "brightgreen",
    EQUIVALENT: "brightgreen",
}
NO_EVIDENCE = "lightgrey"
"""The colour of every other outcome: it says nothing about times."""


def write_badge(path: Path, report: GateReport) -> None:
    """Write the badge of a report. Raises MachineError where the disk will not take it."""
    badge = {
        "schemaVersion": 1,
        "label": LABEL,
        "message": message(report),
        "color": COLOURS.get(report.outcome, NO_EVIDENCE),
    }
    write_atomically(path, msgspec.json.encode(badge) + b"\n")


def message(report: GateReport) -> str:
    """The outcome and the series that decides it, whole steps before phases.

    For example `regressed +5.1%`, the slowest; `improved -3.0%`, the fastest; or `equivalent
    ±0.6%`, the widest 95% interval.
    """
    counted = report.counted
    found = [v for v in counted if v.verdict == report.outcome]
    found = [v for v in found if v.series == WHOLE] or found
    effects = [math.expm1(v.effect) for v in found if v.effect is not None]
    halves = [v.half for v in found if v.half is not None]
    figure = ""
    if report.outcome == REGRESSED and effects:
        figure = f" {max(effects):+.1%}"
    elif report.outcome == IMPROVED and effects:
        figure = f" {min(effects):+.1%}"
    elif report.outcome == EQUIVALENT and halves:
        figure = f" ±{percent(max(halves))}"
    return f"{report.outcome}{figure}"
