"""Whole runs: real commands, real workers, real files."""

import getpass
import itertools
import json
import platform
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from bench.machine.fingerprint import fingerprint
from bench.machine.sampling import EVERY_S
from bench.matrix.case import case_from_id
from bench.matrix.ceiling import ceilings_under
from bench.records.run_file import Blocks, RunRecord
from bench.records.store import load_run, read_journal
from bench.runner.schedule import MIN_SWEEPS
from tests.suite.driving import (
    LEAST,
    SEED_CASE,
    alive,
    bench_run,
    finish,
    journals,
    run_files,
    run_pytest,
    start,
    wait_for,
    workers_of,
    written,
)

PHASES = "bench/suite/test_phases.py"
CUDA_CASE = SEED_CASE.replace("cpu", "cuda")
SERIES = case_from_id(SEED_CASE).series
LBFGS_CASE = SEED_CASE.replace("sgd", "lbfgs")
LARGE_CASE = SEED_CASE.replace("b2", "b1048576")
STANDARD_KEYS = {"machine_info", "commit_info", "benchmarks", "datetime", "version"}
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")


@dataclass
class Finished:
    """A run that came to its end: its results folder, what it printed, and its one file."""

    results: Path
    ran: subprocess.CompletedProcess[str]
    path: Path
    document: dict[str, Any]
    run: RunRecord


def finished(results: Path, ran: subprocess.CompletedProcess[str]) -> Finished:
    (path,) = run_files(results)
    return Finished(results, ran, path, json.loads(path.read_text()), load_run(path))


def blocks_of(run: RunRecord, case_id: str, series: str) -> list[Blocks]:
    """The blocks of a series, by worker."""
    (record,) = [record for record in run.cases if record.id == case_id]
    return record.blocks["train_step" if series == "train_step" else "phases"]


def kept_files(done: Finished) -> set[str]:
    """What stands in the machine's folder."""
    return {path.name for path in written(done.path.parent)}


def statuses(run: RunRecord) -> dict[str, str]:
    return {record.id: record.status for record in run.cases}


