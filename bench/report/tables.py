"""Comparison tables, as people read them and as machines read them."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.compare.analysis import Ratios
from bench.machine.circumstances import EVERYTHING, UNSET, circumstances
from bench.matrix.case import DISPATCH, LATENCY, PHASES, THROUGHPUT, WHOLE
from bench.records.run_file import RunRecord
from bench.report.terminal import VARIANT, Worth, fit
from bench.stats.drift import MIN_FREEDOM
from bench.stats.estimates import MIN_REPLICATES
from bench.stats.flags import health_note
from bench.stats.frame import BUSY, DIMENSIONS, FEW, QUIET, SLOW, STATISTICS, varying
from bench.units import duration, interval, percent, rate

ASSUMED = (
    "an assumption, measured on one shared virtual machine with two Intel cores; "
    f"{MIN_FREEDOM + 1} runs of one plan in one results folder replace it"
)
MARKS = {SLOW: "*", BUSY: "†", FEW: "‡"}
NAMED = 3
"""Of what a line is about, as many are named; of more, the number is."""
FORMATS = ("github", "plain", "html", "latex", "tsv", "csv")
FOR_PEOPLE = ("github", "plain")
"""Formats that are read in a terminal."""

Row = dict[str, Any]


def bound_by(host_bound: bool | None) -> str:
    """What a step waits for; nothing is said where that is not known."""
    return {True: "host", False: "device"}.get(host_bound, "")  # type: ignore[arg-type]


def render(rows: Sequence[Row], style: str, worth: Worth = (), width: int | None = None) -> str:
    """Rows as one table in a format of FORMATS.

    Where people read it and `width` is given, it has the columns that fit, chosen by their `worth`,
    and a line below says what was left out.
    """
    if style == "csv":
        return pd.DataFrame(rows).to_csv(index=False).rstrip("\n")
    if width is None or style not in FOR_PEOPLE:
        return _laid_out(rows, style)
    shown, line = fit(rows, width, worth, lambda some: _laid_out(some, style))
    return "\n".join([_laid_out(shown, style), *prose([line] if line else [], style)])


def _laid_out(rows: Sequence[Row], style: str) -> str:
    text = tabulate(
        rows,
        headers="keys",
        tablefmt=style,
        disable_numparse=True,
        colalign=[_alignment(rows, name) for name in rows[0]],
    )
    return str(text)


def prose(lines: Sequence[str], style: str) -> list[str]:
    """Lines that stand below a table, as its format has them."""
    if not lines:
        return []
    match style:
        case "html":
            return [f"<p>{escape(line)}</p>" for line in lines]
        case "latex":
            return [f"% {line}" for line in lines]
    return ["", *lines]


def _alignment(rows: Sequence[Row], name: str) -> str:
    words = name in ("case", "time", VARIANT, *DIMENSIONS) and name not in (
        "batch",
        "hidden",
        "threads",
    )
    return "left" if words else "right"


def phase_worth(statistic: str) -> Worth:
    """The columns of `phase_rows` by their worth, where its figures are of this statistic."""
    other = "typical" if statistic == "quiet" else "quiet"
    return (
        (f"{other} ± 95%",),
        PHASES,
        ("host dispatch", "device busy", "latency"),
        ("J/M samples",),
        ("samples/s",),
        ("bound",),
        ("flags",),
    )


def phase_rows(frame: pd.DataFrame, comparison: Ratios | None, statistic: str) -> list[Row]:
    """A row for each case of each run: whole step, phases, throughput, ratio.

    A case without evidence has its status where the time would be.
    """
    names = varying(frame) or ["case"]
    if comparison is not None and comparison.by in names:  # last, so that rows read as groups
        names = [*(name for name in names if name != comparison.by), comparison.by]
    times = _by_key(frame, f"{statistic}_ns")
    ratios = {} if comparison is None else _ratios(comparison)
    asynchronous = _queued(frame)
    rows: list[Row] = []
    for entry in _in_order(frame, comparison):
        key = (entry["run"], entry["case"])
        row: Row = {name: entry[name] for name in names}
        row |= {
            "quiet ± 95%": time_cell(entry, "quiet"),
            "typical ± 95%": time_cell(entry, "typical"),
        }
        if comparison is not None:
            row[f"vs {comparison.by} {comparison.reference}"] = ratios.get(key, "-")
        for phase in PHASES:
            row[phase] = duration(times.get((*key, phase), np.nan))
        if asynchronous:
            row |= {
                "host dispatch": duration(times.get((*key, DISPATCH), np.nan)),
                "device busy": duration(entry["busy_ns"]),
                "latency": duration(times.get((*key, LATENCY), np.nan)),
                "bound": bound_by(entry["host_bound"]),
            }
        step = times.get((*key, THROUGHPUT), entry[f"{statistic}_ns"])
        row["samples/s"] = rate(entry["batch"] / step * 1e9)
        if frame["flags"].map(bool).any():
            row["flags"] = ", ".join(entry["flags"])
        if frame["joules"].notna().any():
            row["J/M samples"] = "-" if pd.isna(entry["joules"]) else f"{entry['joules']:.3g}"
        rows.append(row)
    return rows


def _in_order(frame: pd.DataFrame, comparison: Ratios | None) -> list["pd.Series[Any]"]:
    """One entry per run and case, with what is compared side by side."""
    whole = frame[frame["series"] == WHOLE]
    if comparison is not None:
        others = [name for name in DIMENSIONS if name != comparison.by]
        seen = {name: {v: i for i, v in enumerate(whole[name].unique())} for name in others}
        whole = whole.sort_values(
            others, key=lambda column: column.map(seen[str(column.name)]), kind="stable"
        )
    return [entry for _, entry in whole.iterrows()]


def _by_key(frame: pd.DataFrame, column: str) -> dict[tuple[str, str, str], float]:
    """A column by run, case and series."""
    keys = zip(frame["run"], frame["case"], frame["series"], strict=True)
    return dict(zip(keys, frame[column], strict=True))


def _ratios(comparison: Ratios) -> dict[tuple[str, str], str]:
    table = comparison.table
    texts = map(_ratio, table["ratio"], table["ratio_half"])
    return dict(zip(zip(table["run"], table["case"], strict=True), texts, strict=True))


def _ratio(ratio: Any, half: Any) -> str:
    if pd.isna(ratio):
        return "-"
    return "1" if (ratio, half) == (1, 0) else interval(f"{ratio:.3f}", half)


def pivot_rows(
    frame: pd.DataFrame, rows: str, columns: str, series: str, statistic: str
) -> list[Row]:
    """Times of one series, one axis down and one across; other differences become rows too."""
    chosen = frame[frame["series"] == series]
    index = [rows, *(name for name in varying(frame) if name not in (rows, columns))]
    found: dict[tuple[Any, ...], Row] = {}
    values = list(dict.fromkeys(chosen[columns]))
    for _, entry in chosen.iterrows():
        key = tuple(entry[name] for name in index)
        row = found.setdefault(
            key,
            dict(zip(index, key, strict=True)) | {f"{columns} {value}": "" for value in values},
        )
        row[f"{columns} {entry[columns]}"] = time_cell(entry, statistic)
    return list(found.values())


def pivot_worth(table: Sequence[Row], columns: str) -> Worth:
    """The columns of `pivot_rows` that go across, the last first and all but the first."""
    across = [name for name in table[0] if name.startswith(f"{columns} ")] if table else []
    return [(name,) for name in reversed(across[1:])]


def time_cell(entry: "pd.Series[Any]", statistic: str) -> str:
    """A time, its interval and its marks; the status of a case that has no time."""
    if entry["status"] != "ok":
        return str(entry["status"])
    time, half = entry[f"{statistic}_ns"], entry[f"{statistic}_half"]
    if pd.isna(time):
        return "-"
    return marked(interval(duration(time), half), entry["marks"], statistic)


def mark_reason(row: "pd.Series[Any]", among: Sequence[str]) -> str:
    """What those of a row's marks mean that are among these; nothing without any."""
    return "; ".join(_mark_reasons(row)[mark] for mark in row["marks"] if mark in among)


