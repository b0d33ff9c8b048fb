"""What GitHub Actions is told of the gate: annotations, and a summary of the step."""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

from bench.gate.views import effect_text, headline, how_to_settle
from bench.records.gate_report import GateReport, SeriesVerdict
from bench.records.verdicts import IMPROVED, INCONCLUSIVE, INVALID, REGRESSED

ANNOTATIONS = 10
"""GitHub shows so many errors of a step, and leaves out the rest."""
MENTIONED = 10
"""So many lines stand in one annotation."""
SUMMARY_BYTES = 2**20
"""GitHub takes nothing of a step's summary that is longer."""
NOTE_BYTES = 100
"""What the line takes that says how many rows were left out."""


def tell_github(report: GateReport, table_markdown: str, lines: Sequence[str]) -> None:
    """Print annotations and append to the step's summary; elsewhere than on GitHub nothing.

    A summary that cannot be written is told of on stderr: the verdict matters more.
    """
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in annotations(report):
            print(line, flush=True)
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        try:
            with Path(path).open("ab") as file:
                room = SUMMARY_BYTES - file.tell()
                file.write(_bytes(summary_markdown(report, table_markdown, lines, room)))
        except OSError as error:
            print(f"GITHUB_STEP_SUMMARY: {path}: no summary: {error.strerror}", file=sys.stderr)


def annotations(report: GateReport) -> list[str]:
    """Workflow commands: an error for each regressed case, one line for whatever else matters.

    Where the whole run is invalid, nothing is said of a series.
    """
    if report.outcome == INVALID:
        return [_command("error", "Training step: invalid", [report.reason])]
    found = {
        word: [v for v in report.verdicts if v.verdict == word]
        for word in (REGRESSED, INVALID, INCONCLUSIVE, IMPROVED)
    }

    def one(level: str, word: str, told: Iterable[str]) -> list[str]:
        title = f"{word.capitalize()}: {len(found[word])} of {len(report.verdicts)} series"
        return [_command(level, title, told)] if found[word] else []

    invalid = dict.fromkeys(f"{v.comparison}: {v.reason}" for v in found[INVALID])
    return [
        *_regressions(found[REGRESSED], ANNOTATIONS - bool(found[INVALID])),
        *one("error", INVALID, invalid),
        *one("warning", INCONCLUSIVE, [*how_to_settle(report), *map(_named, found[INCONCLUSIVE])]),
        *one("notice", IMPROVED, map(_named, found[IMPROVED])),
    ]


def summary_markdown(
    report: GateReport, table_markdown: str, lines: Sequence[str], room: int = SUMMARY_BYTES
) -> str:
    """The outcome, the table and what stands below it, in no more bytes than there is room for.

    The last rows are left out first: they are those that matter least.
    """
    outcome = headline(report)
    before = ["", f"### {_plain(outcome)}", ""]
    rows = table_markdown.splitlines()
    after = ["", *(f"- {_plain(line)}" for line in lines if line and line != outcome), ""]
    text = "\n".join([*before, *rows, *after])
    if len(_bytes(text)) > room:
        left = room - len(_bytes("\n".join([*before, *after]))) - NOTE_BYTES
        kept = sum(size <= left for size in accumulate(len(_bytes(row)) + 1 for row in rows))
        note = f"{len(rows) - kept} more rows did not fit: the report has them."
        text = "\n".join([*before, *rows[:kept], "", note, *after])
    return _bytes(text)[: max(room, 0)].decode(errors="ignore")


def _regressions(verdicts: Sequence[SeriesVerdict], room: int) -> list[str]:
    """An error for each case, the slowest first; the last one counts those there is no room for."""
    cases: dict[str, list[SeriesVerdict]] = {}
    for verdict in sorted(verdicts, key=lambda v: -(v.effect or 0.0)):
        cases.setdefault(verdict.comparison, []).append(verdict)
    shown = len(cases) if len(cases) <= room else room - 1
    told = [
        _command("error", f"Regressed: {case}", map(_measured, series))
        for case, series in list(cases.items())[:shown]
    ]
    if shown < len(cases):
        rest = f"and {len(cases) - shown} more"
        told.append(_command("error", f"Regressed: {rest}", list(cases)[shown:]))
    return told


def _named(verdict: SeriesVerdict) -> str:
    return f"{verdict.comparison}, {_measured(verdict)}"


def _measured(verdict: SeriesVerdict) -> str:
    return f"{verdict.series}: {effect_text(verdict)} ({verdict.statistic} step)"


def _command(level: str, title: str, lines: Iterable[str]) -> str:
    told = list(lines)
    if len(told) > MENTIONED:
        told[MENTIONED - 1 :] = [f"and {len(told) - MENTIONED + 1} more"]
    return f"::{level} title={_property(title)}::{_data(chr(10).join(told))}"


def _data(text: str) -> str:
    """The message of a workflow command: it ends at the end of its line."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """A property of a workflow command: it ends at a comma or a colon too."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _plain(line: str) -> str:
    """One line of text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>&|~#])", r"\\\1", " ".join(line.split()))


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")
