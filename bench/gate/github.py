"""The gate's outcome in GitHub Actions: annotations, and the step's summary."""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..matrix.case import PEAK_MEMORY
from ..records.gate_report import GateReport, SeriesVerdict
from ..records.verdicts import (
    IMPROVED,
    INCONCLUSIVE,
    INVALID,
    REGRESSED,
    UNTIMED,
    VERDICTS,
    Verdict,
)
from ..report.render import render
from ..report.view import Table, View
from .views import effect_text, how_to_settle

ANNOTATIONS = 10
"""GitHub shows so many errors of a step."""
LINES = 10
"""Of one annotation, at most."""
SUMMARY_BYTES = 2**20
"""GitHub rejects a step's summary that is longer."""


def report_to_github(report: GateReport, view: View) -> None:
    """Print annotations, and append the view to the step's summary; only where GitHub runs this.

    A summary that cannot be written is a line on stderr: the verdict matters more.
    """
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in annotations(report):
            print(line, flush=True)
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        try:
            with Path(path).open("ab") as file:
                file.write(summary(view, SUMMARY_BYTES - file.tell()))
        except OSError as error:
            print(f"GITHUB_STEP_SUMMARY: {path}: no summary: {error.strerror}", file=sys.stderr)


def annotations(report: GateReport) -> list[str]:
    """Workflow commands: an error for each regressed case, one line for each other verdict.

    An invalid run has no line for a series.
    """
    if report.outcome == INVALID:
        return [_command("error", "Training step: invalid", [report.reason])]
    counted = report.counted
    found = {word: [v for v in counted if v.verdict == word] for word in VERDICTS}
    named = {
        word: [f"{v.comparison}, {_measured(v)}" for v in verdicts]
        for word, verdicts in found.items()
    }
    untimed: dict[Verdict, Iterable[str]] = {
        word: dict.fromkeys(f"{v.comparison}: {v.reason}" for v in found[word]) for word in UNTIMED
    }
    room = ANNOTATIONS - sum(map(bool, untimed.values()))
    commands = _regressions(found[REGRESSED], room)
    sections: tuple[tuple[Verdict, str, Iterable[str]], ...] = (
        *((word, "error", lines) for word, lines in untimed.items()),
        (INCONCLUSIVE, "warning", [*how_to_settle(report), *named[INCONCLUSIVE]]),
        (IMPROVED, "notice", named[IMPROVED]),
    )
    for word, level, lines in sections:
        if lines:
            title = f"{word.capitalize()}: {len(named[word])} of {len(counted)} series"
            commands.append(_command(level, title, lines))
    if report.nowhere:
        commands.append(_command("warning", "Not measured on either side", report.nowhere))
    if report.without_phases:
        lines = [f"{name}: {reason}" for name, reason in report.without_phases.items()]
        commands.append(_command("notice", "Not timed by phase", lines))
    return commands


def summary(view: View, room: int = SUMMARY_BYTES) -> bytes:
    """The first note as a heading, the table, the other notes: UTF-8, at most `room` bytes.

    Where there is less room the table's last rows, which matter least, are left out.
    """
    (table,), (outcome, *notes) = view.tables, view.notes
    plain = [{_plain(k): _plain(str(cell)) for k, cell in row.items()} for row in table.rows]
    kept = len(plain)
    while True:
        left_out = len(plain) - kept
        more = [f"{left_out} more rows did not fit: the report has them."] * bool(left_out)
        rows = render(View([Table(plain[:kept])]), "github").splitlines() if kept else []
        text = "\n".join(
            [
                f"\n### {_plain(outcome)}\n",
                *rows,
                "",
                *(f"- {_plain(note)}" for note in [*more, *notes]),
                "",
            ]
        ).encode(errors="replace")
        if len(text) <= room or not kept:
            return text[: max(room, 0)].decode(errors="ignore").encode()
        longest = max(len(row.encode()) for row in rows)
        kept -= min(max((len(text) - room) // longest, 1), kept)


def _regressions(verdicts: Sequence[SeriesVerdict], room: int) -> list[str]:
    """An error for each case, the slowest first; the last one counts those there is no room for."""
    cases: dict[str, list[str]] = {}
    for verdict in sorted(verdicts, key=lambda v: -(v.effect or 0.0)):
        cases.setdefault(verdict.comparison, []).append(_measured(verdict))
    shown = len(cases) if len(cases) <= room else room - 1
    lines = [_command("error", f"Regressed: {case}", cases[case]) for case in [*cases][:shown]]
    if rest := [*cases][shown:]:
        lines.append(_command("error", f"Regressed: and {len(rest)} more", rest))
    return lines


def _measured(verdict: SeriesVerdict) -> str:
    how = verdict.reason if verdict.series == PEAK_MEMORY else verdict.statistic
    return f"{verdict.series}: {effect_text(verdict)} ({how})"


def _command(level: str, title: str, lines: Iterable[str]) -> str:
    shown = list(lines)
    if len(shown) > LINES:
        shown[LINES - 1 :] = [f"and {len(shown) - LINES + 1} more"]
    title = _data(title).replace(":", "%3A").replace(",", "%2C")  # at which a property would end
    return f"::{level} title={title}::{_data(chr(10).join(shown))}"


def _data(text: str) -> str:
    """The message of a workflow command, which ends at the end of its line."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _plain(text: str) -> str:
    """One line that Markdown shows as it is, on GitHub too.

    Backslashes keep Markdown's own marks from meaning anything. What GitHub makes of the text that
    is left, mentions, references to issues, bare addresses, a space of no width breaks up. What
    shows as nothing, or turns the direction of text, is left out.
    """
    line = "".join(c if c.isprintable() else " " for c in text)
    line = re.sub(r"([\\`*_\[\]<>&|~#!$])", r"\\\1", " ".join(line.split()))
    line = re.sub(r"(?<=@)(?=\w)|(?<=#)(?=\d)|(?<=:)(?=//)|(?<=www)(?=\.)", "\u200b", line)
    return re.sub(r"\b(GH)(?=-\d)", "\\1\u200b", line, flags=re.IGNORECASE)
