"""`regress REPORT`: a report that was kept is printed, with its verdict's exit status."""

from pathlib import Path

import pytest

from bench.gate.views import headline
from bench.records.gate_report import GateReport, write_report
from bench.records.verdicts import EXIT_STATUS
from tests.commands import invoke
from tests.gate.test_github import report, verdict


@pytest.mark.parametrize("found", [report(verdict("regressed")), report(verdict("inconclusive"))])
def test_report_is_printed_with_the_status_of_its_outcome(
    tmp_path: Path, found: GateReport
) -> None:
    write_report(tmp_path / "regress.json", found)
    done = invoke("regress", tmp_path / "regress.json")
    assert (done.exit_code, done.stderr) == (EXIT_STATUS[found.outcome], "")
    assert headline(found) in done.stdout
    assert str(tmp_path / "regress.json") in done.stdout
    table = invoke("regress", tmp_path / "regress.json", "--format", "csv")
    assert table.stdout.startswith("comparison,series,verdict,")


@pytest.mark.parametrize("more", [["other.json"], ["--budget", "60"], ["--badge", "badge.json"]])
def test_report_is_printed_alone(tmp_path: Path, more: list[str]) -> None:
    write_report(tmp_path / "regress.json", report(verdict("equivalent")))
    done = invoke("regress", tmp_path / "regress.json", *more)
    assert done.exit_code == 2
    assert "nothing is measured" in done.error


def test_badge_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    done = invoke("regress", "--same", "--badge", tmp_path)
    assert done.exit_code == 2
    assert f"cannot write {tmp_path}: " in done.error and "--badge" in done.error
