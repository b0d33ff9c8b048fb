"""Runs of the gate that are interrupted once they have compared: what it takes to a verdict, other
tests wait for."""

import signal
from pathlib import Path

from bench.records.gate_report import GateReport, PairRecord, load_report
from tests.suite.driving import ROOT, finish, start, wait_for


def compared(report: GateReport) -> PairRecord | None:
    """The first pair of base and head, if there is one."""
    return next((pair for pair in report.pairs if not pair.control), None)


def interrupted_once_compared(
    folder: Path, report: Path, *words: object, suite: Path = ROOT
) -> tuple[GateReport, PairRecord]:
    """The report, and its first pair, of `regress` in a folder, by the suite in another one."""
    words = ("regress", *words, "--report", report)
    process = start("bench", *words, cwd=folder, PYTHONPATH=str(suite))
    wait_for(
        "the first pair or the end",
        lambda: process.poll() is not None or (report.exists() and compared(load_report(report))),
    )
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.returncode == 130, done.stderr
    found = load_report(report)
    pair = compared(found)
    assert pair is not None
    return found, pair
