"""The shape of the gate's report: two sides, what each pair of processes measured, the verdicts."""

from pathlib import Path
from typing import Literal

import msgspec

from ..errors import UsageError
from ..figures import Amount, Count, HalfWidth, Logarithm, Number, Positive, Seconds, Share
from ..machine.circumstances import MeasuredDevice
from ..machine.fingerprint import Machine
from ..matrix.case import is_consistent, is_phase
from ..matrix.comparison import Comparison
from ..protocol.messages import Interpreter
from . import older
from .reading import NOT_JSON, read_json
from .store import REPORT, OtherKind, kind_of, write_atomically
from .verdicts import INVALID, Verdict, Way

SCHEMA = 3

Statistic = Literal["lower quartile", "mean", "upper tail"]
"""Of a block's samples: what stands for them."""


Column = list[Logarithm | None]
"""A statistic of each of the report's series, log(head / base); None where it is not known."""


class SideRecord(msgspec.Struct):
    """One side, as its workers described it."""

    name: str
    what: str
    """Which revision or folder, torch, interpreter and environment."""
    subject_hash: str
    python: str
    torch: str
    threads: Count
    environment: dict[str, str] = {}
    """Its own variables, beside those of both."""
    interpreter: Interpreter | None = None
    """What its workers ran on, without the user's name; None where unknown."""
    devices: dict[str, MeasuredDevice] = {}
    """Those that cases are measured on besides the CPU, by what cases call them."""


class Rules(msgspec.Struct, frozen=True):
    """What makes a verdict. Shares: 0.01 is one per cent."""

    alpha: Share = 0.01
    """How often an A/A run may have any series regressed: the family-wise error rate."""
    margin: Share = 0.03
    """Two times that differ by less are equivalent."""
    threshold: Share = 0.01
    """A detected difference smaller than this is reported and does not fail."""
    thresholds: dict[str, Share] = {}
    """Pattern of comparisons' ids to a threshold of their own; the last that fits counts."""


class PairRecord(msgspec.Struct):
    """One pair of processes. Columns are as long as the report's series."""

    control: bool
    """Whether both processes ran the base: an A/A control."""
    at_s: Number
    """When it began, seconds since the report's start."""
    startup_s: Seconds
    wall_s: Seconds
    lower_quartile: Column
    """log(head / base) of the lower quartile of a block's samples."""
    mean: Column
    """The same of their mean, which occasional slow steps move."""
    upper_tail: Column
    """The same of the mean of their upper tail."""
    base_ns: list[Positive | None]
    """The base's lower quartile."""
    peak_bytes: dict[str, tuple[Count, Count]] = {}
    """Comparison to the peaks of memory of base and head, in pairs that counted them."""

    @property
    def columns(self) -> tuple[Column, Column, Column]:
        """The log-ratios, in the order of Statistic."""
        return self.lower_quartile, self.mean, self.upper_tail


class SeriesVerdict(msgspec.Struct):
    """What is known of one series, or of the peak of memory.

    Effects are logarithms of head / base.
    """

    comparison: str
    series: str
    verdict: Verdict
    reason: str = ""
    """Why it is invalid or inconclusive, or a remark on another verdict."""
    base_ns: Amount | None = None
    effect: Logarithm | None = None
    half: HalfWidth | None = None
    """Half the width of the effect's 95% interval."""
    p_slower: Share | None = None
    """Adjusted for all series (family-wise), at the last look."""
    p_faster: Share | None = None
    statistic: Statistic = "lower quartile"
    """Whose effect it is."""
    detected: Way | None = None
    """Which way a difference is statistically significant, however small."""
    detectable: HalfWidth | None = None
    """The minimum detectable effect (MDE) at a power of 80%."""
    settled: bool = True
    """Whether more pairs could hardly change the verdict."""
    more_pairs: Count | None = None
    """How many more would settle it, at this spread."""
    base_bytes: Amount | None = None
    """Of the peak of memory, whose effect has no interval: the median of all counts."""


