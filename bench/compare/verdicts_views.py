"""Verdicts on two stored runs: the table, the rule, and how often it errs on this machine."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from ..matrix.case import WHOLE
from ..records.run_file import RunRecord
from ..records.verdicts import INVALID, VERDICTS
from ..report import notes
from ..report.view import Row, Table, View, Worth, records
from ..stats.frame import RUN, varying
from ..units import duration, percent, share
from .calibration import MIN_AA_RUNS, Calibration
from .verdicts import ALPHA, StoredRules, outcome_of

ELSEWHERE = (
    "6 A/A runs of 24 series: of their 15 pairs none raised a false alarm (at most 63% do, with "
    "95% confidence, from the 3 that share no run), and 100.0% of series were equivalent. A "
    "slowdown of one phase by 2%, 5%, 10%, 20% was called in at least one case in 2%, 99%, 100%, "
    "100% of pairs, and in all cases in 0%, 50%, 100%, 100%; 83%, 1%, 0%, 0% of its series were "
    "equivalent."
)
"""METHODOLOGY.md's machine, by the default rules; a test computes it anew."""

MDE = "MDE (80% power)"
WORTH: Worth = (("note",), (MDE,), ("base", "head"))


def verdicts_view(
    table: pd.DataFrame,
    frame: pd.DataFrame,
    runs: Sequence[RunRecord],
    labels: Sequence[str],
    rules: StoredRules,
    calibration: Calibration | None,
    unread: Sequence[str] = (),
) -> View:
    """A row for each case and series of `table` (see `judge`), and what it rests on.

    `frame` is the tidy frame of both runs; `calibration` is this machine's, None where it has too
    few A/A runs, and `unread` names files that it left out.
    """
    lines = [_summary(table, labels)]
    family = int(table["effect"].notna().sum())
    if family:
        lines.append(
            f"regressed: slower by {rules.threshold:.1%} or more, and statistically significant at "
            f"a family-wise error rate of {ALPHA:.0%} over all {family} series; improved likewise; "
            f"equivalent: the 90% interval lies within {rules.margin:.1%}; {MDE}: the slowdown "
            "called four times in five."
        )
    lines += _invalid(table)
    if runs[0].machine.code_hash == runs[1].machine.code_hash:
        lines.append("Both runs are of the same code: only the machine or the plan can differ.")
    for label in labels:
        of_run = frame[(frame["run"] == label) & (frame["series"] == WHOLE)]
        lines += [f"{label}: {line}" for line in notes.flags(of_run)]
    lines += notes.machines(runs, labels)
    if unread:
        lines.append(f"Unreadable, and not among the A/A runs: {', '.join(unread)}.")
    lines += _guarantee(calibration)
    return View([Table(_rows(table, frame), WORTH)], lines, records(table))


def calibration_text(found: Calibration) -> str:
    """What A/A runs show of the rule, in a sentence or two."""

    def shares(each: Iterable[float]) -> str:
        return ", ".join(map(share, each))

    return (
        f"{found.runs} A/A runs of {found.series} series: of their {found.pairs} pairs "
        f"{found.alarming or 'none'} raised a false alarm (at most {found.at_most:.0%} do, with "
        f"95% confidence, from the {found.disjoint} that share no run), and {found.equivalent:.1%} "
        "of series were equivalent. A slowdown of one phase by "
        f"{shares(found.curve.index)} was called in at least one case in "
        f"{shares(found.curve['any'])} of pairs, and in all cases in "
        f"{shares(found.curve['all'])}; "
        f"{shares(found.curve['equivalent'])} of its series were equivalent."
    )


def _rows(table: pd.DataFrame, frame: pd.DataFrame) -> list[Row]:
    names = [name for name in varying(frame) if name != RUN] or ["case"]
    remarks = table["reason"].where(table["verdict"] != INVALID, "")  # those have a note each
    return [
        {
            **{name: row[name] for name in names},
            "series": row["series"],
            "verdict": row["verdict"],
            "base": duration(row["base_ns"]),
            "head": duration(row["head_ns"]),
            "ratio ± 95%": notes.ratio_cell(np.exp(row["effect"]), row["half"]),
            MDE: percent(row["detectable"]),
            **({"note": remark} if remarks.any() else {}),
        }
        for (_, row), remark in zip(table.iterrows(), remarks, strict=True)
    ]


def _summary(table: pd.DataFrame, labels: Sequence[str]) -> str:
    counts = Counter(table.loc[table["counts"], "verdict"])
    words = ", ".join(f"{counts[word]} {word}" for word in VERDICTS if counts[word])
    unable = int((~table["counts"]).sum())
    aside = f"; {unable} that neither could run do not count" if unable else ""
    outcome = outcome_of(table).upper()
    return f"{outcome}: {labels[1]} against {labels[0]}. Series: {words or 'none'}{aside}."


def _invalid(table: pd.DataFrame) -> list[str]:
    """Why rows are invalid: a line for each reason, with what it holds for."""
    cases = table["case"].nunique()
    lines = []
    for reason, rows in table[table["verdict"] == INVALID].groupby("reason", sort=False):
        series = rows.groupby("case", sort=False)["series"].agg(", ".join)
        names = [f"{case} ({of_case})" for case, of_case in series.items()]
        lines.append(f"Invalid: {reason}: {notes.listed(names, cases)}.")
    return lines


def _guarantee(calibration: Calibration | None) -> list[str]:
    if calibration is not None:
        return [f"By these rules on this machine: {calibration_text(calibration)}"]
    return [
        "The false-alarm rate of this machine has not been measured: that takes "
        f"{MIN_AA_RUNS} or more runs of one plan and code, with this torch, Python and "
        "environment, in its results folder. Repeat the same `run` a few times, then this command.",
        f"By the default rules on METHODOLOGY.md's machine: {ELSEWHERE}",
    ]
