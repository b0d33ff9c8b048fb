"""Verdicts on two stored runs as text: the table, what made it, and what it is worth here."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.compare.two_runs import ALPHA, StoredRules, check_comparable, judge, outcome_of
from bench.compare.two_runs_calibration import (
    MIN_IDENTICAL,
    Calibration,
    Detection,
    calibrate,
    identical_runs,
)
from bench.errors import UsageError, check_allowed
from bench.matrix.case import WHOLE
from bench.records.loading import load_runs
from bench.records.run_file import RunRecord
from bench.records.store import stored_runs
from bench.records.verdicts import EXIT_STATUS, INVALID, VERDICTS
from bench.report.tables import (
    FORMATS,
    Row,
    flag_lines,
    listed,
    machine_notes,
    prose,
    records,
    render,
)
from bench.report.terminal import Worth
from bench.stats.frame import RUN, tidy, varying
from bench.units import check_within_margin, duration, interval, percent, share, share_from

ELSEWHERE = Calibration(
    runs=6,
    series=24,
    pairs=15,
    alarming=0,
    disjoint=3,
    at_most=0.632,
    equivalent=1.0,
    curve=(
        Detection(0.02, one=0.022, every=0.0, equivalent=0.826),
        Detection(0.05, one=0.989, every=0.5, equivalent=0.006),
        Detection(0.10, one=1.0, every=1.0, equivalent=0.0),
        Detection(0.20, one=1.0, every=1.0, equivalent=0.0),
    ),
)
"""What METHODOLOGY.md's machine came to, by the default rules; a test has it anew."""

WORTH: Worth = (("note",), ("would be called",), ("base", "head"))


def rules_of(margin: str | None, threshold: str | None) -> StoredRules:
    """The rules that two options ask for; what is not given has its default.

    Raises UsageError for what is no such share, and for a threshold above the margin.
    """
    given = {"margin": margin, "threshold": threshold}
    asked = {
        name: share_from(f"--{name}", text, name)
        for name, text in given.items()
        if text is not None
    }
    rules = StoredRules(**asked)
    where = " and ".join(f"--{name}" for name in asked)
    check_within_margin(where, rules.margin, {"threshold": rules.threshold})
    return rules


def verdicts_of_files(
    files: Sequence[Path],
    results: Path,
    rules: StoredRules,
    style: str,
    width: int | None = None,
) -> tuple[str, int]:
    """The verdicts on the second file against the first, and the exit status they come to.

    Raises UsageError unless these are two runs of one machine and software that can be read.
    """
    check_allowed("format", style, FORMATS)
    labels, runs = load_runs(files)[1:] if files else ([], [])
    if len(runs) != 2:
        raise UsageError(
            f"--verdicts takes two run files, the base's, then the head's; there are {len(runs)}"
        )
    base, head = runs
    check_comparable(base, head)
    frame = tidy(runs, labels)
    table = judge(frame, labels[0], labels[1], rules)
    outcome = outcome_of(table)
    status = EXIT_STATUS[outcome]
    if style == "csv":
        return render(records(table), style), status
    text = render(_rows(table, frame), style, WORTH, width)
    if style == "tsv":
        return text, status
    below = [
        _summary(table, outcome, labels),
        *_rule(table, rules),
        *_invalid(table),
        *_same_code(base, head),
        *(f"{name}: {line}" for name in labels for line in _doubts(frame, name)),
        *machine_notes(runs, labels),
        *_guarantee(results, head, rules),
    ]
    return "\n".join([text, *prose(below, style)]), status


def guarantee_text(found: Calibration) -> str:
    """What identical runs say of the rule."""

    def listed(shares: Iterable[float]) -> str:
        return ", ".join(share(each) for each in shares)

    return (
        f"{found.runs} identical runs of {found.series} series: of their {found.pairs} pairs "
        f"{found.alarming or 'none'} raised a false alarm (at most {found.at_most:.0%} do, with "
        f"95% confidence, from the {found.disjoint} that share no run), and {found.equivalent:.1%} "
        "of series were called equivalent. A slowdown of one phase by "
        f"{listed(at.slowdown for at in found.curve)} was called in at least one case in "
        f"{listed(at.one for at in found.curve)} of pairs, and in every case in "
        f"{listed(at.every for at in found.curve)}; "
        f"{listed(at.equivalent for at in found.curve)} of its series were called equivalent."
    )


