"""The comparison: its tables, what it is compared by, its notes, what is refused."""

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from bench.compare.verb import compare
from bench.compare.views import comparison_view
from bench.errors import UsageError
from bench.machine.sampling import Health, HostHealth
from bench.matrix.case import (
    WHOLE,
    Case,
)
from bench.matrix.step import PHASES
from bench.records.run_file import RunRecord
from bench.report.render import render
from bench.report.view import Row, View
from bench.stats.frame import tidy
from tests import synthetic
from tests.cases import SERIES, sumnet
from tests.synthetic import Moods

SGD = sumnet(batch=1024)
ADAM = sumnet(batch=1024, optimizer="adam")
FUSED = sumnet(batch=1024, optimizer="adam", implementation="fused")
DOUBLE = sumnet(batch=1024, dtype="float64")
LBFGS = sumnet(batch=1024, optimizer="lbfgs")
SMALL, SMALL_ADAM = sumnet(), sumnet(optimizer="adam")
CUDA = sumnet(batch=1024, device="cuda")
CUDA_ADAM = sumnet(batch=1024, device="cuda", optimizer="adam")
FIVE = ("host dispatch", "device busy", "latency", "bound", "samples/s")
pytestmark = pytest.mark.usefixtures("no_drift")

EXACT = Moods(noise=0, between=0, blocks=6)
OTHER = synthetic.machine("other-cpu-8c-16gib", cpu="Other CPU", torch="2.11.0")
BUSY = synthetic.step_profile(busy_ns=3e4)
STOLEN = [Health(HostHealth(steal=steal, governor="powersave")) for steal in (None, 0.2, 0.3)]

NO_KERNEL = ("unsupported", "no such kernel here")
BROKE = ("failed", "the worker was killed")


def run(times_ns: dict[Case, float], **how: Any) -> RunRecord:
    return synthetic.run(times_ns, **{"moods": EXACT} | how)


OURS = run({SGD: 1e5, ADAM: 2e5})
THEIRS = run({SGD: 1.5e5, ADAM: 2.2e5}, on=OTHER)


def view_of(*runs: RunRecord, **options: Any) -> View:
    return comparison_view(runs, ["ours", "theirs", "others"][: len(runs)], **options)


def rows_of(*runs: RunRecord, **options: Any) -> list[Row]:
    """The rows of the first table."""
    return list(view_of(*runs, **options).tables[0].rows)


def notes_of(*runs: RunRecord, **options: Any) -> list[str]:
    """The notes above those on drift and machines."""
    notes = list(view_of(*runs, **options).notes)
    return notes[
        : next(i for i, note in enumerate(notes) if "prediction interval for another run" in note)
    ]


def compared(files: list[Path], results: Path, **options: Any) -> View:
    """What the verb gives with its defaults."""
    plain = dict.fromkeys(("by", "reference", "rows", "columns"))
    return compare(files, results, **{**plain, "phase": WHOLE, "statistic": "quiet", **options})


def csv_of(view: View) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(render(view, "csv")))


# The table of phases


def test_row_has_the_case_its_times_and_its_rate() -> None:
    assert rows_of(run({SGD: 1e5})) == [
        {
            "case": SGD.id,
            "quiet ± 95%": "100 us ± 0.0%",
            "typical ± 95%": "110 us ± 0.0%",
            "forward": "40 us",
            "backward": "40 us",
            "step": "20 us",
            "samples/s": "10.2 M",
        }
    ]


def test_phases_and_rate_are_of_the_statistic_asked_for() -> None:
    (row,) = rows_of(run({SGD: 1e5}), statistic="typical")
    assert (row["forward"], row["step"], row["samples/s"]) == ("44 us", "22 us", "9.31 M")


def test_phases_that_cannot_be_told_apart_are_left_out_with_their_reason() -> None:
    measured = run({SGD: 1e5, ADAM: 2e5}, without_phases={SGD: "unclear: try a larger --batch"})
    sgd, adam = rows_of(measured)
    assert [sgd[phase] for phase in PHASES] == ["-"] * 3
    assert sgd["quiet ± 95%"] == "100 us ± 0.0%"
    assert adam["forward"] == "80 us"
    assert f"no phases: unclear: try a larger --batch: {SGD.id}." in notes_of(measured)


