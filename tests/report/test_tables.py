"""Tables: numbers as people read them, rows that never vanish, formats that parse back."""

import io
import re
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from bench.compare.analysis import Ratios, compare
from bench.machine.sampling import Health, HostHealth
from bench.matrix.case import PHASES, SERIES, WHOLE, Case
from bench.records.run_file import Drift, RunRecord
from bench.report.tables import (
    FORMATS,
    drift_lines,
    machine_notes,
    mark_lines,
    notes,
    numeric_rows,
    phase_rows,
    pivot_rows,
    render,
)
from bench.stats.frame import tidy
from bench.units import duration, percent, rate
from tests import synthetic
from tests.synthetic import READINGS_NS, Moods

SGD = Case(batch=1024)
ADAM = Case(batch=1024, optimizer="adam")
FUSED = Case(batch=1024, optimizer="adam", implementation="fused")
DOUBLE = Case(batch=1024, dtype="float64")
LBFGS = Case(batch=1024, optimizer="lbfgs")
CUDA = Case(batch=1024, device="cuda")
CUDA_ADAM = Case(batch=1024, device="cuda", optimizer="adam")
FIVE = ("host dispatch", "device busy", "latency", "bound", "samples/s")
pytestmark = pytest.mark.usefixtures("no_drift")

EXACT = Moods(noise=0, between=0, blocks=6)
BUSY = synthetic.step_profile(busy_ns=3e4)
STOLEN = [Health(HostHealth(steal=steal, governor="powersave")) for steal in (None, 0.2, 0.3)]

NO_KERNEL = ("unsupported", "no such kernel here")
BROKE = ("failed", "the worker was killed")


def frame_of(*runs: RunRecord) -> pd.DataFrame:
    return tidy(runs, ["ours", "theirs", "others"][: len(runs)])


def by_run(frame: pd.DataFrame) -> Ratios:
    return compare(frame, "run", None, WHOLE, "quiet")


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0.4, "0.4 ns"),
        (999, "999 ns"),
        (1e3, "1 us"),
        (128_400, "128.4 us"),
        (128_449, "128.4 us"),
        (12_345, "12.35 us"),
        (999_999, "1000 us"),
        (1e6, "1 ms"),
        (1_234_567_890, "1.235 s"),
        (90e9, "90 s"),
        (np.nan, "-"),
    ],
)
def test_duration_has_four_digits_and_a_unit(ns: float, text: str) -> None:
    assert duration(ns) == text


@pytest.mark.parametrize(
    ("half", "text"), [(0.0, "0.0%"), (0.0123, "1.2%"), (np.log(2.5), "150.0%"), (np.nan, "-")]
)
def test_half_width_is_a_percentage(half: float, text: str) -> None:
    assert percent(half) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [
        (0.25, "0.25"),
        (16.04, "16"),
        (999.4, "999"),
        (999.7, "1 k"),
        (7_123, "7.12 k"),
        (999_700, "1 M"),
        (7_944_000, "7.94 M"),
        (2.5e9, "2.5 G"),
        (np.nan, "-"),
    ],
)
def test_rate_has_three_digits_and_a_prefix(per_second: float, text: str) -> None:
    assert rate(per_second) == text


# Every format


ROWS = [
    {"case": "a", "quiet": "1.5 us", "± 95%": "1.0%"},
    {"case": "b & c", "quiet": "failed", "± 95%": "-"},
]


@pytest.mark.parametrize("style", FORMATS)
def test_every_format_holds_every_cell(style: str) -> None:
    text = render(ROWS, style)
    for word in ("case", "quiet", "1.5 us", "1.0", "failed", "-"):
        assert word in text
    assert len(text.splitlines()) >= 3
    assert not text.endswith("\n")


def test_formats_are_what_they_say() -> None:
    texts = {style: render(ROWS, style) for style in FORMATS}
    assert texts["github"].splitlines()[1].startswith("|-")
    assert texts["html"].startswith("<table>") and "b &amp; c" in texts["html"]
    assert r"\begin{tabular}{lrr}" in texts["latex"] and r"b \& c" in texts["latex"]
    assert texts["csv"].splitlines()[0] == "case,quiet,± 95%"
    tsv = [[cell.strip() for cell in line.split("\t")] for line in texts["tsv"].splitlines()]
    assert tsv == [["case", "quiet", "± 95%"], ["a", "1.5 us", "1.0%"], ["b & c", "failed", "-"]]


