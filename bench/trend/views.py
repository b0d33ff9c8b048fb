"""The run history of one machine as a View."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..machine.circumstances import (
    CODE,
    DEVICES,
    SHARE,
    SYSTEM,
    VARIABLES,
    differences,
    exchanged,
)
from ..records.run_file import RunRecord
from ..report import notes
from ..report.view import Row, Table, View, Worth, records
from ..stats.estimates import ratio_half
from ..stats.frame import BUSY, FEW, QUIET, RUN, varying
from ..units import duration, interval
from .analysis import HISTORY, MIN_LEVEL, MIN_RUNS, Trend, history_name
from .history import moment

History = Mapping[str, RunRecord]
"""Label to run, in the order in which they were measured."""
OTHERS = ("learning rate", "cases in the plan")
CAUSES = (*CODE, "torch", "python", *DEVICES, *SYSTEM, *SHARE, *OTHERS, *VARIABLES)
"""What could account for a change between two runs of one machine and history."""
WITH_VALUES = ("torch", "python")
"""Differences that the table gives with their values; the others only by name."""
EXPECTED = {"commit", "code", "cases in the plan"}
"""Differences between runs that need no line of their own where nothing changed."""
ABOUT = (
    "after / before: the ratio of a case's levels at a change, with its 95% confidence interval. "
    f"A level has at least {MIN_LEVEL} runs. Of histories in which no case changes, at most 5% "
    "show a change in any."
)
LEAST_FIRST = ("differs", "flags", "first", "runs", "last / first", "changed at", "after / before")
WORTH: Worth = [(name,) for name in LEAST_FIRST]


def trend_view(history: History, found: Sequence[Trend], statistic: str) -> View:
    """A row for each case of each history, and one more for each change but its first.

    Records have a row for each case and run.
    """
    everything = pd.concat([trend.table for trend in found])
    names = [name for name in varying(everything) if name != RUN] or ["case"]
    names += [name for name in HISTORY if everything[name].nunique() > 1]
    flagged = bool(everything["flags"].map(bool).any())
    rows = [row for trend in found for row in _rows(history, trend, names, flagged)]
    numbers = [row for trend in found for row in _numbers(history, trend)]
    return View([Table(rows, WORTH)], _notes(history, found, everything, statistic), numbers)


def _rows(history: History, trend: Trend, names: Sequence[str], flagged: bool) -> list[Row]:
    timed, last = trend.timed, trend.table.iloc[-1]
    count = f"{len(timed)}" + (f" of {len(trend.table)}" if len(timed) < len(trend.table) else "")
    row: Row = {**{name: last[name] for name in names}, "runs": count}
    if timed.empty:
        word = "-" if last["status"] == "ok" else last["status"]
        row |= {"first": word, "last": word, "last / first": "-"}
    else:
        first, last = timed.iloc[0], timed.iloc[-1]
        ratio = last["time_ns"] / first["time_ns"]
        both = notes.ratio_cell(ratio, ratio_half(first["half"], last["half"]))
        row |= {
            "first": interval(duration(first["time_ns"]), first["half"]),
            "last": interval(duration(last["time_ns"]), last["half"]),
            "last / first": both if len(timed) > 1 else "-",
        }
    still = "too few runs" if not trend.long_enough else "no level" if trend.no_level else "-"
    cells = [_change_cells(history, change) for _, change in trend.changes.iterrows()] or [
        {"changed at": still, "after / before": "-", "differs": "-"}
    ]
    rows = [(dict.fromkeys(row, "") if number else row) | of for number, of in enumerate(cells)]
    if flagged:
        flags = Counter(itertools.chain.from_iterable(trend.table["flags"]))
        for number, each in enumerate(rows):
            each["flags"] = ", ".join(f"{flag} in {n}" for flag, n in flags.items() if not number)
    return rows


def _change_cells(history: History, change: "pd.Series[Any]") -> Row:
    after = history[change["run"]]
    differing = _differing(history, change["changed_since"], change["run"])
    with_values = (*WITH_VALUES, *after.devices)
    shown = {name: differing.pop(name) for name in with_values if name in differing}
    parts = [*([_in_full(shown)] if shown else []), *differing]
    return {
        "changed at": f"{moment(after)}, {after.machine.revision}",
        "after / before": notes.ratio_cell(change["change"], change["change_half"]),
        "differs": ", ".join(parts) or "nothing known",
    }


def _differing(history: History, before: str, after: str) -> dict[str, tuple[str, ...]]:
    """What could account for a change between two runs."""
    return differences((history[before], history[after]), CAUSES)


def _in_full(differing: dict[str, tuple[str, ...]]) -> str:
    return ", ".join(f"{name} {' -> '.join(values)}" for name, values in differing.items())


def _notes(
    history: History, found: Sequence[Trend], everything: pd.DataFrame, statistic: str
) -> list[str]:
    count = everything["case"].nunique()

    def listed(names: Iterable[str]) -> str:
        return notes.listed(list(dict.fromkeys(names)), count)

    lines = [ABOUT]
    if short := [trend.case for trend in found if not trend.long_enough]:
        lines.append(f"Too few runs: a change point needs {MIN_RUNS} times: {listed(short)}.")
    if loose := [trend.case for trend in found if trend.no_level]:
        lines.append(
            f"No level: no two runs in a row agree within their intervals: {listed(loose)}."
        )
    lone: dict[str, list[str]] = defaultdict(list)
    for trend in found:
        if trend.long_enough and not trend.no_level:
            for run in trend.table.loc[trend.table["lone"], "run"]:
                lone[run].append(trend.case)
    lines += [
        f"On no level, unlike the runs before and after it: {run}: {listed(names)}."
        for run, names in sorted(lone.items())
    ]
    for (before, after), names in _moves(history, found).items():
        changed = f"changed {listed(names)}" if names else "no case changed"
        differing = _in_full(_differing(history, before, after)) or "nothing known"
        lines.append(f"From {before} to {after} {changed}; differs: {differing}.")
    kinds = everything[list(HISTORY)].drop_duplicates()
    if len(kinds) > 1:
        named = "; ".join(itertools.starmap(history_name, kinds.itertuples(index=False)))
        lines.append(f"Times of these do not compare, so each has its own history: {named}.")
    lines += notes.flags(everything.assign(case=everything["case"] + " in " + everything["run"]))
    missing: dict[tuple[str, str], list[str]] = defaultdict(list)
    for _, row in everything[everything["time_ns"].isna()].iterrows():
        missing[row["run"], _missing(row, statistic)].append(row["case"])
    lines += [f"{run}: {why}: {listed(names)}." for (run, why), names in missing.items()]
    runs = list(history.values())
    machine = runs[-1].machine
    return [
        *lines,
        f"{machine.label}: {machine.cpu}, {machine.cores_used}; {len(runs)} "
        f"run{'' if len(runs) == 1 else 's'}, "
        f"{' to '.join(dict.fromkeys(map(moment, (runs[0], runs[-1]))))} UTC; the last with torch "
        f"{machine.torch}, {machine.python}, commit {machine.revision}.",
    ]


def _moves(history: History, found: Sequence[Trend]) -> dict[tuple[str, str], list[str]]:
    """The runs around a change to the cases that changed, in the order of the runs.

    And any other neighbours of one history that differ in more than the code and the plan, without
    a case.
    """
    labels: dict[tuple[str, int], list[str]] = defaultdict(list)
    for label, run in history.items():
        labels[run.plan.environment, run.reference_loop_version].append(label)
    neighbours = itertools.chain.from_iterable(map(itertools.pairwise, labels.values()))
    cases: dict[tuple[str, str], list[str]] = {
        pair: []
        for pair in neighbours
        # On two devices a case has two histories.
        if set(_differing(history, *pair)) - EXPECTED - exchanged(history[r].devices for r in pair)
    }
    for trend in found:
        for _, change in trend.changes.iterrows():
            cases.setdefault((change["changed_since"], change["run"]), []).append(trend.case)
    order = list(history)
    return dict(sorted(cases.items(), key=lambda item: order.index(item[0][1])))


def _missing(row: "pd.Series[Any]", statistic: str) -> str:
    """Why a run lacks a time."""
    if row["status"] != "ok":
        return notes.untimed(row)
    why = notes.mark_reason(row, (FEW, BUSY) if statistic == QUIET else (FEW,))
    return f"left out: {why or notes.untimed(row)}"


def _numbers(history: History, trend: Trend) -> list[Row]:
    """A row for each run; half-widths as bounds, a change at the first run after it."""
    table = trend.table.drop(columns=["quiet_ns", "quiet_half", "typical_ns", "typical_half"])
    runs = [history[label] for label in table["run"]]
    differing = [
        _in_full(_differing(history, before, after)) if isinstance(before, str) else ""
        for before, after in zip(table["changed_since"], table["run"], strict=True)
    ]
    table = table.drop(columns=["high_ns", "floors"]).assign(
        level=table["level"].where(table["level_ns"].notna()),
        measured_at=[moment(run) for run in runs],
        commit=[run.machine.revision for run in runs],
        python=[run.machine.python for run in runs],
        differs=differing,
    )
    for bounds, of, half in (
        ("{}_ns", "time_ns", "half"),
        ("level_{}_ns", "level_ns", "level_half"),
        ("change_{}", "change", "change_half"),
    ):
        spread = np.exp(table.pop(half))
        table[bounds.format("low")] = table[of] / spread
        table[bounds.format("high")] = table[of] * spread
    return records(table)
