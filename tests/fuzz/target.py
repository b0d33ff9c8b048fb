"""What is done with a file that a stranger wrote: it is read as each kind, and shown by each verb.

A file is refused by UsageError, or shown; that is all that may happen.
"""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from bench.compare.verb import compare, verdicts
from bench.errors import UsageError
from bench.gate import badge, comment, replay
from bench.gate.github import annotations, summary
from bench.gate.views import report_view
from bench.matrix.case import WHOLE
from bench.options import FORMATS
from bench.profiles.verb import stored
from bench.rank.verb import rank
from bench.records.gate_report import GateReport, load_report
from bench.records.store import load_run, read_journal, resume_state
from bench.repeatability.verb import repeatability
from bench.report.render import render
from bench.report.view import View
from bench.roofline.verb import ceilings, limits
from bench.stats.frame import STATISTICS
from bench.trend.verb import trend

RUNS = 4
"""As many as a trend needs."""
WIDTH = 80
NOWHERE = Path("/nonexistent")

Files = Sequence[Path]
T = TypeVar("T")


def _compared(files: Files, by: str | None, statistic: str, across: str | None = None) -> View:
    return compare(
        files,
        NOWHERE,
        by=by,
        reference=None,
        rows=None if across is None else "device",
        columns=across,
        phase=WHOLE,
        statistic=statistic,
    )


VERBS: dict[str, Callable[[Files], View]] = {
    "compare": lambda files: _compared(files[:1], None, STATISTICS[0]),
    "compare runs": lambda files: _compared(files, "run", STATISTICS[1]),
    "compare threads": lambda files: _compared(files[:1], "threads", STATISTICS[0]),
    "compare pivot": lambda files: _compared(files, None, STATISTICS[0], "optimizer"),
    "limits": lambda files: limits(files[:1], NOWHERE, phase=WHOLE, charts=()),
    "limits of phases": lambda files: limits(files, NOWHERE, phase="forward", charts=()),
    "ceilings": lambda files: ceilings(files[:1]),
    "profile": stored,
    "rank": lambda files: rank(files[:1], NOWHERE, by=None, statistic=STATISTICS[0]),
    "rank typical": lambda files: rank(files, NOWHERE, by=("device",), statistic=STATISTICS[1]),
    "trend": lambda files: trend(files, NOWHERE, phase=WHOLE, statistic=STATISTICS[0], charts=()),
    "repeatability": lambda files: repeatability(files[:3]),
    "verdicts": lambda files: verdicts(files[:2], NOWHERE)[0],
    "verdicts beside another": lambda files: verdicts((files[0], files[-1]), NOWHERE)[0],
    "compare beside another": lambda files: _compared((files[0], files[-1]), "run", "quiet"),
}
"""Each is given RUNS names of one run file, and then another one."""


def _pool(report: GateReport) -> None:
    pool = replay.pool_of([report], report.budget_s)
    replay.curve(pool)
    replay.rates(replay.as_recorded(pool, report.rules), pool)


REPORTED: dict[str, Callable[[GateReport], object]] = {
    "report": lambda report: _rendered(report_view(report)),
    "annotations": annotations,
    "summary": lambda report: summary(report_view(report), comment.COMMENT_BYTES),
    "news": comment.is_news,
    "badge": badge.message,
    "a/a": replay.is_aa,
    "calibrate": _pool,
}


def _rendered(view: View) -> None:
    for style in FORMATS:
        render(view, style, WIDTH)


class Target:
    """Reads and shows files, which are put into a folder of its own."""

    def __init__(self, folder: Path, other: Path) -> None:
        """`other` is a run file that runs are held against."""
        self._runs = {
            suffix: [folder / f"{number}{suffix}" for number in range(RUNS)]
            for suffix in (".json", ".journal")
        }
        for first, *more in self._runs.values():
            first.touch()
            for link in more:
                link.hardlink_to(first)
        self._other = other

    def accepted(self, data: bytes, chosen: Callable[[Sequence[str]], Sequence[str]]) -> list[str]:
        """The kinds of file that these bytes were accepted as.

        They are shown by those of the verbs that are `chosen` among all names.
        """
        kinds = []
        for suffix, files in self._runs.items():
            files[0].write_bytes(data)
            if _done(partial(load_run, files[0])) is not None:
                kinds.append(suffix)
                for name in chosen([*VERBS]):
                    _done(partial(_shown, VERBS[name], [*files, self._other]))
        if (journal := _done(partial(read_journal, self._runs[".journal"][0]))) is not None:
            resume_state(journal[1])
        if (report := _done(partial(load_report, self._runs[".json"][0]))) is not None:
            kinds.append("report")
            for name in chosen([*REPORTED]):
                _done(partial(REPORTED[name], report))
        return kinds


def _shown(verb: Callable[[Files], View], files: Files) -> None:
    _rendered(verb(files))


def _done(step: Callable[[], T]) -> T | None:
    """None where it is refused."""
    with contextlib.suppress(UsageError):
        return step()
    return None
