"""Comparison tables, as people read them and as machines read them."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from bench.analysis.compare import RUN, Comparison, varying
from bench.analysis.frame import missing_reason
from bench.matrix.axes import AXES
from bench.matrix.case import SERIES, WHOLE
from bench.records.schema import RunRecord

TABULATE_FORMATS = {
    "github": "github",
    "plain": "plain",
    "html": "html",
    "latex": "latex",
    "tsv": "tsv",
}
FORMATS = (*TABULATE_FORMATS, "csv")

Row = dict[str, Any]


def duration(ns: float) -> str:
    """Nanoseconds as text with four significant digits and a unit: `128.4 us`."""
    if pd.isna(ns):
        return "-"
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "us"), (1e9, 1e6, "ms")):
        if ns < limit:
            return f"{ns / divisor:.4g} {unit}"
    return f"{ns / 1e9:.4g} s"


def percent(half_width: float) -> str:
    """A half-width as text: `1.2%`."""
    return "-" if pd.isna(half_width) else f"{100 * half_width:.1f}%"


def rate(per_second: float) -> str:
    """Samples a second with an SI prefix: `7.9 M`."""
    if pd.isna(per_second):
        return "-"
    for divisor, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if per_second >= divisor:
            return f"{per_second / divisor:.3g}{prefix}"
    return f"{per_second:.3g}"


def render(rows: Sequence[Row], style: str) -> str:
    """Rows as one table in a format of FORMATS."""
    if style == "csv":
        return pd.DataFrame(rows).to_csv(index=False).rstrip("\n")
    text = tabulate(
        rows,
        headers="keys",
        tablefmt=TABULATE_FORMATS[style],
        disable_numparse=True,
        colalign=[_alignment(rows, name) for name in rows[0]],
    )
    return str(text)


def _alignment(rows: Sequence[Row], name: str) -> str:
    words = name in (RUN, "case", "status", "reason", *AXES) and name not in ("batch", "hidden")
    return "left" if words else "right"


def phase_rows(frame: pd.DataFrame, comparison: Comparison | None, statistic: str) -> list[Row]:
    """A row for each measured case of each run: whole step, phases, throughput, ratio."""
    names = varying(frame) or ["case"]
    wide = frame.set_index(["run", "case", "series"])
    ratios = {} if comparison is None else _ratios(comparison)
    rows: list[Row] = []
    for whole in _in_order(frame, comparison):
        if not whole.replicates:
            continue
        case = wide.loc[(whole.run, whole.case)]
        step = case.loc[WHOLE]
        row: Row = {name: getattr(whole, name) for name in names}
        row |= {
            "quiet": duration(step["quiet_ns"]),
            "± 95%": percent(step["quiet_half"]),
            "typical": duration(step["typical_ns"]),
            "± 95% ": percent(step["typical_half"]),
            "p90": duration(step["high_ns"]),
        }
        if comparison is not None:
            row[f"vs {comparison.by} {comparison.reference}"] = ratios.get(
                (whole.run, whole.case), "-"
            )
        row |= {name: duration(case.loc[name][f"{statistic}_ns"]) for name in SERIES[:-1]}
        row["samples/s"] = rate(whole.batch / step[f"{statistic}_ns"] * 1e9)
        row["quiet blocks"] = f"{100 * step['quiet_share']:.0f}%"
        rows.append(row)
    return rows


def _in_order(frame: pd.DataFrame, comparison: Comparison | None) -> Sequence[Any]:
    """One row per run and case, what is compared side by side."""
    whole = frame[frame["series"] == WHOLE]
    if comparison is not None:
        order = [name for name in (*AXES, RUN) if name != comparison.by]
        first_seen = {
            name: {v: i for i, v in enumerate(dict.fromkeys(whole[name]))} for name in order
        }
        ranks: Callable[[pd.Series], pd.Series] = lambda column: column.map(  # noqa: E731
            first_seen[str(column.name)]
        )
        whole = whole.sort_values(order, key=ranks, kind="stable")
    return list(whole.itertuples())


def _ratios(comparison: Comparison) -> dict[tuple[str, str], str]:
    table = comparison.table
    texts = map(_ratio, table["ratio"], table["ratio_half"])
    return dict(zip(zip(table["run"], table["case"], strict=True), texts, strict=True))


def _ratio(ratio: Any, half: Any) -> str:
    if pd.isna(ratio):
        return "-"
    return "1" if half == 0 else f"{ratio:.3f} ± {percent(half)}"


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
        row[f"{columns} {entry[columns]}"] = _cell(entry, statistic)
    return list(found.values())


def _cell(entry: "pd.Series[Any]", statistic: str) -> str:
    if entry["status"] != "ok" and not entry["replicates"]:
        return str(entry["status"])
    time = entry[f"{statistic}_ns"]
    return "-" if pd.isna(time) else f"{duration(time)} ± {percent(entry[f'{statistic}_half'])}"


def numeric_rows(frame: pd.DataFrame, comparison: Comparison | None) -> list[Row]:
    """Everything the frame knows, a row for each run, case and series, numbers as numbers."""
    table = frame.drop(columns=["quiet_half", "typical_half"])
    for name in ("quiet", "typical"):
        for bound, sign in (("low", -1), ("high", 1)):
            table[f"{name}_{bound}_ns"] = frame[f"{name}_ns"] * (1 + sign * frame[f"{name}_half"])
    if comparison is not None:
        keys = ["run", "case", "series"]
        ratios = comparison.table.set_index(keys)[["ratio", "ratio_half"]]
        table = table.join(ratios, on=keys)
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def notes(frame: pd.DataFrame, comparison: Comparison | None, statistic: str) -> list[str]:
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
        if not comparison.means:
            lines.append(f"No case has a {statistic} time for every {comparison.by}: no mean.")
        for value, missing in comparison.lonely.items():
            lines.append(f"{comparison.by} {value} has no row for: " + "; ".join(missing) + ".")
    whole = frame[frame["series"] == WHOLE]
    for _, row in whole.iterrows():
        where = f"{row['case']}" + (f" in {row['run']}" if frame["run"].nunique() > 1 else "")
        if row["status"] != "ok":
            lines.append(f"{row['status']}: {where}: {row['reason']}.")
        elif pd.isna(row["quiet_ns"]):
            lines.append(f"No quiet time: {where}: {missing_reason(row)}.")
    return lines


def machine_notes(runs: Sequence[RunRecord], labels: Sequence[str]) -> list[str]:
    """One line a run, then what differs between their machines and environments."""
    lines = [_run_line(run, label) for run, label in zip(runs, labels, strict=True)]
    facts = [_facts(run) for run in runs]
    for name in dict.fromkeys(name for fact in facts for name in fact):
        values = [fact.get(name, "not set") for fact in facts]
        if len(set(values)) > 1:
            told = ", ".join(f"{label}: {v}" for label, v in zip(labels, values, strict=True))
            lines.append(f"Differs: {name}: {told}.")
    return lines


def _run_line(run: RunRecord, label: str) -> str:
    machine = run.machine
    state = "" if run.complete else ", INCOMPLETE"
    dirty = " with uncommitted changes" if machine.dirty else ""
    pinned = all(worker.cores for worker in run.workers)
    return (
        f"{label}: {machine.cpu}, {machine.available_cores} of {machine.cores} cores, torch "
        f"{machine.torch}, {machine.python}, commit {machine.commit}{dirty}, "
        f"{run.plan.environment} environment, {'pinned' if pinned else 'unpinned'}{state}."
    )


def _facts(run: RunRecord) -> dict[str, str]:
    machine = run.machine
    return {
        "machine": machine.name,
        "cpu": machine.cpu,
        "cores available": str(machine.available_cores),
        "os": machine.os,
        "python": machine.python,
        "torch": machine.torch,
        "commit": machine.commit + ("-dirty" if machine.dirty else ""),
        "code": machine.code_hash,
        "environment": run.plan.environment,
        "metronome": str(run.metronome_version),
        **machine.environment,
    }
