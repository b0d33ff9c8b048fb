"""What machines reach, as tables."""

import csv
import io
from pathlib import Path

import pytest

from bench.cli import main
from bench.matrix.ceiling import COPY, FRESH_MEMORY, MATMUL, OP, TRIAD, Ceiling
from bench.records.run_file import RunRecord
from tests import synthetic
from tests.cases import sumnet
from tests.commands import invoke
from tests.synthetic import Moods

EXACT = Moods(noise=0, between=0, blocks=6)
TF32 = Ceiling(MATMUL, dtype="tf32", size=64)
CEILINGS = {
    Ceiling(COPY, size=2**16): 2**16 / 100,
    Ceiling(TRIAD, size=2**16): 2**16 / 80,
    Ceiling(COPY, size=2**28): 2**28 / 20,
    Ceiling(MATMUL, dtype="float32", size=64): 2 * 64**3 / 50,
    Ceiling(OP): 512.0,
    Ceiling(FRESH_MEMORY): 2**26 / 2.5,
}


def measured(**more: object) -> RunRecord:
    ended = {TF32: ("unsupported", "a CPU has no such")}
    return synthetic.run({}, moods=EXACT, ceilings=CEILINGS, ended=ended, **more)  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return synthetic.run_file(tmp_path / "ceilings.json", measured())


def printed(*words: object) -> str:
    done = invoke("ceilings", *words)
    assert done.exit_code == 0, done.error
    return done.stdout


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_rates_are_by_size_and_dtype_and_costs_by_name(file: Path) -> None:
    assert rows(printed(file)) == [
        ["working set", "copy", "triad"],
        ["64 KiB", "100 GB/s", "80 GB/s"],
        ["256 MiB", "20 GB/s", ""],
        ["matmul", "n = 64"],
        ["float32", "50 GFLOP/s"],
        ["tf32", "unsupported"],
        ["cost", "best", "how"],
        ["op", "512 ns", "so it is done"],
        ["fresh-memory", "2.5 GB/s", "so it is done"],
    ]


def test_what_has_no_figure_has_its_reason(file: Path) -> None:
    assert f"No figure: a CPU has no such: {TF32.id}." in printed(file)


def test_notes_have_how_and_where_they_were_measured(file: Path) -> None:
    text = printed(file)
    assert "copy: so it is done." in text
    assert "Each is the best of its replicates" in text
    assert "Test CPU, 4 of 4 cores" in text


def test_several_threads_have_a_column(tmp_path: Path) -> None:
    pairs = {Ceiling(OP): 500.0, Ceiling(OP, threads=2): 600.0}
    run = synthetic.run({}, moods=EXACT, ceilings=pairs)
    text = printed(synthetic.run_file(tmp_path / "run.json", run))
    assert [row[:3] for row in rows(text)] == [
        ["threads", "cost", "best"],
        ["1", "op", "500 ns"],
        ["2", "op", "600 ns"],
    ]


def test_csv_holds_every_ceiling_unrounded(file: Path) -> None:
    table = list(csv.DictReader(io.StringIO(printed(file, "--format", "csv"))))
    assert [row["ceiling"] for row in table] == [*(c.id for c in CEILINGS), TF32.id]
    assert float(table[0]["rate"]) == pytest.approx(1e11, rel=1e-3)
    assert table[-1]["status"] == "unsupported"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("nowhere.json", "cannot read nowhere.json: No such file"),
        ("cases.json", "no ceilings in these files: measure them with `ceilings`"),
        ("ceilings.json --format xlsx", "--format: 'xlsx'"),
        ("ceilings.json --device cpu", "files are printed and nothing is measured: drop --device"),
        ("--format csv", "--format is for printing run files: name some"),
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
    synthetic.run_file(tmp_path / "cases.json", synthetic.run({sumnet(): 1e5}, moods=EXACT))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["bench", "ceilings", *words.split()])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {complaint}")
    assert error.count("\n") == 1


def test_compare_of_ceilings_alone_names_what_prints_them(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for limits in ([], ["--limits"]):
        monkeypatch.setattr("sys.argv", ["bench", "compare", str(file), *limits])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        assert "ceilings alone: " in capsys.readouterr().err


def test_table_of_costs_alone_stands_without_empty_ones(tmp_path: Path) -> None:
    costs = {ceiling: 1e3 for ceiling in CEILINGS if ceiling.what in ("op", "node")}
    text = printed(synthetic.run_file(tmp_path / "costs.json", synthetic.run({}, ceilings=costs)))
    assert "nan" not in text and "working set" not in text
    assert text.count("\n|--") == 1
