"""The history of one machine's runs, as a table and a chart."""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import check_allowed
from bench.machine.circumstances import CODE, SHARE, SYSTEM, VARIABLES, differences
from bench.matrix.case import SERIES
from bench.report.charts import check_chart, save_chart
from bench.report.tables import (
    FORMATS,
    NAMED,
    Row,
    flag_lines,
    mark_reason,
    prose,
    records,
    render,
)
from bench.report.terminal import Worth
from bench.stats.estimates import ratio_half
from bench.stats.frame import BUSY, FEW, QUIET, RUN, STATISTICS, varying
from bench.trend.analysis import (
    HISTORY,
    MIN_LEVEL,
    MIN_RUNS,
    Change,
    Trend,
    history_name,
    trends,
)
from bench.trend.chart import trend_chart
from bench.trend.history import Story, load_story, moment, run_files
from bench.units import duration, interval

CAUSES = (
    *CODE,
    "torch",
    "python",
    *SYSTEM,
    *SHARE,
    "learning rate",
    "cases in the plan",
    *VARIABLES,
)
"""What could account for a change between two runs of one machine and history."""
TOLD_IN_FULL = ("torch", "python")
"""Differences whose values stand in the table; the others have their names there."""
EXPECTED = {"commit", "code", "cases in the plan"}
"""Differences between runs that need no line of their own where nothing changed."""
ABOUT = (
    f"after / before: where the level of a case's times moved, with a 95% interval; a level needs "
    f"{MIN_LEVEL} runs. Of histories in which no case changes, at most 5% show a change in any."
)

WORTH: Worth = (
    ("differs",),
    ("flags",),
    ("first",),
    ("runs",),
    ("last / first",),
    ("changed at",),
    ("after / before",),
)


def print_trend(
    files: Sequence[Path],
    results: Path,
    series: str,
    statistic: str,
    style: str,
    charts: Sequence[Path],
    width: int | None = None,
) -> None:
    """Print the history of one machine's runs, then write charts of it.

    Raises UsageError for an option that is not allowed, for files that cannot be read or drawn, and
    for runs of several machines.
    """
    for option, value, allowed in (
        ("phase", series, SERIES),
        ("statistic", statistic, STATISTICS),
        ("format", style, FORMATS),
    ):
        check_allowed(option, value, allowed)
    for path in charts:
        check_chart(path)
    story = load_story(list(dict.fromkeys(files)) or run_files(results))
    found = trends(story.runs, story.labels, series, statistic)
    print(trend_text(story, found, statistic, style, width))
    if charts:
        chart = trend_chart(found, {run: moment(story.run(run)) for run in story.labels})
        for path in charts:
            save_chart(chart, path)


def trend_text(
    story: Story,
    found: Sequence[Trend],
    statistic: str = "quiet",
    style: str = "github",
    width: int | None = None,
) -> str:
    """A row for each case of each history, and one more for each change but its first.

    csv has a row for each case and run instead, with every number; csv and tsv have no notes.
    """
    if style == "csv":
        return render(_numbers(story, found), style)
    everything = pd.concat([trend.table for trend in found])
    names = [name for name in varying(everything) if name != RUN] or ["case"]
    names += [name for name in HISTORY if everything[name].nunique() > 1]
    rows = [row for trend in found for row in _rows(story, trend, names)]
    if everything["flags"].map(bool).any():
        for row in rows:
            row["flags"] = row.pop("flags")  # last
    else:
        rows = [{name: cell for name, cell in row.items() if name != "flags"} for row in rows]
    text = render(rows, style, WORTH, width)
    if style == "tsv":
        return text
    return "\n".join([text, *prose(_notes(story, found, everything, statistic), style)])