def test_csv_parses_back_with_numbers_as_numbers() -> None:
    ours = synthetic.run({SGD: 1e5, ADAM: 2e5}, ended={FUSED: NO_KERNEL})
    theirs = synthetic.run({SGD: 1.5e5, ADAM: 2e5})
    frame = frame_of(ours, theirs)
    text = render(numeric_rows(frame, by_run(frame)), "csv")
    back = pd.read_csv(io.StringIO(text))
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


def test_csv_holds_what_is_known_of_a_device() -> None:
    run = synthetic.run({SGD: 1e5, CUDA: 1e5}, moods=EXACT, profiles={CUDA: BUSY})
    text = render(numeric_rows(frame_of(run), None), "csv")
    back = pd.read_csv(io.StringIO(text)).to_dict("records")
    cpu, cuda = ([row for row in back if row["device"] == device] for device in ("cpu", "cuda"))
    assert [row["series"] for row in cuda] == list(SERIES)
    latency = next(row["quiet_ns"] for row in cuda if row["series"] == "latency")
    assert latency == pytest.approx(1.5e5)
    assert {(row["busy_ns"], str(row["host_bound"])) for row in cuda} == {(3e4, "True")}
    assert all(pd.isna(row["busy_ns"]) and pd.isna(row["host_bound"]) for row in cpu)


def test_csv_bounds_are_those_of_the_prediction_interval() -> None:
    frame = frame_of(synthetic.run({SGD: 1e5}, moods=Moods(between=0.8)))
    (whole,) = (row for row in numeric_rows(frame, None) if row["series"] == WHOLE)
    (half,) = frame.loc[frame["series"] == WHOLE, "quiet_half"]
    assert half > 0.5
    assert whole["quiet_low_ns"] == pytest.approx(whole["quiet_ns"] * np.exp(-half))
    assert whole["quiet_high_ns"] == pytest.approx(whole["quiet_ns"] * np.exp(half))


# The table of phases


def test_row_has_the_case_its_times_and_its_rate() -> None:
    (row,) = phase_rows(frame_of(synthetic.run({SGD: 1e5}, moods=EXACT)), None, "quiet")
    assert row == {
        "case": SGD.id,
        "quiet ± 95%": "100 us ± 0.0%",
        "typical ± 95%": "110 us ± 0.0%",
        "forward": "40 us",
        "backward": "40 us",
        "step": "20 us",
        "samples/s": "10.2 M",
    }


def test_phases_and_rate_are_of_the_statistic_asked_for() -> None:
    (row,) = phase_rows(frame_of(synthetic.run({SGD: 1e5}, moods=EXACT)), None, "typical")
    assert (row["forward"], row["step"], row["samples/s"]) == ("44 us", "22 us", "9.31 M")


def test_only_what_differs_names_a_row() -> None:
    frame = frame_of(synthetic.run({SGD: 1e5, ADAM: 2e5}, moods=EXACT))
    rows = phase_rows(frame, None, "quiet")
    assert [(row["optimizer"], row["quiet ± 95%"]) for row in rows] == [
        ("sgd", "100 us ± 0.0%"),
        ("adam", "200 us ± 0.0%"),
    ]
    assert not {"case", "run", "batch", "dtype"} & set(rows[0])


def test_rows_that_are_compared_stand_together_with_their_ratio() -> None:
    ours = synthetic.run({SGD: 1e5, ADAM: 2e5}, moods=EXACT)
    theirs = synthetic.run({SGD: 1.5e5, ADAM: 1e5}, moods=EXACT)
    frame = frame_of(ours, theirs)
    rows = phase_rows(frame, by_run(frame), "quiet")
    assert [(row["optimizer"], row["run"], row["vs run ours"]) for row in rows] == [
        ("sgd", "ours", "1"),
        ("sgd", "theirs", "1.500 ± 0.0%"),
        ("adam", "ours", "1"),
        ("adam", "theirs", "0.500 ± 0.0%"),
    ]


