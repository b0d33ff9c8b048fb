"""Runs whose cases are of several steps, with axes and phases of their own, through all that reads
runs: blank where a step has no such axis, and a column for each phase that any has."""

import io
from pathlib import Path

import pandas as pd
import pytest

from bench.compare.verdicts import StoredRules, judge
from bench.compare.views import comparison_view
from bench.errors import UsageError
from bench.matrix.case import WHOLE, case_of
from bench.rank.views import ranking_view
from bench.repeatability.views import repeatability_view
from bench.report.render import render
from bench.report.view import Row
from bench.stats.frame import axes_in, phases_in, sizes_in, tidy
from bench.trend.analysis import trends
from bench.trend.chart import trend_chart
from tests import synthetic
from tests.cases import GAN, MYNET, TRAINER, sumnet
from tests.commands import invoke
from tests.synthetic import Moods

EXACT = Moods(noise=0, between=0, blocks=6)
SUMNET = sumnet(batch=64)
NARROW, WIDE = (case_of(MYNET, {"width": width, "act": "gelu"}) for width in (16, 64))
ADVERSARIAL = case_of(GAN, {"clip": False})
WHOLLY = case_of(TRAINER, {})
TIMES = {SUMNET: 1e5, NARROW: 2e5, WIDE: 3e5, ADVERSARIAL: 6e5, WHOLLY: 7e5}
RUN = synthetic.run(TIMES, moods=EXACT)
FRAME = tidy([RUN], ["ours"])
AXES = [
    *("workload", "device", "dtype", "batch", "width"),
    *("optimizer", "implementation", "compile", "hidden", "act", "clip", "threads"),
]


def test_frame_has_the_axes_of_all_and_blanks_where_a_step_has_none() -> None:
    assert axes_in(FRAME) == AXES
    assert sizes_in(FRAME) == ["batch", "width"]
    whole = FRAME[FRAME["series"] == WHOLE]
    assert whole["workload"].tolist() == ["sumnet", "mynet", "mynet", "gan", "trainer"]
    assert whole["batch"].tolist() == [64, "", "", "", ""]
    assert whole["width"].tolist() == ["", 16, 64, 64, ""]
    assert whole["act"].tolist() == ["", "gelu", "gelu", "", ""]
    assert whole["clip"].tolist() == ["", "", "", "false", ""]
    assert whole["optimizer"].tolist() == ["sgd", "sgd", "sgd", "own", "own"]


def test_frame_has_the_phases_of_all_each_with_its_times() -> None:
    assert phases_in(FRAME) == [
        *("forward", "backward", "step"),
        *("load", "discriminator", "generator"),
    ]
    of_gan = FRAME[FRAME["workload"] == "gan"].set_index("series")["quiet_ns"]
    assert of_gan["load"] == pytest.approx(2e5)
    assert FRAME.loc[FRAME["workload"] == "trainer", "series"].tolist() == [WHOLE]


def table(**options: str) -> list[Row]:
    return list(comparison_view([RUN], ["ours"], **options).tables[0].rows)  # type: ignore[arg-type]


def test_table_has_a_column_for_each_axis_that_differs_and_each_phase() -> None:
    rows = table()
    (only, _, wide, gan, trainer) = rows
    assert set(rows[0]) >= {"workload", "batch", "width", "act", "clip", "hidden", "optimizer"}
    assert (only["workload"], only["batch"], only["width"]) == ("sumnet", 64, "")
    assert (only["forward"], only["load"]) == ("40 us", "-")
    assert (wide["width"], wide["batch"], wide["forward"]) == (64, "", "120 us")
    assert (gan["clip"], gan["forward"], gan["load"]) == ("false", "-", "200 us")
    assert [trainer[phase] for phase in phases_in(FRAME)] == ["-"] * 6


def test_rate_is_of_the_steps_that_say_how_many_samples_they_take() -> None:
    assert [row["samples/s"] for row in table()] == ["640 k", "-", "-", "-", "-"]


def test_by_an_axis_that_not_all_have_those_that_have_it_are_compared() -> None:
    view = comparison_view([RUN], ["ours"], by="width", reference="16")
    cells = {(row["workload"], row["width"]): row["vs width 16"] for row in view.tables[0].rows}
    assert cells["mynet", 16] == "1"
    assert cells["mynet", 64].startswith("1.500")
    assert {cells[other] for other in (("sumnet", ""), ("gan", 64), ("trainer", ""))} == {"-"}
    assert not any("width  " in note for note in view.notes)


def test_axis_across_has_a_column_for_the_steps_without_it() -> None:
    rows = table(rows="workload", columns="width")
    assert [name for name in rows[0] if "width" in name] == ["no width", "width 16", "width 64"]
    by_step = {row["workload"]: row for row in rows}
    assert by_step["sumnet"]["no width"].startswith("100 us")
    assert by_step["mynet"]["no width"] == ""


@pytest.mark.parametrize("flag", ["--by", "--rows", "--columns"])
def test_axis_that_no_step_has_is_refused_with_those_there_are(tmp_path: Path, flag: str) -> None:
    path = synthetic.run_file(tmp_path / "run.json", RUN)
    done = invoke("compare", path, flag, "depth")
    assert done.exit_code == 2
    assert done.error.startswith(f"{flag}: 'depth' is no axis of these cases; there are: run, ")
    assert all(axis in done.error for axis in AXES)


@pytest.mark.parametrize("phase", ["load", "discriminator", "forward"])
def test_phase_of_any_step_can_be_asked_for(tmp_path: Path, phase: str) -> None:
    path = synthetic.run_file(tmp_path / "run.json", RUN)
    for words in (("--rows", "workload", "--phase", phase), ("--by", "width", "--phase", phase)):
        assert invoke("compare", path, *words).exit_code == 0
    assert invoke("trend", path, "--phase", phase).exit_code == 0