class GateReport(msgspec.Struct):
    """All of one run of the gate."""

    machine: Machine
    started_at: Seconds
    """Seconds since the epoch."""
    sides: list[SideRecord]
    rules: Rules
    budget_s: Seconds
    environment: str
    seed: int
    comparisons: list[Comparison]
    series: list[tuple[str, str]]
    """Comparison and series of each column."""
    pairs: list[PairRecord] = []
    ended: dict[str, str] = {}
    """Comparison to why it is not measured any further."""
    ended_as: dict[str, Verdict] = {}
    """Comparison to the verdict that this is; invalid where it is not named."""
    nowhere: list[str] = []
    """Steps that neither side can build, each with the reason."""
    without_phases: dict[str, str] = {}
    """Comparison to why its phases are not."""
    without_memory: dict[str, str] = {}
    """Comparison to why its memory is not counted."""
    verdicts: list[SeriesVerdict] = []
    outcome: Verdict = INVALID
    """The worst of the verdicts; invalid while the run has not ended."""
    reason: str = "the run was cut off"
    wall_s: Seconds = 0.0
    recorded: bool = False
    """Whether its pairs were taken for replays, a number given beforehand."""
    beside_another: bool = False
    """Whether another measurement was running on the machine when it began."""
    impossible_blocks: Count = 0
    """Blocks that were left out because a time in them was not positive."""
    schema: int = SCHEMA

    @property
    def counted(self) -> list[SeriesVerdict]:
        """The verdicts that the outcome is made of: without phases that a side cannot be timed by.

        Neither side was timed by them then. They are reported, and the whole step is judged.
        """
        return [
            v
            for v in self.verdicts
            if not (is_phase(v.series) and v.comparison in self.without_phases)
        ]

    @property
    def unjudged(self) -> dict[tuple[str, str], tuple[Verdict, str]]:
        """Comparison and series to verdict and reason, where measuring it has ended."""
        reasons = {
            (c, s): self.ended.get(c, self.without_phases.get(c) if is_phase(s) else None)
            for c, s in self.series
        }
        return {
            (c, s): (self.ended_as.get(c, INVALID), reason)
            for (c, s), reason in reasons.items()
            if reason is not None
        }


def write_report(path: Path, report: GateReport) -> None:
    """Write the report whole. Raises MachineError where the disk will not take it."""
    write_atomically(path, msgspec.json.encode(report) + b"\n")


def load_report(path: Path) -> GateReport:
    """A report.

    Raises UsageError where the file is missing, cut off, of another schema, or no report: OtherKind
    where it is another kind of this suite's files.
    """
    try:
        document = msgspec.json.decode(read_json(path))
        kind = kind_of(document)
        if kind not in (None, REPORT):
            raise OtherKind(path, kind)
        if kind == REPORT and document.get("schema") == older.REPORT_SCHEMA:
            older.upgrade_report(document)
        elif kind == REPORT and document.get("schema") != SCHEMA:
            raise UsageError(
                f"{path} has schema {document.get('schema')}, and this version reads schema "
                f"{SCHEMA}: use the version that wrote it"
            )
        report = msgspec.convert(document, GateReport)
    except (*NOT_JSON, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not a gate report: {error}") from None
    width = len(report.series)
    if any(len(row) != width for pair in report.pairs for row in (*pair.columns, pair.base_ns)):
        raise UsageError(f"{path} is inconsistent: its pairs do not have {width} series each")
    for comparison in report.comparisons:
        base, head = comparison.base, comparison.head
        if not (is_consistent(base) and is_consistent(head)):
            raise UsageError(f"{path} is inconsistent: {base.id} or {head.id} is no case")
        if (base.workload, *base.axes) != (head.workload, *head.axes):
            raise UsageError(f"{path} is inconsistent: it compares {base.id} with {head.id}")
    compared = {comparison.id for comparison in report.comparisons}
    if not compared or any(v.comparison not in compared for v in report.verdicts):
        raise UsageError(f"{path} is inconsistent: it judges what it does not compare")
    if len(report.sides) != 2:
        raise UsageError(f"{path} is inconsistent: it has {len(report.sides)} sides")
    return report
