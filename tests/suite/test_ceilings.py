"""Ceilings, profiles and limits of whole runs: real commands, real workers, real files."""

import json
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from bench.devices.energy import RaplCounter
from bench.records.store import load_run
from bench.runner.coordinator import CEILING_REPLICATES
from bench.runner.schedule import MIN_SWEEPS
from tests.suite.driving import (
    bench_run,
    finish,
    journals,
    run_files,
    start,
    wait_for,
)

COSTS = ("-k", "/op or /node or 65536")


def bench(*words: object) -> subprocess.CompletedProcess[str]:
    return finish(start("bench", *words))


def ceilings_file(results: Path) -> Path:
    (path,) = results.glob("*/ceilings-*.json")
    return path


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file of a few ceilings, and what measuring them printed."""
    results = tmp_path_factory.mktemp("ceilings")
    ran = bench("ceilings", *COSTS, "--dtype=float32", f"--results={results}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ceilings_file(results), ran.stdout


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file of a run with all there is to measure, and what it printed."""
    results = tmp_path_factory.mktemp("whole")
    flags = ("--profile", "--ceilings", "--energy", "--replicates=3", "--budget=0")
    ran = bench_run("--preset=seed", *flags, f"--results={results}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (path,) = run_files(results)
    return path, ran.stdout


@pytest.mark.slow
def test_ceilings_that_were_selected_are_in_a_file_of_their_own(
    measured: tuple[Path, str],
) -> None:
    path, _ = measured
    run = load_run(path)
    assert (run.cases, run.complete) == ([], True)
    assert [record.id for record in run.ceilings] == [
        "cpu/t1/copy/65536",
        "cpu/t1/triad/65536",
        "cpu/t1/op",
        "cpu/t1/node",
    ]
    for record in run.ceilings:
        assert record.status == "ok"
        assert [len(blocks) for blocks in record.blocks] == [MIN_SWEEPS] * CEILING_REPLICATES


@pytest.mark.slow
def test_their_file_is_pytest_benchmarks_too(measured: tuple[Path, str]) -> None:
    path, _ = measured
    document = json.loads(path.read_text())
    assert [b["params"]["ceiling"] for b in document["benchmarks"]] == [
        record.id for record in load_run(path).ceilings
    ]
    compared = finish(start("pytest_benchmark", "compare", path))
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert "test_ceiling[cpu/t1/op]" in compared.stdout


@pytest.mark.slow
def test_table_is_printed_and_can_be_printed_again(measured: tuple[Path, str]) -> None:
    path, printed = measured
    assert f"Run file: {path}" in printed
    again = bench("ceilings", path)
    assert again.returncode == 0
    for table in (printed, again.stdout):
        assert re.search(r"^\| +64 KiB \| +\S+ GB/s \| +\S+ GB/s \|$", table, re.MULTILINE), table
        assert re.search(r"^\| +op \| +\S+ ns \| +x\.neg_\(\) of one number", table, re.MULTILINE)


@pytest.mark.slow
def test_a_run_holds_its_ceilings_profiles_and_health(run_file: tuple[Path, str]) -> None:
    run = load_run(run_file[0])
    (case,) = run.cases
    assert case.profile is not None
    assert set(case.profile.phases) == {"forward", "backward", "step"}
    assert {record.status for record in run.ceilings} == {"ok"}
    assert len(run.health) >= 2
    assert any(sample.health.host.others is not None for sample in run.health)


@pytest.mark.slow
def test_a_run_prints_times_then_ceilings(run_file: tuple[Path, str]) -> None:
    _, printed = run_file
    assert printed.index("quiet ± 95%") < printed.index("working set") < printed.index("Run file: ")
    assert "Health: " in printed


@pytest.mark.skipif(RaplCounter().read() is not None, reason="this CPU has a counter of energy")
@pytest.mark.slow
def test_energy_that_cannot_be_had_has_its_reason(run_file: tuple[Path, str]) -> None:
    path, printed = run_file
    assert "cpu has no energy counter" in printed
    (case,) = load_run(path).cases
    assert (case.status, case.energy) == ("ok", None)


@pytest.mark.slow
def test_limit_of_its_case_is_printed(run_file: tuple[Path, str]) -> None:
    done = bench("compare", run_file[0], "--limits")
    assert done.returncode == 0, done.stderr
    row = done.stdout.splitlines()[2]
    if "no ceilings of this machine" not in done.stdout:  # it was never quiet
        assert "overhead" in row


@pytest.mark.slow
def test_interrupted_ceilings_are_finished_by_the_command_they_print(tmp_path: Path) -> None:
    command = start("bench", "ceilings", *COSTS, "--dtype=float32", f"--results={tmp_path}")
    wait_for("a block", lambda: any('"BlockMeasured"' in p.read_text() for p in journals(tmp_path)))
    command.send_signal(signal.SIGINT)
    ran = finish(command)
    assert ran.returncode == 130
    (words,) = re.findall(r"python -m (bench ceilings --resume .*)$", ran.stdout, re.MULTILINE)
    resumed = finish(start(*shlex.split(words)))
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    run = load_run(ceilings_file(tmp_path))
    assert run.complete
    assert {len(record.blocks) >= CEILING_REPLICATES for record in run.ceilings} == {True}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.slow
def test_device_that_is_not_there_is_refused_with_its_reason_once(tmp_path: Path) -> None:
    ran = bench("ceilings", "--device=cuda", f"--results={tmp_path}")
    assert ran.returncode == 2
    assert ran.stderr.count("sees no cuda device here") == 1
    assert list(tmp_path.rglob("*.json")) == []


def test_expression_that_selects_no_ceiling_is_refused(tmp_path: Path) -> None:
    ran = bench("ceilings", "-k", "stars", f"--results={tmp_path}")
    assert ran.returncode == 2
    assert "-k 'stars' selects no ceiling" in ran.stderr
