"""calibrate: what it shows of A/A pairs, and which it refuses."""

import re
from pathlib import Path

import numpy as np
import pytest

from bench.gate.calibrate import calibrate, record_pairs
from bench.gate.settings import Settings
from bench.protocol.subject import subject_hash
from bench.records.gate_report import GateReport, SeriesVerdict, load_report, write_report
from bench.records.verdicts import EQUIVALENT
from tests.cases import sumnet
from tests.commands import invoke
from tests.gate import faking
from tests.gate.gating import correlated, records, report
from tests.suite.driving import ROOT, finish, start


def identical(pairs: int = 60, **changes: object) -> GateReport:
    """A/A pairs of two cases."""
    width = len(report().series)
    return report(records(correlated(np.random.default_rng(3), pairs, width)), **changes)


def command(*words: object) -> tuple[int, str, str]:
    done = finish(start("bench", "calibrate", *words))
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_tables_give_false_alarms_detection_and_intervals_with_their_uncertainty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.gate.calibrate.BATCH", 10)  # the least replays of a slowdown
    path = tmp_path / "pairs.json"
    write_report(path, identical(recorded=True))
    done = invoke("calibrate", path, "--replays", 100)
    assert (done.exit_code, done.error) == (0, "")
    out = done.stdout
    assert re.search(r"\| +replayed \| +100 \| +\d\S*% \(\S+% to \S+%\)", out)
    for size in ("+1%", "+2%", "+5%"):
        for affected in ("all", "every tenth"):
            assert len(re.findall(rf"{re.escape(size)} \| +\w+ \| +{affected} \|", out)) == 3
    assert "60 A/A pairs from 1 reports; 8 series" in out
    assert "95% intervals covered the true value in " in out
    assert not re.search(r"\| +as judged \|", out)  # pairs that were only recorded are no run


@pytest.mark.slow
def test_judged_aa_runs_are_counted_with_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.gate.calibrate.BATCH", 10)  # the least replays of a slowdown
    paths = []
    for number in range(3):
        found = identical(20)
        found.verdicts = [
            SeriesVerdict(c, s, EQUIVALENT, effect=0.0, half=0.01) for c, s in found.series
        ]
        found.outcome = EQUIVALENT
        paths.append(tmp_path / f"{number}.json")
        write_report(paths[-1], found)
    view = calibrate(
        paths, pairs=0, replays=100, cases=[], settings=Settings(), results=tmp_path, if_busy="wait"
    )
    rows = {row["A/A runs"]: row for row in view.tables[0].rows}
    row = rows["as judged"]
    assert row["slowdown detected"] == row["regressed"] == "0% (0% to 70.8%)"
    assert (row["runs"], row["regressed at most"]) == (3, "63.2%")  # 1 - 0.05^(1/3)
    assert rows["replayed"]["regressed at most"] == ""
    assert len(view.records) == 3 + len(view.tables[1].rows)
    assert {record["source"] for record in view.records} == {*rows}


def test_pairs_of_sides_that_differ_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "differs.json"
    found = identical()
    found.sides[1].subject_hash = "b" * 16
    write_report(path, found)
    status, out, err = command(path)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {path} compares commit 0123456789 with working tree: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("words", [("--replays", "5"), ("--pairs", "3"), ("--format", "word")])
def test_values_that_are_not_allowed_are_refused(words: tuple[str, str]) -> None:
    status, _, err = command(*words)
    assert status == 2
    assert words[0].lstrip("-") in err and "Traceback" not in err


def test_as_many_pairs_as_wanted_are_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever is settled before, and without controls: all of them are."""
    subject = subject_hash(ROOT / "sumnet")
    monkeypatch.setattr(faking, "HASHES", (subject, subject))
    script = faking.fake(monkeypatch, hashes=(subject, subject))
    path = record_pairs([sumnet()], 23, Settings(), tmp_path, "wait")
    found = load_report(path)
    assert script.taken == [False] * 23
    assert found.recorded and len(found.pairs) == 23
    assert path.parent.parent == tmp_path and path.name.startswith("pairs-")