def test_case_that_only_one_run_has_gets_no_ratio() -> None:
    frame = frame_of(
        synthetic.run({SGD: 1e5}, moods=EXACT), synthetic.run({SGD: 1e5, ADAM: 2e5}, moods=EXACT)
    )
    rows = phase_rows(frame, by_run(frame), "quiet")
    assert [row["vs run ours"] for row in rows if row["optimizer"] == "adam"] == ["-"]


@pytest.mark.parametrize("why", [NO_KERNEL, BROKE])
def test_case_without_evidence_keeps_its_row_with_its_status(why: tuple[str, str]) -> None:
    frame = frame_of(synthetic.run({SGD: 1e5}, moods=EXACT, ended={ADAM: why}))
    kept = phase_rows(frame, None, "quiet")[1]
    assert (kept["optimizer"], kept["quiet ± 95%"]) == ("adam", why[0])
    assert {kept[name] for name in ("forward", "backward", "step", "samples/s")} == {"-"}


def test_device_that_works_through_a_queue_has_five_numbers_and_what_binds_it() -> None:
    run = synthetic.run(
        {SGD: 1e5, CUDA: 1e5, CUDA_ADAM: 2e5},
        moods=EXACT,
        profiles={CUDA: BUSY, CUDA_ADAM: synthetic.step_profile(busy_ns=2.2e5)},
    )
    cpu, sgd, adam = phase_rows(frame_of(run), None, "quiet")
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


def test_device_whose_busy_time_is_not_known_is_still_said_to_be_bound() -> None:
    run = synthetic.run({CUDA: 1e5}, moods=EXACT, shares={"dispatch": 1.0})
    (row,) = phase_rows(frame_of(run), None, "quiet")
    assert (row["device busy"], row["bound"]) == ("-", "host")


def test_unsupported_case_on_a_device_has_none_of_the_five_numbers() -> None:
    other = msgspec.structs.replace(CUDA, batch=64)
    run = synthetic.run({SGD: 1e5, other: 1e5}, moods=EXACT, ended={CUDA: NO_KERNEL})
    row = phase_rows(frame_of(run), None, "quiet")[2]
    assert (row["device"], row["quiet ± 95%"]) == ("cuda", "unsupported")
    assert [row[name] for name in FIVE] == ["-", "-", "-", "", "-"]


def test_a_table_of_cpu_times_has_no_columns_for_what_only_an_absent_device_tells() -> None:
    run = synthetic.run({SGD: 1e5}, moods=EXACT, ended={CUDA: NO_KERNEL})
    row = phase_rows(frame_of(run), None, "quiet")[1]
    assert not set(FIVE[:-1]) & set(row)


def test_case_without_phases_has_its_whole_step_and_its_rate() -> None:
    (row,) = phase_rows(frame_of(synthetic.run({LBFGS: 1e5}, moods=EXACT)), None, "quiet")
    assert [row[phase] for phase in PHASES] == ["-"] * 3
    assert (row["quiet ± 95%"], row["samples/s"]) == ("100 us ± 0.0%", "10.2 M")


def test_doubtful_times_have_a_column_that_says_why() -> None:
    run = synthetic.run({SGD: 1e5, ADAM: 2e5}, moods=EXACT, health=STOLEN, ended={DOUBLE: BROKE})
    rows = phase_rows(frame_of(run), None, "quiet")
    assert [row["flags"] for row in rows] == ["steal, clocks", "steal, clocks", ""]


def test_energy_has_a_column_where_it_was_read_of_any_case() -> None:
    run = synthetic.run({SGD: 1e5, ADAM: 2e5}, moods=EXACT, energy={SGD: 2.5, ADAM: "no counter"})
    rows = phase_rows(frame_of(run), None, "quiet")
    assert [row["J/M samples"] for row in rows] == ["2.44", "-"]  # 2.5 J for 1000 * 1024 of them


def test_a_table_of_what_is_beyond_doubt_and_took_nobody_knows_what_has_no_such_columns() -> None:
    calm = [Health(HostHealth(steal=0.0, governor="performance"))] * 3
    run = synthetic.run({SGD: 1e5}, moods=EXACT, health=calm, energy={SGD: "no counter"})
    (row,) = phase_rows(frame_of(run), None, "quiet")
    assert not {"flags", "J/M samples"} & set(row)