def test_only_what_differs_names_a_row() -> None:
    rows = rows_of(run({SGD: 1e5, ADAM: 2e5}))
    assert [(row["optimizer"], row["quiet ± 95%"]) for row in rows] == [
        ("sgd", "100 us ± 0.0%"),
        ("adam", "200 us ± 0.0%"),
    ]
    assert not {"case", "run", "batch", "dtype"} & set(rows[0])


def test_several_runs_are_compared_by_run_side_by_side() -> None:
    rows = rows_of(OURS, THEIRS)
    assert [(row["optimizer"], row["run"], row["vs run ours"]) for row in rows] == [
        ("sgd", "ours", "1"),
        ("sgd", "theirs", "1.500 ± 0.0%"),
        ("adam", "ours", "1"),
        ("adam", "theirs", "1.100 ± 0.0%"),
    ]


def test_single_run_is_shown_without_ratios() -> None:
    assert not [name for name in rows_of(OURS)[0] if name.startswith("vs")]


def test_case_that_only_one_run_has_gets_no_ratio() -> None:
    rows = rows_of(run({SGD: 1e5}), OURS)
    assert [row["vs run ours"] for row in rows if row["optimizer"] == "adam"] == ["-"]


@pytest.mark.parametrize("why", [NO_KERNEL, BROKE])
def test_case_without_evidence_keeps_its_row_with_its_status(why: tuple[str, str]) -> None:
    kept = rows_of(run({SGD: 1e5}, ended={ADAM: why}))[1]
    assert (kept["optimizer"], kept["quiet ± 95%"]) == ("adam", why[0])
    assert {kept[name] for name in ("forward", "backward", "step", "samples/s")} == {"-"}


def test_asynchronous_device_has_five_figures_more_and_what_binds_it() -> None:
    busy = {CUDA: BUSY, CUDA_ADAM: synthetic.step_profile(busy_ns=2.2e5)}
    cpu, sgd, adam = rows_of(run({SGD: 1e5, CUDA: 1e5, CUDA_ADAM: 2e5}, profiles=busy))
    assert sgd == {
        "device": "cuda",
        "optimizer": "sgd",
        "quiet ± 95%": "100 us ± 0.0%",
        "typical ± 95%": "110 us ± 0.0%",
        "forward": "40 us",
        "backward": "40 us",
        "step": "20 us",
        "host dispatch": "80 us",
        "device busy": "30 us",
        "latency": "150 us",
        "bound": "host",
        "samples/s": "12.8 M",
    }
    assert (adam["device busy"], adam["bound"], adam["samples/s"]) == ("220 us", "device", "6.4 M")
    assert [cpu[name] for name in FIVE] == ["-", "-", "-", "", "10.2 M"]


def test_bound_is_known_without_the_busy_time() -> None:
    (row,) = rows_of(run({CUDA: 1e5}, shares={"dispatch": 1.0}))
    assert (row["device busy"], row["bound"]) == ("-", "host")


def test_unsupported_case_on_a_device_has_none_of_the_five_figures() -> None:
    other = CUDA.but({"batch": 64})
    row = rows_of(run({SGD: 1e5, other: 1e5}, ended={CUDA: NO_KERNEL}))[2]
    assert (row["device"], row["quiet ± 95%"]) == ("cuda", "unsupported")
    assert [row[name] for name in FIVE] == ["-", "-", "-", "", "-"]


def test_table_of_cpu_times_has_no_columns_of_an_absent_device() -> None:
    row = rows_of(run({SGD: 1e5}, ended={CUDA: NO_KERNEL}))[1]
    assert not set(FIVE[:-1]) & set(row)


def test_cases_without_phases_have_their_whole_step_and_their_rate() -> None:
    record = run({LBFGS: 1e5, LBFGS.but({"batch": 64}): 2e5})
    rows = rows_of(record, record)
    assert not set(PHASES) & set(rows[0])
    assert rows[0]["samples/s"] == "10.2 M"
    assert [row["quiet ± 95%"] for row in rows] == ["100 us ± 0.0%"] * 2 + ["200 us ± 0.0%"] * 2


def test_flags_have_a_column_where_any_case_has_one() -> None:
    rows = rows_of(run({SGD: 1e5, ADAM: 2e5}, health=STOLEN, ended={DOUBLE: BROKE}))
    assert [row["flags"] for row in rows] == ["steal, clocks", "steal, clocks", ""]


