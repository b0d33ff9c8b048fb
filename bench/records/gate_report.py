"""The shape of a gate's report: two sides, what each pair of processes showed, and the verdicts."""

from pathlib import Path

import msgspec

from bench.errors import UsageError
from bench.machine.fingerprint import Machine
from bench.matrix.comparison import Comparison
from bench.protocol.messages import Interpreter
from bench.records.kinds import REPORT, OtherKind, kind_of
from bench.records.store import read_bytes, write_atomically
from bench.records.verdicts import INVALID, Verdict, Way

SCHEMA = 1


class SideRecord(msgspec.Struct):
    """One side, as its workers said it was."""

    name: str
    what: str
    """In words: which revision or folder, torch, interpreter and environment."""
    subject_hash: str
    python: str
    torch: str
    threads: int
    environment: dict[str, str] = {}
    """Its own variables, beside those of both."""
    interpreter: Interpreter | None = None
    """What its workers ran on, without anyone's name; None in older reports."""


class Rules(msgspec.Struct, frozen=True):
    """What makes a verdict. Shares: 0.01 is one per cent."""

    alpha: float = 0.01
    """How often identical sides may have a series called regressed, over the whole family."""
    margin: float = 0.03
    """Two times that differ by less are equivalent."""
    threshold: float = 0.01
    """A proven difference smaller than this is told and does not fail."""
    thresholds: dict[str, float] = {}
    """Pattern of comparisons' ids to a threshold of their own; the last that fits counts."""


class PairRecord(msgspec.Struct):
    """One pair of processes. Columns are as long as the report's series."""

    control: bool
    at_s: float
    """When it began, seconds since the report's start."""
    startup_s: float
    wall_s: float
    usual: list[float | None]
    """log(head / base) of the lower quartile step: how the usual step compares."""
    mean: list[float | None]
    """The same of the mean step, which now and then a slow one moves."""
    slow: list[float | None]
    """The same of the mean of slow steps."""
    base_ns: list[int | None]
    """The base's lower quartile step."""


class SeriesVerdict(msgspec.Struct):
    """What is known of one series. Effects are logarithms of head / base."""

    comparison: str
    series: str
    verdict: Verdict
    reason: str = ""
    """Why it is invalid or inconclusive, and whatever else is worth a word."""
    base_ns: float | None = None
    effect: float | None = None
    half: float | None = None
    """Half the width of the effect's 95% interval."""
    p_slower: float | None = None
    """Family-wise, at the last look."""
    p_faster: float | None = None
    statistic: str = "usual"
    """What the effect is of: the usual step or the mean one."""
    proven: Way | None = None
    """Which way it was proven to differ, by however little."""
    detectable: float | None = None
    """The least effect that would have been proven four times in five."""
    settled: bool = True
    """Whether more pairs could hardly change the verdict."""
    more_pairs: int | None = None
    """How many more would settle it, at this spread."""


class GateReport(msgspec.Struct):
    """All of one run of the gate."""

    machine: Machine
    started_at: float
    """Seconds since the epoch."""
    sides: list[SideRecord]
    rules: Rules
    budget_s: float
    environment: str
    seed: int
    comparisons: list[Comparison]
    series: list[tuple[str, str]]
    """Comparison and series of each column."""
    pairs: list[PairRecord] = []
    ended: dict[str, str] = {}
    """Comparison to why it is not measured any further."""
    verdicts: list[SeriesVerdict] = []
    outcome: str = INVALID
    """The worst of the verdicts; of a run that was cut off, invalid."""
    reason: str = "the run was cut off"
    """What else there is to say of the outcome."""
    wall_s: float = 0.0
    recorded: bool = False
    """Whether its pairs were taken to be replayed, a number given beforehand."""
    schema: int = SCHEMA


def write_report(path: Path, report: GateReport) -> None:
    """Write the report whole. Raises MachineError where the disk will not take it."""
    write_atomically(path, msgspec.json.encode(report) + b"\n")


def load_report(path: Path) -> GateReport:
    """A report.

    Raises UsageError where the file is missing, cut off, or no report: OtherKind where it is
    something else of this suite's.
    """
    content = read_bytes(path)
    try:
        kind = kind_of(msgspec.json.decode(content))
        if kind not in (None, REPORT):
            raise OtherKind(path, kind)
        schema = msgspec.json.decode(content, type=_Version).schema
        if schema > SCHEMA:
            raise UsageError(
                f"{path} was written by a newer version (schema {schema}; this one reads up to "
                f"{SCHEMA}): update the suite"
            )
        report = msgspec.json.decode(content, type=GateReport)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a report of the gate: {error}") from None
    width = len(report.series)
    for pair in report.pairs:
        if any(len(row) != width for row in (pair.usual, pair.mean, pair.slow, pair.base_ns)):
            raise UsageError(
                f"{path} contradicts itself: its pairs do not have {width} series each"
            )
    return report


class _Version(msgspec.Struct):
    """What can be read of any report."""

    schema: int