def test_csv_holds_energy_and_what_is_doubtful() -> None:
    run = synthetic.run({SGD: 1e5, ADAM: 1e5}, moods=EXACT, health=STOLEN, energy={SGD: 2.56})
    text = render(numeric_rows(frame_of(run), None), "csv")
    back = pd.read_csv(io.StringIO(text))
    assert set(back["flags"]) == {"steal, clocks"}
    assert set(back[back["case"] == SGD.id]["joules"]) == {2.5}
    assert back[back["case"] == ADAM.id]["joules"].isna().all()


# Pivot


def test_pivot_puts_one_axis_down_and_one_across() -> None:
    frame = frame_of(
        synthetic.run(
            {Case(): 1e5, Case(optimizer="adam"): 2e5, SGD: 3e5}, moods=EXACT, ended={ADAM: BROKE}
        )
    )
    assert pivot_rows(frame, "batch", "optimizer", WHOLE, "quiet") == [
        {"batch": 2, "optimizer sgd": "100 us ± 0.0%", "optimizer adam": "200 us ± 0.0%"},
        {"batch": 1024, "optimizer sgd": "300 us ± 0.0%", "optimizer adam": "failed"},
    ]


def test_cases_that_would_share_a_cell_get_rows_of_their_own() -> None:
    times = {SGD: 1e5, ADAM: 2e5, FUSED: 3e5, DOUBLE: 4e5}
    rows = pivot_rows(
        frame_of(synthetic.run(times, moods=EXACT)), "batch", "optimizer", "step", "quiet"
    )
    assert rows == [
        {
            "batch": 1024,
            "dtype": "float32",
            "implementation": "default",
            "optimizer sgd": "20 us ± 0.0%",
            "optimizer adam": "40 us ± 0.0%",
        },
        {
            "batch": 1024,
            "dtype": "float32",
            "implementation": "fused",
            "optimizer sgd": "",
            "optimizer adam": "60 us ± 0.0%",
        },
        {
            "batch": 1024,
            "dtype": "float64",
            "implementation": "default",
            "optimizer sgd": "80 us ± 0.0%",
            "optimizer adam": "",
        },
    ]


# Notes


def test_reasons_stand_below_once_each_with_their_cases() -> None:
    run = synthetic.run(
        {SGD: 1e5}, moods=EXACT, ended={ADAM: NO_KERNEL, FUSED: NO_KERNEL, DOUBLE: BROKE}
    )
    assert notes(frame_of(run), None, "quiet") == [
        f"unsupported: no such kernel here: {ADAM.id}, {FUSED.id}.",
        f"failed: the worker was killed: {DOUBLE.id}.",
    ]


def test_reasons_name_the_run_where_there_are_several() -> None:
    ours = synthetic.run({SGD: 1e5, ADAM: 1e5}, moods=EXACT)
    theirs = synthetic.run({SGD: 1e5}, moods=EXACT, ended={ADAM: BROKE})
    assert notes(frame_of(ours, theirs), None, "quiet") == [
        f"failed: the worker was killed: {ADAM.id} in theirs."
    ]


def test_marks_of_figures_are_explained_once() -> None:
    few = frame_of(synthetic.run({SGD: 1e5}, replicates=2))
    (row,) = phase_rows(few, None, "quiet")
    assert row["quiet ± 95%"].endswith(" ‡") and row["typical ± 95%"].endswith(" ‡")
    (line,) = mark_lines(few)
    assert line.startswith("‡ 2 of the 3 replicates") and line.endswith(f": {SGD.id}.")


def test_single_replicate_has_a_figure_without_an_interval() -> None:
    (row,) = phase_rows(
        frame_of(synthetic.run({SGD: 1e5}, replicates=1, moods=EXACT)), None, "quiet"
    )
    assert row["quiet ± 95%"] == "100 us ‡"
    assert row["samples/s"] != "-" and row["forward"] != "-"


def test_busy_machine_is_said_of_its_quiet_times() -> None:
    run = synthetic.run({SGD: 1e5})
    for worker in run.cases[0].blocks[WHOLE]:
        worker.readings_ns["dispatch"] = [2 * value for value in worker.readings_ns["dispatch"]]
    (row,) = phase_rows(frame_of(run), None, "quiet")
    assert row["quiet ± 95%"].endswith("% †") and not row["typical ± 95%"].endswith("†")
    (line,) = mark_lines(frame_of(run))
    assert line.startswith("† the machine was busy") and "in 0 of 3 replicates" in line