def test_energy_has_a_column_where_it_was_read_of_any_case() -> None:
    rows = rows_of(run({SGD: 1e5, ADAM: 2e5}, energy={SGD: 2.5, ADAM: "no counter"}))
    assert [row["J/M samples"] for row in rows] == ["2.44", "-"]  # 2.5 J for 1000 * 1024 of them


def test_table_without_flags_and_energy_has_no_such_columns() -> None:
    calm = [Health(HostHealth(steal=0.0, governor="performance"))] * 3
    (row,) = rows_of(run({SGD: 1e5}, health=calm, energy={SGD: "no counter"}))
    assert not {"flags", "J/M samples"} & set(row)


# What is compared


def test_other_reference_turns_the_ratio_round() -> None:
    view = view_of(OURS, THEIRS, reference="theirs")
    assert view.tables[0].rows[0]["vs run theirs"] == "0.667 ± 0.0%"
    assert any("ratio to run theirs" in note for note in view.notes)


def test_comparison_by_an_axis_needs_one_run_alone() -> None:
    rows = rows_of(OURS, by="optimizer")
    assert [(row["optimizer"], row["vs optimizer sgd"]) for row in rows] == [
        ("sgd", "1"),
        ("adam", "2.000 ± 0.0%"),
    ]


def test_series_and_statistic_choose_what_is_compared() -> None:
    theirs = run({SGD: 1e5, ADAM: 2e5})
    for worker in theirs.cases[0].blocks["phases"]:
        worker.p50_ns["step"] *= 3
    typical, quiet = (
        [row["vs run ours"] for row in rows_of(OURS, theirs, series="step", statistic=statistic)]
        for statistic in ("typical", "quiet")
    )
    assert typical[1] == "3.000 ± 0.0%"
    assert quiet[1] == "1.000 ± 0.0%"


# One axis against another


def test_rows_and_columns_lay_out_a_table_of_times() -> None:
    record = run({SMALL: 1e5, SMALL_ADAM: 2e5, SGD: 3e5}, ended={ADAM: BROKE})
    view = view_of(record, rows="batch", columns="optimizer")
    assert view.tables[0].rows == [
        {"batch": 2, "optimizer sgd": "100 us ± 0.0%", "optimizer adam": "200 us ± 0.0%"},
        {"batch": 1024, "optimizer sgd": "300 us ± 0.0%", "optimizer adam": "failed"},
    ]
    assert view.tables[0].worth == [("optimizer adam",)]


def test_cases_that_would_share_a_cell_get_rows_of_their_own() -> None:
    record = run({SGD: 1e5, ADAM: 2e5, FUSED: 3e5, DOUBLE: 4e5})
    rows = rows_of(record, rows="batch", columns="optimizer", series="step")
    assert [tuple(row.values()) for row in rows] == [
        (1024, "float32", "default", "20 us ± 0.0%", "40 us ± 0.0%"),
        (1024, "float32", "fused", "", "60 us ± 0.0%"),
        (1024, "float64", "default", "80 us ± 0.0%", ""),
    ]
    assert list(rows[0])[:3] == ["batch", "dtype", "implementation"]


def test_columns_default_to_what_is_compared() -> None:
    first, _ = rows_of(OURS, THEIRS, rows="optimizer")
    assert first == {
        "optimizer": "sgd",
        "run ours": "100 us ± 0.0%",
        "run theirs": "150 us ± 0.0%",
    }


# Records


def test_records_have_every_number_and_parse_back() -> None:
    ours = synthetic.run({SGD: 1e5, ADAM: 2e5}, ended={FUSED: NO_KERNEL})
    theirs = synthetic.run({SGD: 1.5e5, ADAM: 2e5})
    back, frame = csv_of(view_of(ours, theirs)), tidy([ours, theirs], ["ours", "theirs"])
    assert len(back) == 5 * len(SGD.series)
    assert set(back["series"]) == set(SGD.series)
    numbers = ["batch", "replicates", "quiet_share", "quiet_ns", "quiet_low_ns", "quiet_high_ns"]
    numbers += ["typical_ns", "typical_low_ns", "typical_high_ns", "high_ns", "ratio", "ratio_half"]
    for name in numbers:
        assert pd.api.types.is_numeric_dtype(back[name]), name
    assert back["quiet_ns"].to_numpy() == pytest.approx(frame["quiet_ns"].to_numpy(), nan_ok=True)
    fused = back[back["case"] == FUSED.id]
    assert set(fused["status"]) == {"unsupported"}
    assert set(fused["reason"]) == {"no such kernel here"}
    assert fused["quiet_ns"].isna().all()
    whole = back[(back["series"] == WHOLE) & (back["case"] == SGD.id)].set_index("run")
    assert whole.loc["theirs", "ratio"] == pytest.approx(1.5, rel=0.02)


