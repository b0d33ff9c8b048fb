"""What tables of times share: the marks in their cells, and the notes below them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from ..devices import kind_of
from ..machine.circumstances import EVERYTHING, differences
from ..records.run_file import CaseRecord, CeilingRecord, RunRecord
from ..stats.drift import MIN_FREEDOM
from ..stats.estimates import MIN_REPLICATES
from ..stats.flags import health_note
from ..stats.frame import BUSY, FEW, QUIET, SLOW, STATISTICS
from ..units import duration, interval, percent

MARKS = {SLOW: "*", BUSY: "†", FEW: "‡"}
NAMED = 3
"""A note names this many cases; of more it gives the number."""
BESIDE_ANOTHER = "Another measurement was running on this machine when this one began."
ASSUMED = (
    "assumed: measured on one shared virtual machine with two Intel cores; "
    f"{MIN_FREEDOM + 1} runs of one plan in one results folder replace it"
)


def time_cell(entry: "pd.Series[Any]", statistic: str) -> str:
    """A time, its interval and its marks; the status of a case that has no time."""
    if entry["status"] != "ok":
        return str(entry["status"])
    time, half = entry[f"{statistic}_ns"], entry[f"{statistic}_half"]
    if pd.isna(time):
        return "-"
    return marked(interval(duration(time), half), entry["marks"], statistic)


def untimed(entry: "pd.Series[Any]") -> str:
    """Why a series has no time."""
    if entry["status"] != "ok":
        return f"{entry['status']}: {entry['reason']}"
    return "no block was measured" if pd.isna(entry["reason"]) else str(entry["reason"])


def marked(text: str, marks: Sequence[str], statistic: str) -> str:
    """A figure of a statistic with its marks."""
    shown = "".join(MARKS[mark] for mark in _of(statistic, marks))
    return f"{text} {shown}" if shown else text


def ratio_cell(ratio: float, half: float) -> str:
    """A ratio and its interval; `half` is a logarithm."""
    return "-" if pd.isna(ratio) else interval(f"{ratio:.3f}", half)


def bound_by(host_bound: bool | None) -> str:
    """What a step waits for; empty where that is not known."""
    words: dict[bool | None, str] = {True: "host", False: "device"}
    return words.get(host_bound, "")


def mark_reason(row: "pd.Series[Any]", among: Sequence[str]) -> str:
    """What those of a row's marks mean that are among these; empty without any."""
    return "; ".join(_mark_reasons(row)[mark] for mark in row["marks"] if mark in among)


def marks(frame: pd.DataFrame, statistic: str = QUIET) -> list[str]:
    """What the marks in a table mean: a line for each mark and reason; a row is a series."""
    timed = frame[(frame["status"] == "ok") & frame["quiet_ns"].notna()]
    found = (
        (f"{MARKS[mark]} {_mark_reasons(row)[mark]}", row)
        for _, row in timed.iterrows()
        for mark in _of(statistic, row["marks"])
    )
    cases = len(frame[["run", "case"]].drop_duplicates())
    return [
        f"{reason}: {listed(names, cases)}." for reason, names in by_reason(frame, found).items()
    ]


def _of(statistic: str, marks: Sequence[str]) -> list[str]:
    """Those of the marks that a statistic has: all but FEW are of quiet times."""
    return [mark for mark in marks if statistic == QUIET or mark == FEW]


def _mark_reasons(row: "pd.Series[Any]") -> dict[str, str]:
    replicates, quiet = row["replicates"], row["quiet_replicates"]
    alone = "; no interval" if replicates == 1 else ""
    return {
        FEW: f"{replicates} of the {MIN_REPLICATES} replicates that a verdict needs{alone}",
        BUSY: "the machine was busy: it came near the speed that these times refer to in "
        f"{quiet} of {replicates} replicates, so they are from the quietest blocks",
        SLOW: f"this machine has been {row['slower']:.2g}x faster: these times are of its "
        "present speed state",
    }


def by_reason(
    frame: pd.DataFrame, found: Iterable[tuple[str, "pd.Series[Any]"]]
) -> dict[str, list[str]]:
    """Each reason to the cases of its rows, once each, with the run where the frame has several."""
    several = frame["run"].nunique() > 1
    cases: dict[str, dict[str, None]] = {}
    for reason, row in found:
        where = f"{row['case']} in {row['run']}" if several else str(row["case"])
        cases.setdefault(reason, {})[where] = None
    return {reason: list(names) for reason, names in cases.items()}