def _rows(story: Story, trend: Trend, names: Sequence[str]) -> list[Row]:
    timed, last = trend.timed, trend.table.iloc[-1]
    row: Row = {name: last[name] for name in names}
    row["runs"] = f"{len(timed)}"
    if len(timed) < len(trend.table):
        row["runs"] += f" of {len(trend.table)}"
    if timed.empty:
        word = "-" if last["status"] == "ok" else last["status"]
        row |= {"first": word, "last": word, "last / first": "-"}
    else:
        first, last = timed.iloc[0], timed.iloc[-1]
        half = ratio_half(first["half"], last["half"])
        moved = len(timed) > 1
        row |= {
            "first": _time(first),
            "last": _time(last),
            "last / first": _ratio(last["time_ns"] / first["time_ns"], half) if moved else "-",
        }
    flags = Counter(itertools.chain.from_iterable(trend.table["flags"]))
    row["flags"] = ", ".join(f"{word} in {count}" for word, count in flags.items())
    calm: Row = {"changed at": "-" if trend.long_enough else "too few runs"}
    if trend.long_enough and trend.timed["lone"].all():
        calm = {"changed at": "no level"}
    calm |= {"after / before": "-", "differs": "-"}
    changes = [_change_cells(story, change) for change in trend.changes] or [calm]
    blank = dict.fromkeys(row, "")
    return [(blank if number else row) | cells for number, cells in enumerate(changes)]


def _change_cells(story: Story, change: Change) -> Row:
    after = story.run(change.after)
    return {
        "changed at": f"{moment(after)}, {after.machine.revision}",
        "after / before": _ratio(change.ratio, change.ratio_half),
        "differs": _short(differences(story.run(change.before), after, CAUSES)),
    }


def _short(differing: dict[str, tuple[str, str]]) -> str:
    told = {name: differing[name] for name in TOLD_IN_FULL if name in differing}
    parts = [_in_full(told)] if told else []
    return ", ".join([*parts, *(name for name in differing if name not in told)]) or "nothing known"


def _in_full(differing: dict[str, tuple[str, str]]) -> str:
    return ", ".join(f"{name} {old} -> {new}" for name, (old, new) in differing.items())


def _time(row: "pd.Series[Any]") -> str:
    return interval(duration(row["time_ns"]), row["half"])


def _ratio(ratio: float, half: float) -> str:
    return interval(f"{ratio:.3f}", half)


def _notes(
    story: Story, found: Sequence[Trend], everything: pd.DataFrame, statistic: str
) -> list[str]:
    where = [
        f"{case} in {run}" for case, run in everything[["case", "run"]].itertuples(index=False)
    ]
    short = [trend.case for trend in found if not trend.long_enough]
    loose = [trend.case for trend in found if trend.long_enough and trend.timed["lone"].all()]
    lines = [ABOUT]
    if short:
        lines.append(f"Too few runs: a change point needs {MIN_RUNS} times: {_listed(short)}.")
    if loose:
        lines.append(
            f"No level: no two runs in a row agree within their intervals: {_listed(loose)}."
        )
    return [
        *lines,
        *_lone(found),
        *_moves(story, found),
        *_histories(everything),
        *flag_lines(everything.assign(case=where)),
        *_missing(everything, statistic),
        _machine(story),
    ]


def _listed(names: Sequence[str]) -> str:
    told = list(dict.fromkeys(names))
    return ", ".join(told) if len(told) <= NAMED else f"{len(told)} cases"


def _lone(found: Sequence[Trend]) -> list[str]:
    """Runs that are on no level of some case."""
    cases: dict[str, list[str]] = {}
    for trend in found:
        if trend.long_enough and not trend.timed["lone"].all():
            for run in trend.table.loc[trend.table["lone"], "run"]:
                cases.setdefault(run, []).append(trend.case)
    return [
        f"Alone, unlike the runs before and after it, and on no level: {run} of {_listed(names)}."
        for run, names in sorted(cases.items())
    ]