def test_records_have_what_is_known_of_a_device() -> None:
    view = view_of(run({SGD: 1e5, CUDA: 1e5}, profiles={CUDA: BUSY}))
    cpu, cuda = (
        [row for row in view.records if row["device"] == device] for device in ("cpu", "cuda")
    )
    assert [row["series"] for row in cuda] == list(SERIES)
    latency = next(row["quiet_ns"] for row in cuda if row["series"] == "latency")
    assert latency == pytest.approx(1.5e5)
    assert {(row["busy_ns"], row["host_bound"]) for row in cuda} == {(3e4, True)}
    assert all(pd.isna(row["busy_ns"]) and row["host_bound"] is None for row in cpu)


def test_records_have_energy_and_flags() -> None:
    back = csv_of(view_of(run({SGD: 1e5, ADAM: 1e5}, health=STOLEN, energy={SGD: 2.56})))
    assert set(back["flags"]) == {"steal, clocks"}
    assert set(back[back["case"] == SGD.id]["joules"]) == {2.5}
    assert back[back["case"] == ADAM.id]["joules"].isna().all()


def test_bounds_are_those_of_the_prediction_interval() -> None:
    record = synthetic.run({SGD: 1e5}, moods=Moods(between=0.8))
    (whole,) = (row for row in view_of(record).records if row["series"] == WHOLE)
    frame = tidy([record], ["ours"])
    (half,) = frame.loc[frame["series"] == WHOLE, "quiet_half"]
    assert half > 0.5
    assert whole["quiet_low_ns"] == pytest.approx(whole["quiet_ns"] * np.exp(-half))
    assert whole["quiet_high_ns"] == pytest.approx(whole["quiet_ns"] * np.exp(half))


# Notes


def test_reasons_have_one_note_each_with_their_cases() -> None:
    ended = {ADAM: NO_KERNEL, FUSED: NO_KERNEL, DOUBLE: BROKE}
    assert notes_of(run({SGD: 1e5}, ended=ended)) == [
        f"unsupported: no such kernel here: {ADAM.id}, {FUSED.id}.",
        f"failed: the worker was killed: {DOUBLE.id}.",
    ]


def test_reasons_name_the_run_where_there_are_several() -> None:
    notes = notes_of(OURS, run({SGD: 1e5}, ended={ADAM: BROKE}))
    assert notes[-1] == f"failed: the worker was killed: {ADAM.id} in theirs."


def test_times_of_an_asynchronous_device_are_explained_and_of_no_other() -> None:
    (note,) = notes_of(run({SGD: 1e5, CUDA: 1e5, CUDA_ADAM: 1e5}))
    for column in ("host dispatch: ", "device busy: ", "latency: ", "samples/s: ", "bound is host"):
        assert column in note
    assert notes_of(run({SGD: 1e5})) == []


def test_flags_and_why_energy_is_unavailable_have_one_note_each() -> None:
    energy = dict.fromkeys((SGD, ADAM), "there is no counter")
    steal, clocks, no_energy = notes_of(run({SGD: 1e5, ADAM: 2e5}, health=STOLEN, energy=energy))
    assert steal.startswith("Flag steal: ") and clocks.startswith("Flag clocks: ")
    assert no_energy == "Energy unavailable: there is no counter."


def test_energy_that_was_not_held_against_power_has_a_note() -> None:
    record = run({SGD: 1e5, ADAM: 2e5}, energy={SGD: 2.5, ADAM: 2.5})
    assert notes_of(record) == []
    for case in record.cases:
        assert case.energy is not None
        case.energy = msgspec.structs.replace(case.energy, unchecked="it shows no power")
    assert notes_of(record) == ["Energy unchecked: it shows no power."]


def test_means_and_what_one_side_lacks_are_noted() -> None:
    mean, ratio, ours, theirs = notes_of(run({SGD: 1e5, ADAM: 1e5}), run({SGD: 4e5, FUSED: 1e5}))
    assert "Geometric mean of the ratio to run ours, over the 1 " in mean
    assert mean.endswith(": theirs 4.000.")
    assert "95% confidence interval" in ratio
    assert ours == "run ours lacks: optimizer=adam implementation=fused."
    assert theirs == "run theirs lacks: optimizer=adam implementation=default."