def _mark_reasons(row: "pd.Series[Any]") -> dict[str, str]:
    replicates, quiet = row["replicates"], row["quiet_replicates"]
    alone = ", and no interval" if replicates == 1 else ""
    return {
        FEW: f"{replicates} of the {MIN_REPLICATES} replicates that a verdict needs{alone}",
        BUSY: "the machine was busy: it came near the speed that these times refer to in "
        f"{quiet} of {replicates} replicates, so they are from the quietest blocks",
        SLOW: f"this machine has been {row['slower']:.2g}x faster before: these times are of its "
        "present state",
    }


def marked(text: str, marks: Sequence[str], statistic: str) -> str:
    """A figure of a statistic with its marks."""
    told = "".join(MARKS[mark] for mark in _of(statistic, marks))
    return f"{text} {told}" if told else text


def _of(statistic: str, marks: Sequence[str]) -> list[str]:
    """Those of the marks that a statistic has: all but FEW are of quiet times."""
    return [mark for mark in marks if statistic == QUIET or mark == FEW]


def mark_lines(frame: pd.DataFrame, statistic: str = "quiet") -> list[str]:
    """What the marks in a table mean: a line for each mark and reason; a row is a series."""
    several = frame["run"].nunique() > 1
    cases: dict[tuple[str, str], dict[str, None]] = {}
    for _, row in frame[(frame["status"] == "ok") & frame["quiet_ns"].notna()].iterrows():
        where = f"{row['case']} in {row['run']}" if several else str(row["case"])
        reasons = _mark_reasons(row)
        for mark in _of(statistic, row["marks"]):
            cases.setdefault((mark, reasons[mark]), {})[where] = None
    everything = frame[["run", "case"]].drop_duplicates()
    return [
        f"{MARKS[mark]} {reason}: {listed(list(names), len(everything))}."
        for (mark, reason), names in cases.items()
    ]