def test_slower_state_says_how_much_faster_the_machine_has_been() -> None:
    cases = {Case(batch=batch): 1e5 for batch in (2, 4, 8, 16)}
    run = synthetic.run(cases, moods=EXACT)
    run.floors_ns = {"dispatch, t1, stock": round(READINGS_NS["dispatch"] / 1.4)}
    rows = phase_rows(frame_of(run), None, "quiet")
    assert [row["quiet ± 95%"].split(" ")[-1] for row in rows] == ["*"] * 4
    (line,) = mark_lines(frame_of(run))
    assert line.startswith("* this machine has been 1.4x faster before")
    assert mark_lines(frame_of(run), "typical") == []
    assert line.endswith(": 4 of 4 cases.")


def test_drift_says_for_each_statistic_where_it_is_known_from() -> None:
    run = synthetic.run({SGD: 1e5})
    run.drift = {"typical": Drift(0.01, freedom=4.0, runs=5)}
    (line,) = drift_lines(frame_of(run))
    assert re.search(r"\(quiet\), an assumption, .*; 4.0% \(typical\), from 5 runs", line)
    run.drift["quiet"] = Drift(0.002, freedom=4.0, runs=5)
    (line,) = drift_lines(frame_of(run))
    assert "0.8% (quiet) and 4.0% (typical), from 5 runs of this plan on this machine" in line


def test_what_times_mean_is_told_only_where_a_device_works_through_a_queue() -> None:
    on_cuda = frame_of(synthetic.run({SGD: 1e5, CUDA: 1e5, CUDA_ADAM: 1e5}, moods=EXACT))
    (line,) = notes(on_cuda, None, "quiet")
    for told in ("host dispatch: ", "device busy: ", "latency: ", "samples/s: ", "bound by the ho"):
        assert told in line
    assert notes(frame_of(synthetic.run({SGD: 1e5}, moods=EXACT)), None, "quiet") == []


def test_what_makes_times_doubtful_is_told_once_with_how_many_cases_it_touches() -> None:
    run = synthetic.run({SGD: 1e5, ADAM: 2e5}, moods=EXACT, health=STOLEN)
    steal, clocks = notes(frame_of(run), None, "quiet")
    told = f"of {SGD.id}, and of 1 more: "
    assert steal.startswith(f"Flagged (steal): {told}the hypervisor gave up to 30.0% of the cores")
    assert clocks == f"Flagged (clocks): {told}the governor was powersave, not performance."
    alone = notes(frame_of(synthetic.run({SGD: 1e5}, moods=EXACT, health=STOLEN)), None, "quiet")
    assert alone[1].startswith(f"Flagged (clocks): of {SGD.id}: ")


def test_why_energy_is_not_known_is_told_once() -> None:
    energy = {SGD: "there is no counter", ADAM: "there is no counter"}
    run = synthetic.run({SGD: 1e5, ADAM: 2e5}, moods=EXACT, energy=energy)
    assert notes(frame_of(run), None, "quiet") == ["No energy: there is no counter."]


def test_means_and_what_one_side_lacks_are_told() -> None:
    ours = synthetic.run({SGD: 1e5, ADAM: 1e5}, moods=EXACT)
    theirs = synthetic.run({SGD: 4e5, FUSED: 1e5}, moods=EXACT)
    frame = frame_of(ours, theirs)
    assert notes(frame, by_run(frame), "quiet") == [
        "Geometric mean of time over run ours, over the 1 cases that all have: theirs 4.000.",
        "± of a ratio is its 95% confidence interval; the ratio of another two runs lands within "
        "1.4 times as much.",
        "run ours has no row for: optimizer=adam implementation=fused.",
        "run theirs has no row for: optimizer=adam implementation=default.",
    ]


def test_absent_mean_is_told() -> None:
    broken = synthetic.run({SGD: 1e5}, ended={SGD: ("failed", "it broke")})
    frame = frame_of(synthetic.run({SGD: 1e5}), broken)
    assert "No case has a quiet time for every run: no mean." in notes(
        frame, by_run(frame), "quiet"
    )


def differences(*runs: RunRecord) -> list[str]:
    lines = machine_notes(runs, ["ours", "theirs"][: len(runs)])
    assert len(lines) >= len(runs)
    return lines[len(runs) :]


