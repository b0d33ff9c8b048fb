"""The outcome of a run as a badge of shields.io: https://shields.io/badges/endpoint-badge."""

import math
from pathlib import Path

import msgspec

from ..matrix.case import PEAK_MEMORY, WHOLE
from ..records.gate_report import GateReport
from ..records.store import write_atomically
from ..records.verdicts import EQUIVALENT, FAILED, IMPROVED, INCONCLUSIVE, REGRESSED
from ..units import percent

LABEL = "training step"
COLOURS = {
    REGRESSED: "red",
    FAILED: "red",
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
    """The outcome and the series that decides it: of whole steps, or else phases, or else memory.

    For example `regressed +5.1%`, the slowest; `improved -3.0%`, the fastest; or `equivalent
    ±0.6%`, the widest 95% interval.
    """
    found = [v for v in report.counted if v.verdict == report.outcome]
    times = [v for v in found if v.series != PEAK_MEMORY]
    deciding = [v for v in times if v.series == WHOLE] or times or found
    effects = [math.expm1(v.effect) for v in deciding if v.effect is not None]
    halves = [v.half for v in deciding if v.half is not None]
    words: list[str] = [report.outcome]
    if found and not times:
        words.append(PEAK_MEMORY)
    if report.outcome == REGRESSED and effects:
        words.append(f"{max(effects):+.1%}")
    elif report.outcome == IMPROVED and effects:
        words.append(f"{min(effects):+.1%}")
    elif report.outcome == EQUIVALENT and halves:
        words.append(f"±{percent(max(halves))}")
    return " ".join(words)
