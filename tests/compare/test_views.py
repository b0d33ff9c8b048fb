"""A whole comparison: what runs are called, how it is laid out, what is refused."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.compare.views import Request, compare_files, comparison_text
from bench.errors import UsageError
from bench.matrix.case import SERIES, Case
from bench.records.loading import run_labels
from bench.records.run_file import RunRecord
from bench.stats.frame import DIMENSIONS
from tests import synthetic
from tests.synthetic import Moods

SGD = Case()
ADAM = Case(optimizer="adam")
BIG = Case(batch=1024)
pytestmark = pytest.mark.usefixtures("no_drift")

EXACT = Moods(noise=0, between=0, blocks=6)
OTHER = synthetic.machine("other-cpu-8c-16gib", cpu="Other CPU", torch="2.11.0")


def run(times_ns: dict[Case, float], **how: Any) -> RunRecord:
    return synthetic.run(times_ns, **{"moods": EXACT} | how)


OURS = run({SGD: 1e5, ADAM: 2e5})
THEIRS = run({SGD: 1.5e5, ADAM: 2.2e5}, on=OTHER)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def table(text: str) -> list[list[str]]:
    """The cells of a github table, its heading first."""
    lines = [cells(line) for line in text.splitlines() if line.startswith("|")]
    return [lines[0], *lines[2:]]


# Labels


def labels(*runs: tuple[RunRecord, str]) -> list[str]:
    return run_labels([run for run, _ in runs], [Path(path) for _, path in runs])


def test_runs_of_different_machines_are_called_by_machine() -> None:
    assert labels((OURS, "a/1.json"), (THEIRS, "b/1.json")) == [
        "test-cpu-4c-8gib",
        "other-cpu-8c-16gib",
    ]


def test_runs_of_one_machine_are_called_by_file() -> None:
    assert labels((OURS, "a/1.json"), (OURS, "a/2.json")) == ["1", "2"]


def test_runs_that_share_machines_and_file_names_are_called_by_both() -> None:
    found = labels((OURS, "a/1.json"), (OURS, "a/2.json"), (THEIRS, "b/1.json"))
    assert found == ["test-cpu-4c-8gib/1", "test-cpu-4c-8gib/2", "other-cpu-8c-16gib/1"]


def test_runs_of_one_machine_with_one_file_name_are_called_by_path() -> None:
    assert labels((OURS, "old/1.json"), (OURS, "new/1.json")) == ["old/1.json", "new/1.json"]
    assert labels((OURS, "a/1.json"), (OURS, "a/1.journal")) == ["a/1.json", "a/1.journal"]


def test_runs_with_one_file_name_are_compared_all_the_same(tmp_path: Path) -> None:
    old = synthetic.run_file(tmp_path / "old" / "run.json", run({SGD: 1e5}))
    new = synthetic.run_file(tmp_path / "new" / "run.json", run({SGD: 2e5}))
    heading, *rows = table(compare_files([old, new], tmp_path, Request()))
    ratio = heading.index(f"vs run {old}")
    assert [row[ratio] for row in rows] == ["1", "2.000 ± 0.0%"]


def test_runs_of_schema_1_are_compared_with_each_other_and_with_todays(
    tmp_path: Path, stored_runs: Path
) -> None:
    schema_1 = sorted((stored_runs / "intel-xeon-2c-24gib").iterdir())[:2]
    new = synthetic.run_file(tmp_path / "new.json", OURS)
    heading, *rows = table(compare_files([*schema_1, new], tmp_path, Request()))
    known = [row[heading.index("quiet ± 95%")] for row in rows]
    assert len(rows) == 2 * 6 + 2
    assert all(" us ± " in time or " ms ± " in time for time in known)
    ratios = [row[heading.index(f"vs run {schema_1[0].stem}")] for row in rows]
    assert ratios.count("1") == 6 and "-" not in ratios[:2]


# Layout


def test_single_run_is_shown_without_ratios() -> None:
    heading, *rows = table(comparison_text([OURS], ["ours"]))
    assert not [name for name in heading if name.startswith("vs")]
    assert [row[:2] for row in rows] == [["sgd", "100 us ± 0.0%"], ["adam", "200 us ± 0.0%"]]


def test_several_runs_are_compared_by_run() -> None:
    heading, *rows = table(comparison_text([OURS, THEIRS], ["ours", "theirs"]))
    ratio = heading.index("vs run ours")
    assert [(row[0], row[1], row[ratio]) for row in rows] == [
        ("sgd", "ours", "1"),
        ("sgd", "theirs", "1.500 ± 0.0%"),
        ("adam", "ours", "1"),
        ("adam", "theirs", "1.100 ± 0.0%"),
    ]


def test_other_reference_turns_the_ratio_round() -> None:
    text = comparison_text([OURS, THEIRS], ["ours", "theirs"], Request(reference="theirs"))
    heading, *rows = table(text)
    assert rows[0][heading.index("vs run theirs")] == "0.667 ± 0.0%"
    assert "Geometric mean of time over run theirs" in text


def test_comparison_by_an_axis_needs_one_run_alone() -> None:
    heading, *rows = table(comparison_text([OURS], ["ours"], Request(by="optimizer")))
    ratio = heading.index("vs optimizer sgd")
    assert [(row[0], row[ratio]) for row in rows] == [("sgd", "1"), ("adam", "2.000 ± 0.0%")]


def test_series_and_statistic_choose_what_is_compared() -> None:
    theirs = run({SGD: 1e5, ADAM: 2e5})
    for worker in theirs.cases[0].blocks["phases"]:
        worker.percentiles_ns["step"]["p50"] = [
            3 * value for value in worker.percentiles_ns["step"]["p50"]
        ]
    request = Request(series="step", statistic="typical")
    heading, *rows = table(comparison_text([OURS, theirs], ["ours", "theirs"], request))
    ratios = [row[heading.index("vs run ours")] for row in rows]
    assert ratios[1] == "3.000 ± 0.0%"
    quiet = comparison_text([OURS, theirs], ["ours", "theirs"], replace(request, statistic="quiet"))
    assert "3.000" not in quiet


def test_rows_and_columns_lay_out_a_table_of_times() -> None:
    record = run({SGD: 1e5, ADAM: 2e5, BIG: 3e5})
    text = comparison_text([record], ["ours"], Request(rows="batch", columns="optimizer"))
    assert table(text) == [
        ["batch", "optimizer sgd", "optimizer adam"],
        ["2", "100 us ± 0.0%", "200 us ± 0.0%"],
        ["1024", "300 us ± 0.0%", ""],
    ]


def test_cases_of_one_cell_become_rows_with_what_tells_them_apart() -> None:
    record = run({SGD: 1e5, Case(hidden=64): 2e5, ADAM: 3e5})
    text = comparison_text([record], ["ours"], Request(rows="batch", columns="optimizer"))
    assert table(text) == [
        ["batch", "hidden", "optimizer sgd", "optimizer adam"],
        ["2", "10", "100 us ± 0.0%", "300 us ± 0.0%"],
        ["2", "64", "200 us ± 0.0%", ""],
    ]


def test_columns_default_to_what_is_compared() -> None:
    text = comparison_text([OURS, THEIRS], ["ours", "theirs"], Request(rows="optimizer"))
    assert table(text)[0] == ["optimizer", "run ours", "run theirs"]
    assert table(text)[1] == ["sgd", "100 us ± 0.0%", "150 us ± 0.0%"]


def test_machines_and_their_differences_stand_below() -> None:
    lines = comparison_text([OURS, THEIRS], ["ours", "theirs"]).splitlines()
    below = lines[lines.index("") :]
    assert any(line.startswith("ours: Test CPU, 4 of 4 cores, torch 2.13.0") for line in below)
    assert any(line.startswith("theirs: Other CPU") for line in below)
    assert "Differs: cpu: ours: Test CPU, theirs: Other CPU." in below
    assert "Differs: torch: ours: 2.13.0, theirs: 2.11.0." in below


def test_reasons_stand_below_the_table_that_keeps_the_row() -> None:
    record = run({SGD: 1e5}, ended={ADAM: ("unsupported", "no kernel")})
    text = comparison_text([record], ["ours"])
    assert table(text)[2][:2] == ["adam", "unsupported"]
    assert f"\n\nunsupported: no kernel: {ADAM.id}.\n" in text


def test_html_and_latex_keep_the_notes_in_their_own_words() -> None:
    record = run({SGD: 1e5}, ended={ADAM: ("failed", "1 < 2")})
    html = comparison_text([record], ["ours"], Request(style="html"))
    assert html.startswith("<table>")
    assert f"<p>failed: 1 &lt; 2: {ADAM.id}.</p>" in html
    latex = comparison_text([record], ["ours"], Request(style="latex"))
    assert rf"\end{{tabular}}{chr(10)}% failed: 1 < 2: {ADAM.id}." in latex


def test_csv_carries_the_numbers_alone() -> None:
    text = comparison_text([OURS, THEIRS], ["ours", "theirs"], Request(style="csv"))
    back = pd.read_csv(io.StringIO(text))
    assert len(back) == len(text.splitlines()) - 1 == 4 * len(SGD.series)
    assert back["quiet_ns"].notna().all()
    assert {"ratio", "quiet_low_ns", "typical_high_ns"} <= set(back.columns)


def test_tsv_carries_the_table_alone() -> None:
    text = comparison_text([OURS, THEIRS], ["ours", "theirs"], Request(style="tsv"))
    lines = text.splitlines()
    assert len(lines) == 5
    assert len({line.count("\t") for line in lines}) == 1


def test_run_of_cases_without_phases_is_a_table_all_the_same() -> None:
    record = run({Case(optimizer="lbfgs"): 1e5, Case(optimizer="lbfgs", batch=64): 2e5})
    heading, *rows = table(comparison_text([record, record], ["ours", "theirs"]))
    assert [row[heading.index("quiet ± 95%")] for row in rows] == ["100 us ± 0.0%"] * 2 + [
        "200 us ± 0.0%"
    ] * 2
    assert {row[heading.index("backward")] for row in rows} == {"-"}


# What is refused


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (Request(by="speed"), f"--by: 'speed' is not one; allowed: {', '.join(DIMENSIONS)}"),
        (Request(rows="x"), f"--rows: 'x' is not one; allowed: {', '.join(DIMENSIONS)}"),
        (Request(columns="x"), f"--columns: 'x' is not one; allowed: {', '.join(DIMENSIONS)}"),
        (
            Request(series="all"),
            f"--phase: 'all' is not one; allowed: {', '.join(SERIES)}",
        ),
        (Request(statistic="mean"), "--statistic: 'mean' is not one; allowed: quiet, typical"),
        (
            Request(style="xlsx"),
            "--format: 'xlsx' is not one; allowed: github, plain, html, latex, tsv, csv",
        ),
        (Request(by=""), "--by: '' is not one; "),
        (Request(rows="batch", columns="batch"), "--rows and --columns are both batch"),
    ],
)
def test_bad_option_is_refused_with_what_is_allowed(asked: Request, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        compare_files([Path("never-read.json")], Path("nowhere"), asked)
    assert str(caught.value).startswith(complaint)


def test_unknown_reference_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="--reference: no run is 'mine' here; there are: ours"):
        comparison_text([OURS], ["ours"], Request(reference="mine"))


@pytest.mark.parametrize("by", [None, "optimizer"])
def test_series_that_none_of_the_runs_has_is_refused(by: str | None) -> None:
    request = Request(series="latency", by=by)
    with pytest.raises(UsageError, match="latency"):
        comparison_text([OURS, THEIRS], ["ours", "theirs"], request)


def test_no_run_files_is_refused_with_what_to_do(tmp_path: Path) -> None:
    for results in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=f"no run files under {results}: measure with `run`"):
            compare_files([], results, Request())


def test_newest_run_of_every_machine_is_compared_by_default(tmp_path: Path) -> None:
    here, there = tmp_path / OURS.machine.name, tmp_path / OTHER.name
    synthetic.run_file(here / "20260101T000000Z-a.json", run({SGD: 9e5}))
    synthetic.run_file(here / "20260201T000000Z-a.json", OURS)
    synthetic.run_file(there / "20250101T000000Z-a.json", THEIRS)
    heading, *rows = table(compare_files([], tmp_path, Request()))
    machines = [row[heading.index("run")] for row in rows]
    assert sorted(set(machines)) == [OTHER.name, OURS.machine.name]
    assert "900 us" not in [cell for row in rows for cell in row]


def test_file_named_twice_is_one_run(tmp_path: Path) -> None:
    path = synthetic.run_file(tmp_path / "run.json", OURS)
    text = compare_files([path, path], tmp_path, Request())
    assert len(table(text)) == 3