def drift_lines(frame: pd.DataFrame) -> list[str]:
    """Which part of the intervals is how runs differ, and where that is known from."""
    columns = [f"{name}_{what}" for name in STATISTICS for what in ("drift_half", "drift_runs")]
    lines = []
    for values, of_runs in frame[frame["quiet_half"].notna()].groupby(columns, sort=False):
        numbers = [float(str(value)) for value in values]
        sources: dict[str, list[str]] = {}
        for name, half, runs in zip(STATISTICS, numbers[::2], numbers[1::2], strict=True):
            known = f"from {runs:.0f} runs of this plan on this machine" if runs else ASSUMED
            sources.setdefault(known, []).append(f"{percent(half)} ({name})")
        named = list(of_runs["run"].unique())
        whose = f"{', '.join(named)}: " if frame["run"].nunique() > len(named) else ""
        parts = [f"{' and '.join(sizes)}, {known}" for known, sizes in sources.items()]
        lines.append(
            f"{whose}± 95% is where another run lands. For what runs differ by beyond their "
            f"replicates it holds {'; '.join(parts)}."
        )
    return lines


def listed(names: Sequence[str], of: int) -> str:
    """A few names in full; of more, how many of all there are."""
    return ", ".join(names) if len(names) <= NAMED else f"{len(names)} of {of} cases"


def records(frame: pd.DataFrame) -> list[Row]:
    """The rows of a frame, numbers as numbers."""
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def numeric_rows(frame: pd.DataFrame, comparison: Ratios | None) -> list[Row]:
    """Everything the frame knows, a row for each run, case and series, numbers as numbers."""
    table = frame.drop(columns=["quiet_half", "typical_half", "floors"])
    for name in ("flags", "marks"):
        table[name] = frame[name].map(", ".join)
    for name in ("quiet", "typical"):
        for bound, sign in (("low", -1), ("high", 1)):
            table[f"{name}_{bound}_ns"] = frame[f"{name}_ns"] * np.exp(sign * frame[f"{name}_half"])
    if comparison is not None:
        keys = ["run", "case", "series"]
        ratios = comparison.table.set_index(keys)[["ratio", "ratio_half"]]
        table = table.join(ratios, on=keys)
    return records(table)


def notes(frame: pd.DataFrame, comparison: Ratios | None, statistic: str) -> list[str]:
    """What a reader of the table must know: means, what only one side has, what has no row."""
    lines: list[str] = []
    if comparison is not None and len(comparison.means) > 1:
        means = ", ".join(
            f"{value} {mean:.3f}"
            for value, mean in comparison.means.items()
            if value != comparison.reference
        )
        lines.append(
            f"Geometric mean of time over {comparison.by} {comparison.reference}, over the "
            f"{comparison.common} cases that all have: {means}."
        )
    if comparison is not None:
        lines.append(
            "± of a ratio is its 95% confidence interval; the ratio of another two runs lands "
            "within 1.4 times as much."
        )
        if not comparison.means:
            lines.append(f"No case has a {statistic} time for every {comparison.by}: no mean.")
        for value, missing in comparison.lonely.items():
            lines.append(f"{comparison.by} {value} has no row for: " + "; ".join(missing) + ".")
    return (
        lines
        + _asynchronous(frame)
        + flag_lines(frame[frame["series"] == WHOLE])
        + _no_energy(frame)
        + _reasons(frame)
    )