def test_absent_mean_is_noted() -> None:
    notes = notes_of(run({SGD: 1e5}), run({SGD: 1e5}, ended={SGD: BROKE}))
    assert any(note.startswith("No geometric mean: ") for note in notes)


def test_machines_and_their_differences_are_noted() -> None:
    notes = view_of(OURS, THEIRS).notes
    assert any(note.startswith("ours: Test CPU, 4 of 4 cores, torch 2.13.0") for note in notes)
    assert any(note.startswith("theirs: Other CPU") for note in notes)
    assert "Differs: cpu: ours: Test CPU, theirs: Other CPU." in notes
    assert "Differs: torch: ours: 2.13.0, theirs: 2.11.0." in notes


# Text


def test_text_has_the_table_then_the_notes() -> None:
    record = run({SGD: 1e5}, ended={ADAM: ("failed", "1 < 2")})
    text = render(view_of(record), "github")
    assert text.startswith("| optimizer ") and f"\n\nfailed: 1 < 2: {ADAM.id}.\n" in text
    assert f"<p>failed: 1 &lt; 2: {ADAM.id}.</p>" in render(view_of(record), "html")
    assert rf"\end{{tabular}}{chr(10)}% failed: 1 < 2: {ADAM.id}." in render(
        view_of(record), "latex"
    )


def test_tsv_has_the_table_alone() -> None:
    lines = render(view_of(OURS, THEIRS), "tsv").splitlines()
    assert len(lines) == 5
    assert len({line.count("\t") for line in lines}) == 1


# Files, and what is refused


def test_runs_with_one_file_name_are_compared_all_the_same(tmp_path: Path) -> None:
    old = synthetic.run_file(tmp_path / "old" / "run.json", run({SGD: 1e5}))
    new = synthetic.run_file(tmp_path / "new" / "run.json", run({SGD: 2e5}))
    rows = compared([old, new], tmp_path).tables[0].rows
    assert [row[f"vs run {old}"] for row in rows] == ["1", "2.000 ± 0.0%"]


def test_file_names_the_run_that_is_the_reference(tmp_path: Path) -> None:
    ours = synthetic.run_file(tmp_path / "a.json", OURS)
    theirs = synthetic.run_file(tmp_path / "b.json", THEIRS)
    for name in (str(theirs), "b.json", "b"):
        rows = compared([ours, theirs], tmp_path, reference=name).tables[0].rows
        assert rows[0][f"vs run {OTHER.name}"] == "0.667 ± 0.0%"


def test_newest_run_of_every_machine_is_compared_by_default(tmp_path: Path) -> None:
    here, there = tmp_path / OURS.machine.name, tmp_path / OTHER.name
    synthetic.run_file(here / "20260101T000000Z-a.json", run({SGD: 9e5}))
    synthetic.run_file(here / "20260201T000000Z-a.json", OURS)
    synthetic.run_file(there / "20250101T000000Z-a.json", THEIRS)
    rows = compared([], tmp_path).tables[0].rows
    assert {row["run"] for row in rows} == {OTHER.name, OURS.machine.name}
    assert "900 us" not in [cell for row in rows for cell in row.values()]


def test_file_named_twice_is_one_run(tmp_path: Path) -> None:
    path = synthetic.run_file(tmp_path / "run.json", OURS)
    assert len(compared([path, path], tmp_path).tables[0].rows) == 2


def test_no_run_files_is_refused(tmp_path: Path) -> None:
    for results in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=str(results)):
            compared([], results)


def test_rows_and_columns_of_one_axis_are_refused() -> None:
    with pytest.raises(UsageError, match="--rows and --columns"):
        compared([Path("never-read.json")], Path("nowhere"), rows="batch", columns="batch")


def test_unknown_reference_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"--reference: .*'mine' .*: ours"):
        view_of(OURS, reference="mine")


@pytest.mark.parametrize("by", [None, "optimizer"])
def test_series_that_none_of_the_runs_has_is_refused(by: str | None) -> None:
    with pytest.raises(UsageError, match="latency"):
        view_of(OURS, THEIRS, series="latency", by=by)