def _rows(table: pd.DataFrame, frame: pd.DataFrame) -> list[Row]:
    names = [name for name in varying(frame) if name != RUN] or ["case"]
    rows = [
        {
            **{name: row[name] for name in names},
            "series": row["series"],
            "verdict": row["verdict"],
            "base": duration(row["base_ns"]),
            "head": duration(row["head_ns"]),
            "ratio ± 95%": _ratio(row),
            "would be called": percent(row["detectable"]),
            "note": "" if row["verdict"] == INVALID else row["reason"],
        }
        for _, row in table.iterrows()
    ]
    if not any(row["note"] for row in rows):
        for row in rows:
            del row["note"]
    return rows


def _invalid(table: pd.DataFrame) -> list[str]:
    """Why rows are invalid: a line for each reason, with what it holds for."""
    series: dict[str, dict[str, list[str]]] = {}
    for _, row in table[table["verdict"] == INVALID].iterrows():
        of_reason = series.setdefault(row["reason"], {})
        of_reason.setdefault(row["case"], []).append(row["series"])
    cases = table["case"].nunique()
    return [
        f"Invalid: {reason}: "
        + listed([f"{case} ({', '.join(names)})" for case, names in of_reason.items()], cases)
        + "."
        for reason, of_reason in series.items()
    ]


def _ratio(row: "pd.Series[Any]") -> str:
    if pd.isna(row["effect"]):
        return "-"
    return interval(f"{np.exp(row['effect']):.3f}", row["half"])


def _summary(table: pd.DataFrame, outcome: str, labels: Sequence[str]) -> str:
    counted = Counter(table.loc[table["counts"], "verdict"])
    told = ", ".join(f"{counted[word]} {word}" for word in VERDICTS if counted[word])
    unable = int((~table["counts"]).sum())
    aside = f"; {unable} that neither could run do not count" if unable else ""
    return f"{labels[1]} against {labels[0]}: {outcome}. Series: {told or 'none'}{aside}."


def _rule(table: pd.DataFrame, rules: StoredRules) -> list[str]:
    family = int(table["effect"].notna().sum())
    if not family:
        return []
    return [
        f"Regressed: slower by {rules.threshold:.1%} or more, and proven slower at a chance of "
        f"{ALPHA:.0%} over all {family} series; improved likewise. Equivalent: the 90% interval "
        f"lies within {rules.margin:.1%}. Would be called: the slowdown that four times in five is."
    ]


def _same_code(base: RunRecord, head: RunRecord) -> list[str]:
    if base.machine.code_hash != head.machine.code_hash:
        return []
    return ["Both are of the same code: what differs is the machine's doing, or another plan's."]


def _doubts(frame: pd.DataFrame, run: str) -> list[str]:
    return flag_lines(frame[(frame["run"] == run) & (frame["series"] == WHOLE)])


def _guarantee(results: Path, head: RunRecord, rules: StoredRules) -> list[str]:
    """What is known of how often the rule errs, on this machine or on another."""
    stored, unread = stored_runs(results / head.machine.label)
    left_out = [f"Left out of what follows, as they cannot be read: {', '.join(unread)}."]
    lines = left_out if unread else []
    same = identical_runs(stored, head)
    found = calibrate(same, rules) if same else None
    if found is not None and found.series:
        return [*lines, f"By these rules on this machine: {guarantee_text(found)}"]
    return [
        *lines,
        "How often identical runs of this machine raise a false alarm has not been measured: that "
        f"takes {MIN_IDENTICAL} or more runs of one plan and code, with this torch, Python and "
        f"environment, under {results}. Give the same `run` a few times, then this command again.",
        f"By the default rules on METHODOLOGY.md's machine: {guarantee_text(ELSEWHERE)}",
    ]