def test_each_run_says_where_it_comes_from() -> None:
    run = synthetic.run({SGD: 1e5}, on=synthetic.machine(available_cores=2, dirty=True))
    assert machine_notes([run], ["ours"]) == [
        "ours: Test CPU, 2 of 4 cores, torch 2.13.0, CPython 3.11.9, commit 0123456789 with "
        "uncommitted changes, stock environment, pinned to cores 3."
    ]


def test_run_under_a_cpu_quota_says_so() -> None:
    limited = synthetic.machine(available_cores=1, cpu_quota=0.5)
    (line,) = machine_notes([synthetic.run({SGD: 1e5}, on=limited)], ["ours"])
    assert line.startswith("ours: Test CPU, 1 of 4 cores, CPU quota 0.5 cores, torch 2.13.0, ")


def test_incomplete_or_unpinned_run_says_so() -> None:
    run = synthetic.run({SGD: 1e5})
    run.sessions[-1].complete = False
    run.workers[1].cores = []
    (line,) = machine_notes([run], ["ours"])
    assert re.search(r"unpinned, INCOMPLETE\.$", line)


def test_each_runs_health_stands_below_it() -> None:
    ours = synthetic.run({SGD: 1e5}, health=[Health(HostHealth(steal=0.02))] * 2)
    theirs = synthetic.run({SGD: 1e5})
    assert machine_notes([ours], ["ours"])[1].startswith("Health: steal at most 2.0%, ")
    place, health, other = machine_notes([ours, theirs], ["ours", "theirs"])
    assert place.startswith("ours: Test CPU, ") and other.startswith("theirs: Test CPU, ")
    assert health.startswith("ours: Health: steal at most 2.0%, ")


def test_run_on_a_device_names_it_and_says_what_became_of_its_cpu_workers() -> None:
    alone = machine_notes([synthetic.run({CUDA: 1e5})], ["ours"])
    assert alone[0].startswith("ours: cuda: Test GPU, Test CPU, 4 of 4 cores, ")
    assert alone[0].endswith(", unpinned.")
    beside = machine_notes([synthetic.run({CUDA: 1e5, SGD: 1e5})], ["ours"])
    assert beside[0].startswith("ours: cuda: Test GPU, Test CPU, ")
    assert beside[0].endswith(", pinned to cores 3.")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"torch": "2.11.0"}, "torch: ours: 2.13.0, theirs: 2.11.0"),
        ({"available_cores": 1}, "cores available: ours: 4, theirs: 1"),
        ({"cpu_quota": 1.25}, "CPU quota: ours: none, theirs: 1.25 cores"),
        ({"gpus": ("Test GPU", "Test GPU")}, "gpus: ours: none, theirs: Test GPU, Test GPU"),
        ({"os": "Darwin 24"}, "os: ours: Linux 6.1, theirs: Darwin 24"),
        ({"dirty": True}, "commit: ours: 0123456789, theirs: 0123456789-dirty"),
        ({"code_hash": "a-b"}, "code: ours: aaaaaaaa-bbbbbbbb, theirs: a-b"),
        (
            {"environment": {"OMP_NUM_THREADS": "4"}},
            "OMP_NUM_THREADS: ours: not set, theirs: 4",
        ),
    ],
)
def test_what_differs_between_machines_is_told(changes: dict[str, Any], told: str) -> None:
    theirs = synthetic.run({SGD: 1e5}, on=synthetic.machine(**changes))
    assert differences(synthetic.run({SGD: 1e5}), theirs) == [f"Differs: {told}."]


def test_what_is_alike_is_not_told() -> None:
    assert differences(synthetic.run({SGD: 1e5}), synthetic.run({SGD: 1e5})) == []


def test_environments_that_differ_are_told() -> None:
    theirs = synthetic.run({SGD: 1e5}, environment="steady")
    assert differences(synthetic.run({SGD: 1e5}), theirs) == [
        "Differs: environment: ours: stock, theirs: steady."
    ]


def test_learning_rates_that_differ_are_told() -> None:
    theirs = synthetic.run({SGD: 1e5}, lr=0.1)
    assert differences(synthetic.run({SGD: 1e5}), theirs) == [
        "Differs: learning rate: ours: the optimizer's, theirs: 0.1."
    ]
