"""Limits as a table, what it says to do, and the chart."""

import csv
import io
from pathlib import Path

import pytest

from bench.cli import main
from bench.machine.sampling import Health, HostHealth
from bench.matrix.case import (
    WHOLE,
)
from bench.matrix.ceiling import COPY, MATMUL, NODE, OP, Ceiling
from bench.matrix.step import PHASES
from bench.records.run_file import RunRecord
from tests import synthetic
from tests.cases import sumnet
from tests.commands import invoke
from tests.synthetic import Moods

pytestmark = pytest.mark.usefixtures("no_drift")

EXACT = Moods(noise=0, between=0, blocks=6)
SMALL, LARGE, BROKEN = sumnet(), sumnet(batch=2**18), sumnet(optimizer="muon")
CEILINGS = {
    Ceiling(COPY, size=2**16): 2**16 / 100,  # 100 GB/s
    Ceiling(MATMUL, dtype="float32", size=512): 2 * 512**3 / 50,  # 50 GFLOP/s
    Ceiling(OP): 500.0,
    Ceiling(NODE): 1000.0,
}


def measured(**more: object) -> RunRecord:
    """A small and a large case, the first 10 times its limit of 24 operators."""
    return synthetic.run(
        {SMALL: 1.2e5, LARGE: 2e7},
        moods=EXACT,
        ceilings=CEILINGS,
        profiles={case: synthetic.step_profile() for case in (SMALL, LARGE)},
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return synthetic.run_file(tmp_path / "run.json", measured())


def printed(*words: object) -> str:
    done = invoke("compare", "--limits", *words)
    assert done.exit_code == 0, done.error
    return done.stdout


def cells(text: str) -> list[dict[str, str]]:
    """The rows of the first github table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def test_row_has_the_time_its_limit_and_what_bounds_it(file: Path) -> None:
    small, large = cells(printed(file))
    assert (small["batch"], small["step"], small["limit"]) == ("2", "120 us", "12 us")
    assert (small["bound by"], small["x limit"], small["overhead"]) == ("overhead", "10x", "10%")
    assert (large["bound by"], large["overhead"]) == ("bandwidth", "<1%")


def test_each_phase_has_a_table_of_its_own(file: Path) -> None:
    for phase in PHASES:
        small, _ = cells(printed(file, "--phase", phase))
        assert small[phase] != "-"
        assert small["limit"] == "4 us", "8 operators of 500 ns"


def test_notes_have_advice_and_ceilings(file: Path) -> None:
    text = printed(file)
    table, below = text.split("\n\n", 1)
    assert f"{LARGE.id} is bound by bandwidth" in below
    assert "limit: the least time the step can take" in below
    assert "copy or triad 100 GB/s at 64 KiB" in below
    assert "matmul float32 50 GFLOP/s; one operator 500 ns, one node 1 us." in below
    assert "Health: " not in below, "none was sampled"
    assert len(table.splitlines()) == 4


def test_case_without_a_limit_keeps_its_row_and_has_its_reason(tmp_path: Path) -> None:
    run = measured(ended={BROKEN: ("unsupported", "Muon optimizes matrices alone")})
    run.cases[1].profile = None
    text = printed(synthetic.run_file(tmp_path / "run.json", run))
    small, large, broken = cells(text)
    assert (broken["step"], broken["limit"], broken["bound by"]) == ("unsupported", "-", "-")
    assert (large["step"], large["limit"], large["x limit"]) == ("20 ms", "-", "-")
    assert f"No limit: unsupported: Muon optimizes matrices alone: {BROKEN.id}." in text
    assert f"`run --profile`: {LARGE.id}." in text
    assert small["limit"] == "12 us"


def test_run_without_ceilings_names_the_option(tmp_path: Path) -> None:
    run = synthetic.run({SMALL: 1e5}, moods=EXACT, profiles={SMALL: synthetic.step_profile()})
    text = printed(synthetic.run_file(tmp_path / "run.json", run))
    assert [row["limit"] for row in cells(text)] == ["-"]
    assert "no ceilings of this machine with so many threads" in text


def test_ceilings_of_their_own_file_serve_a_run_of_the_same_machine(tmp_path: Path) -> None:
    case = synthetic.run({SMALL: 1.2e5}, moods=EXACT, profiles={SMALL: synthetic.step_profile()})
    above = synthetic.run({}, moods=EXACT, ceilings=CEILINGS)
    files = [
        synthetic.run_file(tmp_path / "run.json", case),
        synthetic.run_file(tmp_path / "ceilings.json", above),
    ]
    (row,) = cells(printed(*files))
    assert row["limit"] == "12 us"


def test_flagged_time_has_its_flag_in_its_row_and_a_note(tmp_path: Path) -> None:
    stolen = [Health(HostHealth(steal=share)) for share in (None, 0.3, 0.3)]
    text = printed(synthetic.run_file(tmp_path / "run.json", measured(health=stolen)))
    assert [row["flags"] for row in cells(text)] == ["steal", "steal"]
    assert f"Flag steal: {SMALL.id} and 1 more: the hypervisor gave up to 30" in text


def test_csv_holds_every_series_unrounded(file: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(printed(file, "--format", "csv"))))
    assert [row["series"] for row in rows] == [*PHASES, WHOLE] * 2
    assert float(rows[3]["limit_ns"]) == pytest.approx(12_000)
    assert float(rows[3]["headroom"]) == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize("style", ["plain", "html", "latex", "tsv"])
def test_table_comes_in_every_format(file: Path, style: str) -> None:
    text = printed(file, "--format", style)
    assert "12 us" in text
    assert ("limit: the least" in text) == (style != "tsv")


def test_roofline_is_written_in_each_of_its_formats(file: Path, tmp_path: Path) -> None:
    charts = [tmp_path / f"roofline.{suffix}" for suffix in ("html", "png", "svg")]
    printed(file, *(f"--roofline={chart}" for chart in charts))
    assert [chart.stat().st_size > 10_000 for chart in charts] == [True] * 3


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--roofline roofline.png", "--roofline is a chart of limits: add --limits"),
        ("--limits --by batch", "--limits is a table of its own, of quiet times: drop --by"),
        ("--limits --statistic typical", "--limits is a table of its own, of quiet times: drop"),
        ("--limits --phase latency", "--phase: no limits are known for latency"),
        ("--limits --format xlsx", "--format: 'xlsx'"),
        ("--limits --phase step --roofline r.png", "--roofline draws whole steps: drop --phase"),
        ("--limits --roofline roofline.pdf", "roofline.pdf: a chart's file ends in one of"),
        ("--limits --roofline nowhere/r.png", "nowhere/r.png: there is no folder nowhere"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    file: Path,
    words: str,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["bench", "compare", file.name, *words.split()])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {complaint}")
    assert error.count("\n") == 1