def _moves(story: Story, found: Sequence[Trend]) -> list[str]:
    """What differs, in full: between the runs of a change, and between any other neighbours of one
    history that differ in more than the code and the plan."""
    cases: dict[tuple[str, str], list[str]] = {}
    histories: dict[tuple[str, int], list[str]] = {}
    for label, run in zip(story.labels, story.runs, strict=True):
        histories.setdefault((run.plan.environment, run.reference_loop_version), []).append(label)
    for before, after in itertools.chain(*map(itertools.pairwise, histories.values())):
        if set(differences(story.run(before), story.run(after), CAUSES)) - EXPECTED:
            cases[before, after] = []
    for trend in found:
        for change in trend.changes:
            cases.setdefault((change.before, change.after), []).append(trend.case)
    lines = []
    for before, after in sorted(cases, key=lambda pair: story.labels.index(pair[1])):
        names = cases[before, after]
        told = _in_full(differences(story.run(before), story.run(after), CAUSES))
        moved = f"changed {_listed(names)}" if names else "no case changed"
        lines.append(
            f"From {before} to {after} {moved}; differs: {told or 'nothing that is known'}."
        )
    return lines


def _histories(everything: pd.DataFrame) -> list[str]:
    kinds = everything[list(HISTORY)].drop_duplicates()
    if len(kinds) == 1:
        return []
    told = "; ".join(
        history_name(environment, version, state)
        for environment, version, state in kinds.itertuples(index=False)
    )
    return [f"Times of these do not compare, so each has a history of its own: {told}."]


def _missing(everything: pd.DataFrame, statistic: str) -> list[str]:
    """Why runs lack a time: a line for each run and reason."""
    cases: dict[tuple[str, str], list[str]] = {}
    for _, row in everything[everything["time_ns"].isna()].iterrows():
        if row["status"] != "ok":
            reason = f"{row['status']}: {row['reason']}"
        else:
            why = mark_reason(row, (FEW,) if statistic != QUIET else (FEW, BUSY))
            reason = f"left out: {why or 'no block was measured'}"
        cases.setdefault((str(row["run"]), reason), []).append(str(row["case"]))
    return [f"{run}: {reason}: {_listed(names)}." for (run, reason), names in cases.items()]


def _machine(story: Story) -> str:
    machine = story.runs[-1].machine
    span = " to ".join(dict.fromkeys(moment(run) for run in (story.runs[0], story.runs[-1])))
    return (
        f"{machine.label}: {machine.cpu}, {machine.cores_used}; "
        f"{len(story.runs)} {'run' if len(story.runs) == 1 else 'runs'}, {span} UTC; the last "
        f"with torch {machine.torch}, {machine.python}, commit {story.runs[-1].machine.revision}."
    )


def _numbers(story: Story, found: Sequence[Trend]) -> list[Row]:
    """A row for each case and run; half-widths as bounds, a change at the first run after it."""
    rows: list[Row] = []
    for trend in found:
        changes = {change.after: change for change in trend.changes}
        kept = trend.table.drop(
            columns=["quiet_ns", "quiet_half", "typical_ns", "typical_half", "high_ns"]
        )
        for row in records(kept):
            run = story.run(row["run"])
            time, half = row["time_ns"], row.pop("half")
            level, level_half = row["level_ns"], row.pop("level_half")
            row["flags"] = ", ".join(row["flags"])
            row["marks"] = ", ".join(row["marks"])
            del row["floors"]
            row["level"] = None if np.isnan(level) else row["level"]
            row |= {
                "measured_at": moment(run),
                "commit": run.machine.revision,
                "python": run.machine.python,
                "low_ns": time * np.exp(-half),
                "high_ns": time * np.exp(half),
                "level_low_ns": level * np.exp(-level_half),
                "level_high_ns": level * np.exp(level_half),
            }
            change = changes.get(row["run"])
            row |= _change_numbers(story, change)
            rows.append(row)
    return rows


def _change_numbers(story: Story, change: Change | None) -> Row:
    if change is None:
        names = ("changed_since", "change", "change_low", "change_high", "differs")
        return dict.fromkeys(names)
    spread = np.exp(change.ratio_half)
    return {
        "changed_since": change.before,
        "change": change.ratio,
        "change_low": change.ratio / spread,
        "change_high": change.ratio * spread,
        "differs": _in_full(differences(story.run(change.before), story.run(change.after), CAUSES)),
    }