def _queued(frame: pd.DataFrame) -> bool:
    """Whether something was timed on a device that works through a queue."""
    return bool(((frame["series"] == THROUGHPUT) & (frame["status"] == "ok")).any())


def _asynchronous(frame: pd.DataFrame) -> list[str]:
    """What times mean where the host runs ahead of the device."""
    if not _queued(frame):
        return []
    return [
        "On a device that works through a queue, quiet, typical and the phases are the device's "
        "own time. host dispatch: what giving a step out costs the "
        "host; device busy: the kernels of a step, by the profiler; latency: one step, waited for; "
        "samples/s: of many steps waited for together. A row bound by the host times the host, "
        "not the device."
    ]


def flag_lines(frame: pd.DataFrame) -> list[str]:
    """What makes figures doubtful, a line for each thing that does; a row is a case."""
    told: dict[str, dict[str, str]] = {}
    for case, flags in zip(frame["case"], frame["flags"], strict=True):
        for word, sentence in flags.items():
            told.setdefault(word, {})[case] = sentence
    lines = []
    for word, sentences in told.items():
        case, sentence = next(iter(sentences.items()))
        more = f", and of {len(sentences) - 1} more" if len(sentences) > 1 else ""
        lines.append(f"Flagged ({word}): of {case}{more}: {sentence}.")
    return lines


def _no_energy(frame: pd.DataFrame) -> list[str]:
    reasons = dict.fromkeys(frame["energy_reason"].dropna())
    return [f"No energy: {reason}." for reason in reasons]


def _reasons(frame: pd.DataFrame) -> list[str]:
    """Why cases lack a time: a line for each reason, with the cases it holds for."""
    several = frame["run"].nunique() > 1
    cases: dict[str, dict[str, None]] = {}
    for _, row in frame.iterrows():
        if row["status"] != "ok":
            reason = f"{row['status']}: {row['reason']}"
        elif pd.isna(row["quiet_ns"]):
            reason = "no block was measured"
        else:
            continue
        where = f"{row['case']} in {row['run']}" if several else str(row["case"])
        cases.setdefault(reason, {})[where] = None
    return [f"{reason}: {', '.join(names)}." for reason, names in cases.items()]


def machine_notes(runs: Sequence[RunRecord], labels: Sequence[str]) -> list[str]:
    """One line a run, then what differs between their machines and environments."""
    lines = []
    for run, label in zip(runs, labels, strict=True):
        lines.append(_run_line(run, label))
        health = health_note(run.health)
        if health is not None:
            lines.append(f"{label}: {health}" if len(runs) > 1 else health)
    facts = [circumstances(run, EVERYTHING) for run in runs]
    for name in dict.fromkeys(name for fact in facts for name in fact):
        values = [fact.get(name, UNSET) for fact in facts]
        if len(set(values)) > 1:
            told = ", ".join(f"{label}: {v}" for label, v in zip(labels, values, strict=True))
            lines.append(f"Differs: {name}: {told}.")
    return lines


def _run_line(run: RunRecord, label: str) -> str:
    machine = run.machine
    state = "" if run.complete else ", INCOMPLETE"
    dirty = " with uncommitted changes" if machine.dirty else ""
    on_cpu = [worker for worker in run.workers if worker.device == "cpu"]
    cores = sorted({core for worker in on_cpu for core in worker.cores})
    all_pinned = on_cpu and all(worker.cores for worker in on_cpu)
    pinned = f"pinned to cores {', '.join(map(str, cores))}" if all_pinned else "unpinned"
    devices = {w.device: w.device_name for w in run.workers if w.device != "cpu" and w.device_name}
    named = "".join(f"{device}: {name}, " for device, name in devices.items())
    return (
        f"{label}: {named}{machine.cpu}, {machine.cores_used}, torch "
        f"{machine.torch}, {machine.python}, commit {machine.commit}{dirty}, "
        f"{run.plan.environment} environment, {pinned}{state}."
    )
