"""What tables of times share: marked cells, and the notes below the tables."""

import re
from typing import Any

import pandas as pd
import pytest

from bench.machine.circumstances import MeasuredDevice
from bench.machine.sampling import Health, HostHealth
from bench.matrix.case import WHOLE
from bench.records.run_file import Drift, RunRecord
from bench.report import notes
from bench.report.notes import time_cell
from bench.stats.frame import tidy
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import GPU, OTHER_GPUS, READINGS_NS, Moods, measured_on

SGD = sumnet(batch=1024)
ADAM = sumnet(batch=1024, optimizer="adam")
CUDA = sumnet(batch=1024, device="cuda")
pytestmark = pytest.mark.usefixtures("no_drift")

EXACT = Moods(noise=0, between=0, blocks=6)


def frame_of(*runs: RunRecord) -> pd.DataFrame:
    return tidy(runs, ["ours", "theirs", "others"][: len(runs)])


def cells(frame: pd.DataFrame, statistic: str) -> list[str]:
    """The cells of whole steps."""
    return [time_cell(row, statistic) for _, row in frame[frame["series"] == WHOLE].iterrows()]


# Marks


def test_marks_of_figures_are_explained_once() -> None:
    few = frame_of(synthetic.run({SGD: 1e5}, replicates=2))
    for statistic in ("quiet", "typical"):
        (cell,) = cells(few, statistic)
        assert cell.endswith(" ‡")
    (line,) = notes.marks(few)
    assert line.startswith("‡ 2 of the 3 replicates") and line.endswith(f": {SGD.id}.")


def test_single_replicate_has_a_figure_without_an_interval() -> None:
    frame = frame_of(synthetic.run({SGD: 1e5}, replicates=1, moods=EXACT))
    assert cells(frame, "quiet") == ["100 us ‡"]


def test_busy_machine_marks_its_quiet_times() -> None:
    run = synthetic.run({SGD: 1e5})
    for worker in run.cases[0].blocks[WHOLE]:
        worker.readings_ns["dispatch"] = [2 * value for value in worker.readings_ns["dispatch"]]
    assert cells(frame_of(run), "quiet")[0].endswith("% †")
    assert not cells(frame_of(run), "typical")[0].endswith("†")
    (line,) = notes.marks(frame_of(run))
    assert line.startswith("† the machine was busy") and "in 0 of 3 replicates" in line


def test_slower_state_has_how_much_faster_the_machine_has_been() -> None:
    cases = {sumnet(batch=batch): 1e5 for batch in (2, 4, 8, 16)}
    run = synthetic.run(cases, moods=EXACT)
    run.floors_ns = {"dispatch, t1, stock": round(READINGS_NS["dispatch"] / 1.4)}
    assert [cell.split(" ")[-1] for cell in cells(frame_of(run), "quiet")] == ["*"] * 4
    (line,) = notes.marks(frame_of(run))
    assert line.startswith("* ") and "1.4x faster" in line
    assert notes.marks(frame_of(run), "typical") == []
    assert line.endswith(": 4 of 4 cases.")


def test_drift_has_its_size_and_source_for_each_statistic() -> None:
    run = synthetic.run({SGD: 1e5})
    run.drift = {"typical": Drift(0.01, freedom=4.0, runs=5)}
    (line,) = notes.drift(frame_of(run))
    assert re.search(r"\(quiet\), assumed: .*; 4.0% \(typical\), from 5 runs", line)
    run.drift["quiet"] = Drift(0.002, freedom=4.0, runs=5)
    (line,) = notes.drift(frame_of(run))
    assert "0.8% (quiet) and 4.0% (typical), from 5 runs of this plan on this machine" in line


def test_drift_names_the_runs_that_it_is_of_where_they_differ() -> None:
    known = synthetic.run({SGD: 1e5})
    known.drift = {name: Drift(0.01, freedom=4.0, runs=5) for name in ("quiet", "typical")}
    first, second = notes.drift(frame_of(known, synthetic.run({ADAM: 1e5})))
    assert first.startswith("ours: ") and second.startswith("theirs: ")


# Flags


def test_flag_has_one_line_with_how_many_cases_it_touches() -> None:
    stolen = [Health(HostHealth(steal=steal, governor="powersave")) for steal in (None, 0.2, 0.3)]
    frame = frame_of(synthetic.run({SGD: 1e5, ADAM: 2e5}, moods=EXACT, health=stolen))
    whole = frame[frame["series"] == WHOLE]
    steal, clocks = notes.flags(whole)
    assert steal.startswith(f"Flag steal: {SGD.id} and 1 more: ") and "30.0%" in steal
    assert clocks.startswith(f"Flag clocks: {SGD.id} and 1 more: ") and "powersave" in clocks
    assert notes.flags(whole[:1])[1].startswith(f"Flag clocks: {SGD.id}: ")