@pytest.fixture(scope="module")
def selected(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two of four cases, one of which cannot run here, with pytest-benchmark's own output too."""
    results = tmp_path_factory.mktemp("selected")
    ran = bench_run(
        "--preset=seed",
        "--device=cpu,cuda",
        "--batch=2,64",
        *("-k", "b2"),
        *LEAST,
        f"--results={results}",
        f"--benchmark-json={results / 'copy.json'}",
        "--benchmark-columns=min",
        TORCHINDUCTOR_CACHE_DIR=f"/tmp/torchinductor_{getpass.getuser()}",
        TORCH_HOME=str(Path.home() / "models"),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return finished(results, ran)


def test_run_file_is_named_by_machine_time_and_commit(selected: Finished) -> None:
    machine = fingerprint()
    assert selected.path.parent == selected.results / machine.label
    assert re.fullmatch(r"\d{8}T\d{6}Z-(\w+)(-dirty)?\.json", selected.path.name)
    assert selected.run.machine.commit in selected.path.name


def test_run_leaves_its_file_and_nothing_else(selected: Finished) -> None:
    assert kept_files(selected) == {selected.path.name}


def test_run_file_carries_the_floors_that_served_it(selected: Finished) -> None:
    floors = selected.run.floors_ns
    assert list(floors) == ["dispatch, t1, stock"]
    assert selected.run.lowest_floors_ns["dispatch, t1, stock"] <= floors["dispatch, t1, stock"]


def test_table_and_path_are_printed(selected: Finished) -> None:
    assert f"Run file: {selected.path}" in selected.ran.stdout.splitlines()
    table = [line for line in selected.ran.stdout.splitlines() if line.startswith("|")]
    header = [cell.strip() for cell in table[0].strip("|").split("|")]
    assert {"quiet ± 95%", "typical ± 95%", "forward", "backward", "step"} <= set(header)
    assert len(table) == 2 + 2  # header and rule, then a row for each selected case


def test_nothing_but_progress_goes_to_standard_error(selected: Finished) -> None:
    ours = r"measuring .*|worker 1: .*|unsupported: .*|Wrote benchmark data in: .*|"
    surprising = [x for x in selected.ran.stderr.splitlines() if not re.fullmatch(ours, x)]
    assert surprising == []
    assert "warning" not in selected.ran.stdout.lower()


def test_file_has_the_standard_keys_and_ours(selected: Finished) -> None:
    assert set(selected.document) == STANDARD_KEYS | {"sumnet"}
    assert selected.document["machine_info"]["node"] == selected.run.machine.name
    assert selected.document["commit_info"]["id"].startswith(selected.run.machine.commit)
    assert selected.document["commit_info"]["dirty"] == selected.run.machine.dirty


def test_file_names_neither_host_nor_user_nor_home(selected: Finished) -> None:
    text = selected.path.read_text() + (selected.results / "copy.json").read_text()
    assert str(Path.home()) not in text
    for name in {platform.node(), platform.node().partition(".")[0], getpass.getuser()}:
        assert re.findall(rf".*(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9]).*", text) == []
    assert selected.run.machine.environment["TORCH_HOME"] == "~/models"
    cache = selected.run.machine.environment["TORCHINDUCTOR_CACHE_DIR"]
    assert cache == "/tmp/torchinductor_USER"


def test_expression_selects_cases_of_which_the_others_leave_no_trace(selected: Finished) -> None:
    assert [case.id for case in selected.run.plan.cases] == [SEED_CASE, CUDA_CASE]
    assert "b64/" not in selected.path.read_text()


@without_cuda
def test_case_that_cannot_run_here_is_a_row_with_its_reason(selected: Finished) -> None:
    assert statuses(selected.run) == {SEED_CASE: "ok", CUDA_CASE: "unsupported"}
    reason = selected.run.cases[1].reason
    assert reason is not None and reason.endswith("sees no cuda device here")
    (row,) = re.findall(r"^\| cuda .*$", selected.ran.stdout, flags=re.MULTILINE)
    assert "unsupported" in row
    assert f"unsupported: {reason}: {CUDA_CASE}." in selected.ran.stdout


@without_cuda
@pytest.mark.slow
def test_case_that_cannot_run_here_is_skipped_with_its_reason_for_each_of_its_series() -> None:
    words = ("--preset=seed", "--device=cpu,cuda", "--benchmark-disable", "-rs")
    ran = run_pytest(PHASES, "-k", "train_step or dispatch", *words)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed, 2 skipped" in ran.stdout
    assert re.search(r"^SKIPPED \[2\] .* sees no cuda device here$", ran.stdout, re.MULTILINE)


def test_each_phase_is_a_benchmark_whose_rounds_are_its_blocks(selected: Finished) -> None:
    benchmarks = {b["group"]: b for b in selected.document["benchmarks"]}
    assert list(benchmarks) == list(SERIES)
    for series, benchmark in benchmarks.items():
        (blocks,) = blocks_of(selected.run, SEED_CASE, series)
        assert benchmark["stats"]["rounds"] == len(blocks) >= 3
        assert benchmark["stats"]["median"] == pytest.approx(blocks.p50_ns[series] / 1e9, rel=1e-7)
        assert benchmark["params"] == {"case": SEED_CASE, "phase": series}


def test_worker_measured_the_code_that_the_file_names(selected: Finished) -> None:
    (worker,) = selected.run.workers
    assert selected.run.machine.code_hash.split("-")[1] == worker.subject_hash[:8]
    assert selected.run.machine.torch == worker.torch


def test_run_is_complete_in_one_session(selected: Finished) -> None:
    assert [session.complete for session in selected.run.sessions] == [True]


def test_copy_by_pytest_benchmark_carries_the_whole_run(selected: Finished) -> None:
    copy = json.loads((selected.results / "copy.json").read_text())
    assert copy["sumnet"] == selected.document["sumnet"]
    for theirs, ours in zip(copy["benchmarks"], selected.document["benchmarks"], strict=True):
        assert theirs["stats"].keys() > ours["stats"].keys()
        for name, value in ours["stats"].items():
            exact = isinstance(value, str)  # "outliers" is two counts
            assert theirs["stats"][name] == (value if exact else pytest.approx(value, rel=1e-7))


def test_asking_for_columns_shows_pytest_benchmarks_table_beside_ours(selected: Finished) -> None:
    headers = re.findall(r"^Name \(time in \w+\) +(.*?) *$", selected.ran.stdout, re.MULTILINE)
    assert headers == ["Min"] * len(SERIES)


def test_pytest_benchmark_reads_the_file(selected: Finished) -> None:
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(selected.path)]
    ran = subprocess.run(command, cwd=selected.results, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    columns = r"Min +Max +Mean +StdDev +Median +IQR +Outliers +OPS .* Rounds +Iterations"
    for series, heads, cells in re.findall(
        rf"benchmark '(\w+)': .*\n.*?({columns})\n-+\n(.*)\n", ran.stdout
    ):
        assert heads and f"test_phase[{SEED_CASE}-{series}]" in cells
        assert re.search(r"\d\.\d{4} +\d+;\d+ +[\d,]+\.\d{4} +\d+ +1$", cells)
    assert ran.stdout.count(SEED_CASE) == len(SERIES)


def test_file_has_what_trackers_of_benchmarks_read(selected: Finished) -> None:
    """github-action-benchmark and Bencher, as their pytest readers are written."""
    assert isinstance(selected.document["machine_info"], dict)
    assert isinstance(selected.document["commit_info"], dict)
    for benchmark in selected.document["benchmarks"]:
        stats = benchmark["stats"]
        assert benchmark["fullname"] == f"test_phases.py::{benchmark['name']}"
        assert all(stats[name] > 0 for name in ("ops", "mean", "stddev", "median", "iqr", "rounds"))
        assert stats["ops"] == pytest.approx(1 / stats["mean"])
        assert "data" not in stats


def test_compare_reads_the_file(selected: Finished) -> None:
    ran = finish(start("bench", "compare", selected.path, "--format=csv"))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count(SEED_CASE) == len(SERIES)


# Profiles, energy, ceilings and health


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """All there is to know of one of two cases."""
    results = tmp_path_factory.mktemp("whole")
    words = ("--preset=seed", "--threads=1,2", "-k", "t1", f"--results={results}")
    ran = bench_run(*words, *LEAST, "--profile", "--energy", "--ceilings")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return finished(results, ran)


@pytest.mark.slow
def test_run_that_is_asked_to_profiles_its_cases(whole: Finished) -> None:
    (case,) = whole.run.cases
    assert case.profile is not None and case.profile_reason is None
    assert tuple(case.profile.phases) == ("forward", "backward", "step")
    assert all(phase.ops + phase.nodes > 0 for phase in case.profile.phases.values())


@pytest.mark.slow
def test_run_that_is_asked_for_energy_has_it_or_says_why_not(whole: Finished) -> None:
    (case,) = whole.run.cases
    if case.energy is not None:
        assert case.energy.joules > 0 and case.energy.steps > 0
        assert "J/M samples" in whole.ran.stdout
    else:
        assert str(case.energy_reason) in whole.ran.stdout


@pytest.mark.slow
def test_ceilings_are_those_that_the_selected_cases_are_held_against(whole: Finished) -> None:
    assert whole.run.plan.ceilings == ceilings_under(whole.run.plan.cases)
    assert [record.ceiling for record in whole.run.ceilings] == whole.run.plan.ceilings
    for record in whole.run.ceilings:
        assert (record.status, record.reason) == ("ok", None)
        assert record.prepared is not None and record.prepared.work > 0
        assert [len(blocks) for blocks in record.blocks] == [MIN_SWEEPS]
    assert f"then {len(whole.run.ceilings)} ceilings, about " in whole.ran.stderr


@pytest.mark.slow
def test_ceilings_are_measured_in_a_worker_of_their_own_after_the_cases(whole: Finished) -> None:
    of_case, of_ceilings = range(2)
    (case,) = whole.run.cases
    assert {b.worker for blocks in case.blocks.values() for b in blocks} == {of_case}
    assert {b.worker for record in whole.run.ceilings for b in record.blocks} == {of_ceilings}
    assert [worker.side for worker in whole.run.workers] == ["run", "run"]


@pytest.mark.slow
def test_ceilings_have_a_table_below_that_of_the_cases_and_are_no_benchmarks(
    whole: Finished,
) -> None:
    cases, ceilings = whole.ran.stdout.split(" ceilings ")
    assert SEED_CASE in cases and "GB/s" not in cases
    assert "GB/s" in ceilings and "FLOP/s" in ceilings
    assert [b["group"] for b in whole.document["benchmarks"]] == list(SERIES)


@pytest.mark.slow
def test_every_run_samples_the_machines_health(selected: Finished, whole: Finished) -> None:
    for run, ran in ((selected.run, selected.ran), (whole.run, whole.ran)):
        assert run.health and run.health[0].at_s >= 0
        assert run.health == sorted(run.health, key=lambda sample: sample.at_s)
        assert len(re.findall(r"^Health: .*\.$", ran.stdout, re.MULTILINE)) == 1
    spacing = [b.at_s - a.at_s for a, b in itertools.pairwise(whole.run.health)]
    assert spacing and min(spacing) > 0.9 * EVERY_S
    others = [sample.health.host.others for sample in whole.run.health]
    assert others[0] is None, "it has nothing to compare with"


def test_unasked_nothing_but_times_is_measured(selected: Finished) -> None:
    case = selected.run.cases[0]
    assert (case.profile, case.profile_reason) == (None, None)
    assert (case.energy, case.energy_reason, selected.run.ceilings) == (None, None, [])
    assert "ceilings" not in selected.ran.stdout + selected.ran.stderr


def test_collecting_measures_nothing_and_writes_nothing(tmp_path: Path) -> None:
    words = ("--preset=seed", f"--results={tmp_path}")
    ran = run_pytest(PHASES, "--collect-only", "-q", *words)
    assert ran.returncode == 0
    ids = re.findall(r"test_phase\[(.*)\]", ran.stdout)
    assert ids == [f"{SEED_CASE}-{series}" for series in SERIES]
    assert "measuring" not in ran.stderr
    assert written(tmp_path) == []


def test_every_series_of_a_case_is_a_test_and_no_other(tmp_path: Path) -> None:
    graph = CUDA_CASE.replace("compile-off", "compile-graph")
    cases = (SEED_CASE, LBFGS_CASE, CUDA_CASE, graph)
    words = (*(f"--case={case}" for case in cases), f"--results={tmp_path}")
    ran = run_pytest(PHASES, "--collect-only", "-q", *words)
    assert ran.returncode == 0
    phases = ["forward", "backward", "step"]
    ahead = ["dispatch", "latency", "throughput"]
    assert re.findall(r"test_phase\[(.*)\]", ran.stdout) == [
        *(f"{SEED_CASE}-{series}" for series in (*phases, "train_step")),
        f"{LBFGS_CASE}-train_step",
        *(f"{CUDA_CASE}-{series}" for series in (*phases, "train_step", *ahead)),
        *(f"{graph}-{series}" for series in ("train_step", *ahead)),
    ]


@pytest.mark.slow
def test_case_without_phases_is_one_benchmark(tmp_path: Path) -> None:
    ran = bench_run(LBFGS_CASE, *LEAST, f"--results={tmp_path}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    done = finished(tmp_path, ran)
    assert [b["group"] for b in done.document["benchmarks"]] == ["train_step"]
    assert set(done.run.cases[0].blocks) == {"train_step"}
    assert done.run.plan.lr is None
    (heading,) = re.findall(r"^\| case .*$", ran.stdout, flags=re.MULTILINE)
    assert "samples/s" in heading and "forward" not in heading


def test_what_a_worker_verified_is_in_the_file(selected: Finished) -> None:
    prepared = selected.run.cases[0].prepared
    assert prepared is not None and prepared.verified is not None
    assert (prepared.verified.products, prepared.verified.path) == ("float32", "for-loop")
    assert prepared.verified.ratio == pytest.approx(prepared.verified.expected.ratio, rel=0.05)


@pytest.mark.slow
def test_only_compilations_of_selected_cases_are_timed_or_announced(tmp_path: Path) -> None:
    words = ("--preset=seed", "--compile=off,on", "--compile-times=all", "-k", "compile-off")
    ran = bench_run(*words, *LEAST, f"--results={tmp_path}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "compilation" not in ran.stderr
    assert finished(tmp_path, ran).run.plan.compile_timed == []


@pytest.mark.slow
def test_disabled_benchmarks_run_once_and_write_nothing(tmp_path: Path) -> None:
    words = ("--preset=seed", f"--results={tmp_path}")
    ran = bench_run("--benchmark-disable", *words)
    assert ran.returncode == 0
    assert "measuring 1 cases, 1 replicates" in ran.stderr
    assert ran.stdout == "....\n"
    assert written(tmp_path) == []


@pytest.mark.slow
def test_plain_pytest_measures_and_keeps_what_its_expression_leaves_out(tmp_path: Path) -> None:
    words = ("--preset=seed", *LEAST, f"--results={tmp_path}")
    ran = run_pytest(PHASES, "-k", "backward", *words)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    done = finished(tmp_path, ran)
    assert f"Run file: {done.path}" in ran.stdout
    assert [b["group"] for b in done.document["benchmarks"]] == ["backward"]
    (blocks,) = blocks_of(done.run, SEED_CASE, "train_step")
    assert len(blocks) >= 3


@pytest.mark.slow
def test_run_whose_worker_is_killed_goes_on_with_the_rest_and_exits_1(tmp_path: Path) -> None:
    words = (LARGE_CASE, SEED_CASE, *LEAST, f"--results={tmp_path}")
    command = start("bench", "run", *words)
    wait_for("a worker", lambda: _events(tmp_path, "WorkerStarted"))
    for worker in workers_of(command):
        worker.kill()  # while it prepares a case: the large one takes seconds
    done = finished(tmp_path, finish(command))
    assert done.ran.returncode == 1
    assert sorted(statuses(done.run).values()) == ["killed", "ok"]
    (lost,) = (case for case in done.run.cases if case.status == "killed")
    (kept,) = (case for case in done.run.cases if case.status == "ok")
    reason = lost.reason or ""
    assert reason.startswith("the worker was killed by SIGKILL, perhaps out of memory")
    assert len(done.run.workers) == 2
    assert [b["params"]["case"] for b in done.document["benchmarks"]] == [kept.id] * 4
    assert f"killed: {reason}: {lost.id}." in done.ran.stdout
    assert journals(tmp_path) == []


@pytest.mark.slow
def test_run_that_cannot_be_written_is_kept_and_finished_later(tmp_path: Path) -> None:
    command = start("bench", "run", "--preset=seed", *LEAST, f"--results={tmp_path}")
    (begun,) = wait_for("a journal", lambda: journals(tmp_path))
    obstacle = begun.with_suffix(".json")
    obstacle.mkdir()
    ran = finish(command)
    assert ran.returncode == 4
    assert f"ERROR: cannot write {obstacle}: Is a directory" in ran.stderr
    (journal,) = journals(tmp_path)
    assert f"bench run --resume {journal}" in ran.stdout
    measured = blocks_of(load_run(journal), SEED_CASE, "step")
    obstacle.rmdir()
    done = finished(tmp_path, bench_run("--resume", journal))
    assert done.ran.returncode == 0, done.ran.stderr
    assert [len(blocks) for blocks in measured] >= [3]
    assert blocks_of(done.run, SEED_CASE, "step") == measured  # nothing is measured again


def _events(results: Path, tag: str) -> int:
    """How many events of a kind are in the journal that is being written."""
    tags = [path.read_text().count(f'"type":"{tag}"') for path in journals(results)]
    return sum(tags)


@dataclass
class Broken:
    """A run of two replicates that a signal ended between its first block and its end."""

    ran: subprocess.CompletedProcess[str]
    results: Path
    workers: list[psutil.Process]
    """The worker it had when the signal came."""
    journal: Path
    kept: RunRecord
    """What the journal held when the command had ended."""


def break_run(results: Path, number: signal.Signals) -> Broken:
    words = ("--preset=seed", "--replicates=2", "--budget=0", f"--results={results}")
    command = start("bench", "run", *words)
    wait_for("a block of each kind", lambda: _events(results, "BlockMeasured") >= 2)
    workers = wait_for("a worker", lambda: workers_of(command))
    command.send_signal(number)
    ran = finish(command)
    (journal,) = journals(results)
    assert run_files(results) == []
    return Broken(ran, results, workers, journal, load_run(journal))


def block_count(run: RunRecord) -> int:
    return sum(len(blocks) for kind in run.cases[0].blocks.values() for blocks in kind)


def resume_command(broken: Broken) -> list[str]:
    """The words after `python -m` in the command that the interrupted run printed."""
    (line,) = re.findall(r"python -m (bench run --resume .*)$", broken.ran.stdout, re.MULTILINE)
    return shlex.split(line)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Broken:
    return break_run(tmp_path_factory.mktemp("results with a space"), signal.SIGINT)


@pytest.fixture(scope="module")
def resumed(interrupted: Broken) -> Finished:
    """The interrupted run, finished with the very command it printed."""
    ran = finish(start(*resume_command(interrupted)))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return finished(interrupted.results, ran)


PYTESTS = ("KeyboardInterrupt", "Exit", "!!!", "FAILED", "no tests ran", "passed", "test_phases")
"""What pytest would say of a run that ended early, or of its cases."""


def check_interrupted(broken: Broken, number: signal.Signals) -> None:
    assert broken.ran.returncode == 128 + number
    printed = broken.ran.stdout + broken.ran.stderr
    assert [word for word in PYTESTS if word in printed] == []
    assert [worker for worker in broken.workers if alive(worker)] == []
    assert not broken.kept.complete
    assert block_count(broken.kept) >= 1
    assert resume_command(broken) == ["bench", "run", "--resume", str(broken.journal)]
    assert "Traceback" not in broken.ran.stdout + broken.ran.stderr
    assert "Run file" not in broken.ran.stdout


def test_interrupted_run_exits_130_keeps_its_journal_and_names_what_finishes_it(
    interrupted: Broken,
) -> None:
    check_interrupted(interrupted, signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_terminated_run_ends_as_an_interrupted_one(tmp_path: Path, number: signal.Signals) -> None:
    """SIGHUP is that of a terminal that was closed."""
    check_interrupted(break_run(tmp_path, number), number)


@pytest.mark.slow
def test_second_interruption_ends_the_run_at_once(tmp_path: Path) -> None:
    command = start("bench", "run", "--preset=seed", "--budget=60", f"--results={tmp_path}")
    wait_for("a block", lambda: _events(tmp_path, "BlockMeasured") >= 1)
    workers = workers_of(command)
    command.send_signal(signal.SIGINT)
    time.sleep(0.05)
    command.send_signal(signal.SIGINT)
    began = time.monotonic()
    ran = finish(command)
    assert ran.returncode == 130 and time.monotonic() - began < 5
    wait_for("the worker to go", lambda: not any(alive(worker) for worker in workers))
    (journal,) = journals(tmp_path)
    assert block_count(load_run(journal)) >= 1


def test_unfinished_run_is_named_by_list_and_by_the_next_run(interrupted: Broken) -> None:
    finishes = f"bench run --resume {shlex.quote(str(interrupted.journal))}"
    where = f"--results={interrupted.results}"
    for verb, words in (("list", ()), ("run", ("--budget=0", "--replicates=1"))):
        done = finish(start("bench", verb, "--preset=seed", where, *words))
        assert done.returncode == 0
        assert finishes in done.stderr, verb
    for path in run_files(interrupted.results):
        path.unlink()


def test_resumed_run_is_complete_in_two_sessions(interrupted: Broken, resumed: Finished) -> None:
    assert [session.complete for session in resumed.run.sessions] == [False, True]
    assert resumed.run.plan == interrupted.kept.plan
    assert resumed.path == interrupted.journal.with_suffix(".json")
    assert f"Run file: {resumed.path}" in resumed.ran.stdout


def test_resumed_run_measures_anew_what_was_interrupted(
    interrupted: Broken, resumed: Finished
) -> None:
    before = len(interrupted.kept.workers)
    assert len(resumed.run.workers) > before
    whole = resumed.run.cases[0].blocks["train_step"]
    assert len(whole) == resumed.run.plan.replicates
    assert min(map(len, whole)) >= MIN_SWEEPS


def test_resumed_run_leaves_no_journal(resumed: Finished) -> None:
    assert kept_files(resumed) == {resumed.path.name}


def test_run_shows_no_table_of_pytest_benchmarks_unless_asked(resumed: Finished) -> None:
    assert "Name (time in" not in resumed.ran.stdout


@pytest.mark.slow
def test_killed_run_leaves_no_worker_and_a_journal_that_resumes(tmp_path: Path) -> None:
    broken = break_run(tmp_path, signal.SIGKILL)
    assert broken.ran.returncode == -signal.SIGKILL
    wait_for("the worker to go", lambda: not any(alive(worker) for worker in broken.workers))
    with broken.journal.open("ab") as journal:
        journal.write(b'{"type":"BlockMea')  # a last line that was cut off
    _, events = read_journal(broken.journal)
    assert block_count(broken.kept) >= 1
    done = finished(tmp_path, bench_run("--resume", broken.journal))
    assert done.ran.returncode == 0, done.ran.stderr
    assert [session.complete for session in done.run.sessions] == [False, True]
    assert block_count(done.run) > block_count(broken.kept)
    assert len(events) > block_count(broken.kept)
    assert journals(tmp_path) == []


def test_run_collects_as_pytest_does(tmp_path: Path) -> None:
    words = ["--preset=standard", "-k", "b2/ and fused", "--collect-only"]
    ran = bench_run(*words, f"--results={tmp_path}")
    assert ran.returncode == 0
    listed = [line for line in ran.stdout.splitlines() if "::test_phase[" in line]
    assert listed
    assert all("/b2/" in line and "/fused/" in line for line in listed)
    assert list(tmp_path.iterdir()) == []