def listed(names: Sequence[str], of: int) -> str:
    """A few names in full; of more, how many of all there are."""
    return ", ".join(names) if len(names) <= NAMED else f"{len(names)} of {of} cases"


def drift(frame: pd.DataFrame) -> list[str]:
    """What ± means, how much of it is run-to-run drift, and what that is known from."""
    columns = [f"{name}_{what}" for name in STATISTICS for what in ("drift_half", "drift_runs")]
    lines = []
    for _, alike in frame[frame["quiet_half"].notna()].groupby(columns, sort=False):
        sources: dict[str, list[str]] = {}
        for name in STATISTICS:
            half, runs = (alike[f"{name}_{what}"].iloc[0] for what in ("drift_half", "drift_runs"))
            known = f"from {runs:.0f} runs of this plan on this machine" if runs else ASSUMED
            sources.setdefault(known, []).append(f"{percent(half)} ({name})")
        names = list(alike["run"].unique())
        whose = f"{', '.join(names)}: " if frame["run"].nunique() > len(names) else ""
        parts = [f"{' and '.join(sizes)}, {known}" for known, sizes in sources.items()]
        lines.append(
            f"{whose}± is the 95% prediction interval for another run. It includes run-to-run "
            f"drift of {'; '.join(parts)}."
        )
    return lines


def flags(frame: pd.DataFrame) -> list[str]:
    """A line for each flag, with the first case that has it; a row is a case."""
    found: dict[str, dict[str, str]] = {}
    for case, of_case in zip(frame["case"], frame["flags"], strict=True):
        for flag, sentence in of_case.items():
            found.setdefault(flag, {})[case] = sentence
    lines = []
    for flag, sentences in found.items():
        case, sentence = next(iter(sentences.items()))
        more = f" and {len(sentences) - 1} more" if len(sentences) > 1 else ""
        lines.append(f"Flag {flag}: {case}{more}: {sentence}.")
    return lines


def verification(runs: Sequence[RunRecord]) -> list[str]:
    """What was seen when steps were verified, a line for each such thing."""
    cases: dict[str, dict[str, None]] = {}
    for run in runs:
        for case in run.cases:
            verified = case.prepared and case.prepared.verified
            for note in verified.notes if verified else ():
                cases.setdefault(note, {})[case.id] = None
    return [
        f"{listed(list(dict.fromkeys(names)), len(names))}: {note}."
        for note, names in cases.items()
    ]


def machines(runs: Sequence[RunRecord], labels: Sequence[str]) -> list[str]:
    """Each run's machine and health, then what differs between their circumstances."""
    lines = []
    for run, label in zip(runs, labels, strict=True):
        lines.append(_machine(run, label))
        for note in filter(None, (health_note(run.health), *_disturbances(run))):
            lines.append(f"{label}: {note}" if len(runs) > 1 else note)
    for name, values in differences(runs, EVERYTHING).items():
        each = ", ".join(f"{label}: {v}" for label, v in zip(labels, values, strict=True))
        lines.append(f"Differs: {name}: {each}.")
    return lines


def impossible(blocks: int) -> str:
    """How many blocks were left out."""
    return f"Blocks left out for a time that is not positive: {blocks}."


def _disturbances(run: RunRecord) -> Iterator[str]:
    """What went wrong around the run and costs none of its cases anything."""
    if any(session.beside_another for session in run.sessions):
        yield BESIDE_ANOTHER
    if lost := sum(session.lost_workers for session in run.sessions):
        yield f"Workers killed while they started, and replaced: {lost}."
    records: list[CaseRecord | CeilingRecord] = [*run.cases, *run.ceilings]
    if blocks := sum(each.impossible_blocks for each in records):
        yield impossible(blocks)


def _machine(run: RunRecord, label: str) -> str:
    machine = run.machine
    bound = [worker for worker in run.workers if kind_of(worker.device).pinned]
    cores = sorted({core for worker in bound for core in worker.cores})
    pinned = bound and all(worker.cores for worker in bound)
    parts = [
        *(f"{name}: {device.model}" for name, device in run.devices.items()),
        machine.cpu,
        machine.cores_used,
        f"torch {machine.torch}",
        machine.python,
        f"commit {machine.commit}{' with uncommitted changes' if machine.dirty else ''}",
        f"{run.plan.environment} environment",
        f"pinned to cores {', '.join(map(str, cores))}" if pinned else "unpinned",
        *([] if run.complete else ["INCOMPLETE"]),
    ]
    return f"{label}: {', '.join(parts)}."