# Machines


def differences(*runs: RunRecord) -> list[str]:
    lines = notes.machines(runs, ["ours", "theirs"][: len(runs)])
    assert len(lines) >= len(runs)
    return lines[len(runs) :]


def test_each_run_says_where_it_comes_from() -> None:
    run = synthetic.run({SGD: 1e5}, on=synthetic.machine(available_cores=2, dirty=True))
    assert notes.machines([run], ["ours"]) == [
        "ours: Test CPU, 2 of 4 cores, torch 2.13.0, CPython 3.11.9, commit 0123456789 with "
        "uncommitted changes, stock environment, pinned to cores 3."
    ]


def test_run_under_a_cpu_quota_says_so() -> None:
    limited = synthetic.machine(available_cores=1, cpu_quota=0.5)
    (line,) = notes.machines([synthetic.run({SGD: 1e5}, on=limited)], ["ours"])
    assert line.startswith("ours: Test CPU, 1 of 4 cores, CPU quota 0.5 cores, torch 2.13.0, ")


def test_incomplete_or_unpinned_run_says_so() -> None:
    run = synthetic.run({SGD: 1e5})
    run.sessions[-1].complete = False
    run.workers[1].cores = []
    (line,) = notes.machines([run], ["ours"])
    assert re.search(r"unpinned, INCOMPLETE\.$", line)


def test_each_runs_health_stands_below_it() -> None:
    ours = synthetic.run({SGD: 1e5}, health=[Health(HostHealth(steal=0.02))] * 2)
    theirs = synthetic.run({SGD: 1e5})
    assert notes.machines([ours], ["ours"])[1].startswith("Health: steal at most 2.0%, ")
    place, health, other = notes.machines([ours, theirs], ["ours", "theirs"])
    assert place.startswith("ours: Test CPU, ") and other.startswith("theirs: Test CPU, ")
    assert health.startswith("ours: Health: steal at most 2.0%, ")


def test_run_on_a_device_names_it_and_the_cores_of_its_cpu_workers() -> None:
    alone = notes.machines([synthetic.run({CUDA: 1e5})], ["ours"])
    assert alone[0].startswith("ours: cuda: Test GPU, Test CPU, 4 of 4 cores, ")
    assert alone[0].endswith(", unpinned.")
    beside = notes.machines([synthetic.run({CUDA: 1e5, SGD: 1e5})], ["ours"])
    assert beside[0].startswith("ours: cuda: Test GPU, Test CPU, ")
    assert beside[0].endswith(", pinned to cores 3.")


def test_platform_of_a_device_is_named_for_what_it_is() -> None:
    amd = MeasuredDevice("AMD Instinct MI300X", "ROCm 6.4", "c" * 12)
    (line,) = notes.machines([measured_on(synthetic.run({CUDA: 1e5}), amd)], ["ours"])
    assert line.startswith("ours: cuda: AMD Instinct MI300X (ROCm 6.4), Test CPU, ")


def test_devices_of_one_name_that_differ_are_listed() -> None:
    ours, theirs = (
        measured_on(synthetic.run({CUDA: 1e5, SGD: 1e5}), device) for device in (GPU, OTHER_GPUS[1])
    )
    assert differences(ours, theirs) == [
        "Differs: cuda: ours: Test GPU-aaaaaa (CUDA 13.0), theirs: Test GPU-bbbbbb (CUDA 13.0)."
    ]
    assert differences(ours, synthetic.run({SGD: 1e5})) == []


@pytest.mark.parametrize(
    ("changes", "listed"),
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
def test_what_differs_between_machines_is_listed(changes: dict[str, Any], listed: str) -> None:
    theirs = synthetic.run({SGD: 1e5}, on=synthetic.machine(**changes))
    assert differences(synthetic.run({SGD: 1e5}), theirs) == [f"Differs: {listed}."]


def test_what_is_alike_is_not_listed() -> None:
    assert differences(synthetic.run({SGD: 1e5}), synthetic.run({SGD: 1e5})) == []


def test_environments_that_differ_are_listed() -> None:
    theirs = synthetic.run({SGD: 1e5}, environment="steady")
    assert differences(synthetic.run({SGD: 1e5}), theirs) == [
        "Differs: environment: ours: stock, theirs: steady."
    ]


def test_learning_rates_that_differ_are_listed() -> None:
    theirs = synthetic.run({SGD: 1e5}, lr=0.1)
    assert differences(synthetic.run({SGD: 1e5}), theirs) == [
        "Differs: learning rate: ours: the optimizer's, theirs: 0.1."
    ]
