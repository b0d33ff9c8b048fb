"""The table of repeatability, its notes, and what it is made from."""

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.repeatability.verb import repeatability
from bench.report.render import render
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import Moods

EXACT = Moods(noise=0, between=0, blocks=8)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    runs = [
        synthetic.run({sumnet(): ns, sumnet(batch=64): 1e6}, moods=EXACT) for ns in (1e5, 1.1e5)
    ]
    return [synthetic.run_file(tmp_path / f"{n}.json", run) for n, run in enumerate(runs)]


def test_row_has_spreads_and_coverage_of_a_statistic_and_a_batch(files: list[Path]) -> None:
    rows = repeatability(files).tables[0].rows
    assert [(row["statistic"].split(",")[0], row["batch"]) for row in rows] == [
        (name, batch) for name in ("quiet", "quiet", "typical") for batch in (2, 64)
    ]
    assert {name: rows[0][name] for name in ("series", "missing", "median spread")} == {
        "series": 4,
        "missing": 0,
        "median spread": "10.0%",
    }
    assert [row["95% interval covered"] for row in rows[:2]] == ["0%", "100%"]


def test_notes_have_the_sum_of_phases_and_the_time_in_blocks(files: list[Path]) -> None:
    words, phases, wall = repeatability(files).notes
    assert words.startswith("2 runs. ") and "95% interval covered: " in words
    assert phases.endswith(": 1.0000.")
    assert "inside blocks" in wall and wall.endswith("%.")


def test_runs_without_phases_say_so(tmp_path: Path) -> None:
    run = synthetic.run({sumnet(optimizer="lbfgs"): 1e5}, moods=EXACT)
    paths = [synthetic.run_file(tmp_path / f"{n}.json", run) for n in range(2)]
    assert repeatability(paths).notes[1].endswith("no case has phases.")


def test_csv_has_the_rows(files: list[Path]) -> None:
    assert len(render(repeatability(files), "csv").splitlines()) == 7


def test_single_run_is_refused(files: list[Path]) -> None:
    with pytest.raises(UsageError, match="two or more"):
        repeatability(files[:1])