def test_phase_that_no_step_has_is_refused(tmp_path: Path) -> None:
    path = synthetic.run_file(tmp_path / "run.json", RUN)
    for verb in ("compare", "trend"):
        done = invoke(verb, path, "--phase", "sideways")
        assert done.exit_code == 2 and "sideways" in done.error


def test_csv_has_every_case_with_its_axes_and_samples(tmp_path: Path) -> None:
    path = synthetic.run_file(tmp_path / "run.json", RUN)
    read = pd.read_csv(io.StringIO(invoke("compare", path, "--format", "csv").stdout))
    assert set(AXES) | {"samples"} <= set(read)
    whole = read[read["series"] == WHOLE].set_index("case")
    assert list(whole.index) == [case.id for case in TIMES]
    assert whole["quiet_ns"].tolist() == pytest.approx(list(TIMES.values()))
    assert whole["samples"].dropna().to_dict() == {SUMNET.id: 64}


def test_rank_has_a_row_for_each_task_and_no_crossover_of_unlike_steps() -> None:
    cuda = {case.but({"device": "cuda"}): ns / 2 for case, ns in TIMES.items()}
    on_both = synthetic.run(TIMES | cuda, moods=EXACT)
    view = ranking_view([on_both], ["ours"])
    rows = {(row["workload"], row["width"]): row for row in view.tables[0].rows}
    assert {row["configurations"] for row in rows.values()} == {2}
    assert rows["mynet", 16]["fastest"] == "cuda"
    assert rows["trainer", ""]["batch"] == ""
    assert not [note for note in view.notes if "overtake" in note]


def test_crossover_is_found_beside_steps_that_have_no_batch() -> None:
    times = {
        sumnet(device=device, batch=batch): ns / (0.8 if device == "cuda" else 1)
        for device, of_device in (("cpu", (1e5, 8e5)), ("cuda", (2e5, 2e5)))
        for batch, ns in zip((4, 4096), of_device, strict=True)
    }
    view = ranking_view([synthetic.run({**times, NARROW: 1e5}, moods=EXACT)], ["ours"])
    (note,) = [note for note in view.notes if "overtakes" in note]
    assert note.startswith("optimizer sgd, hidden 10: cuda overtakes cpu")


def test_trend_has_a_history_for_each_case_and_draws_it() -> None:
    history = {
        f"run {number}": synthetic.run(TIMES, moods=Moods(seed=number)) for number in range(4)
    }
    found = trends(history, WHOLE, "quiet")
    assert [trend.case for trend in found] == [case.id for case in TIMES]
    drawn = str(trend_chart(found, dict.fromkeys(history, "now")).to_dict())
    assert "mynet" in drawn and "width16" in drawn and "clip-false" in drawn


def test_repeatability_has_a_row_for_each_size_of_each_step() -> None:
    runs = [synthetic.run(TIMES, moods=Moods(seed=number)) for number in range(2)]
    rows = repeatability_view(runs).tables[0].rows
    sizes = [(row["workload"], row["batch"], row["width"]) for row in rows[: len(rows) // 3]]
    assert sizes == [
        ("sumnet", 64, ""),
        ("mynet", "", 16),
        ("mynet", "", 64),
        ("gan", "", 64),
        ("trainer", "", ""),
    ]


@pytest.mark.parametrize("case", [NARROW, WHOLLY])
def test_run_of_one_step_without_a_batch_goes_through_every_verb(
    case: object, tmp_path: Path
) -> None:
    files = [
        synthetic.run_file(tmp_path / f"{n}.json", synthetic.run({case: 1e5}, moods=Moods(seed=n)))  # type: ignore[dict-item]
        for n in range(2)
    ]
    for words in (
        ("compare", files[0]),
        ("compare", *files),
        ("compare", files[0], "--rows", "dtype"),
        ("compare", files[0], "--rows", "run"),
        ("compare", *files, "--verdicts"),
        ("rank", files[0]),
        ("trend", *files),
        ("repeatability", *files),
    ):
        done = (
            invoke(*words, f"--results={tmp_path}")
            if words[0] != "repeatability"
            else invoke(*words)
        )
        assert (done.exit_code in (0, 1, 3)) and "Traceback" not in done.stderr, (words, done)
        assert done.stdout


def test_verdicts_are_on_every_series_of_every_step() -> None:
    slower = {case: ns * (1.2 if case == ADVERSARIAL else 1.0) for case, ns in TIMES.items()}
    runs = [synthetic.run(times, moods=EXACT, replicates=5) for times in (TIMES, slower)]
    frame = tidy(runs, ["base", "head"])
    judged = judge(frame, "base", "head", StoredRules())
    assert list(judged.columns[1:13]) == AXES
    regressed = judged[judged["verdict"] == "regressed"]
    assert set(regressed["case"]) == {ADVERSARIAL.id}
    assert set(regressed["series"]) == {"load", "discriminator", "generator", WHOLE}
    assert len(judged) == sum(len(case.series) for case in TIMES)


@pytest.mark.parametrize("style", ["github", "plain", "html", "latex", "tsv"])
def test_tables_render_in_every_format(style: str) -> None:
    text = render(comparison_view([RUN], ["ours"]), style)
    assert "discriminator" in text and "trainer" in text


def test_reference_that_no_case_has_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--reference: no width is '32' here; there are: 16, 64"):
        comparison_view([RUN], ["ours"], by="width", reference="32")
