"""A device that goes wrong, through real commands and workers: it costs its cases, not the run."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.matrix.step import PHASES
from bench.records.run_file import RunRecord
from bench.records.store import load_run
from tests.cases import sumnet
from tests.suite.driving import LEAST, finish, run_files, start

pytestmark = pytest.mark.slow

CPU, WELL, WRONG = sumnet(), sumnet(device="cuda"), sumnet(device="cuda", batch=64)
SICK = "AcceleratorError: CUDA error: an illegal memory access was encountered"
BUSY = (
    "cuda cannot be used: AcceleratorError: CUDA error: CUDA-capable device(s) is/are busy or "
    "unavailable; see what else uses it, or choose another --device"
)
FULL = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."

Bench = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A command on a machine whose GPU has a fault: see fake_gpu/sitecustomize.py."""

    def run(fault: str, *words: object) -> subprocess.CompletedProcess[str]:
        folder = Path(__file__).with_name("fake_gpu")
        broken = str(tmp_path / "broken")
        done = finish(start("bench", *words, PYTHONPATH=str(folder), FAULT=fault, BROKEN=broken))
        assert "Traceback" not in done.stdout + done.stderr
        return done

    return run


def run_of(results: Path) -> RunRecord:
    (path,) = run_files(results)
    return load_run(path)


@pytest.mark.parametrize(
    ("fault", "well", "wrong", "workers"),
    [
        ("lost", ("failed", BUSY), ("failed", SICK), ["cpu", "cuda", "cuda", "cpu"]),
        ("sticky", ("ok", None), ("failed", SICK), ["cpu", "cuda", "cuda", "cpu", "cuda"]),
        ("oom", ("ok", None), ("oom", FULL), ["cpu", "cuda", "cuda", "cpu", "cuda"]),
    ],
)
def test_an_error_in_a_block_costs_its_case_and_what_the_device_does_not_come_back_for(
    bench: Bench,
    tmp_path: Path,
    fault: str,
    well: tuple[str, str | None],
    wrong: tuple[str, str],
    workers: list[str],
) -> None:
    ids = [case.id for case in (CPU, WELL, WRONG)]
    options = ("--replicates=2", "--budget=0", "--energy", f"--results={tmp_path}")
    done = bench(fault, "run", *ids, *options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{wrong[0]}: {WRONG.id}: {wrong[1]}" in done.stderr
    run = run_of(tmp_path)
    found = {record.id: (record.status, record.reason) for record in run.cases}
    assert found == {CPU.id: ("ok", None), WELL.id: well, WRONG.id: wrong}
    assert [worker.device for worker in run.workers] == workers
    assert all(record.blocks for record in run.cases), "what was measured before stays"
    assert all(len(of_kind) == 2 for of_kind in run.cases[0].blocks.values())


def test_a_gpu_that_another_process_has_leaves_the_cpu_its_cases(
    bench: Bench, tmp_path: Path
) -> None:
    options = ("--preset=seed", "--device=cpu,cuda", *LEAST, f"--results={tmp_path}")
    done = bench("busy", "run", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    cpu, cuda = run_of(tmp_path).cases
    assert (cpu.status, cuda.status, cuda.reason) == ("ok", "unsupported", BUSY)
    assert cpu.blocks and not cuda.blocks
    assert f"unsupported: {BUSY}: {cuda.id}." in done.stdout


@pytest.mark.parametrize("words", [("run", *LEAST), ("ceilings",)])
def test_a_gpu_that_another_process_has_is_why_nothing_can_run(
    bench: Bench, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = bench("busy", *words, "--device=cuda", f"--results={tmp_path}")
    assert done.returncode == 2
    assert BUSY in done.stderr


def test_a_gpu_that_another_process_has_is_why_a_case_is_not_verified(bench: Bench) -> None:
    done = bench("busy", "list", "--verify", WELL.id, CPU.id)
    assert done.returncode == 0
    gpu, cpu, _ = done.stdout.splitlines()
    assert gpu == f"{WELL.id}  unsupported: {BUSY}"
    assert cpu.startswith(f"{CPU.id}  verified: ")


def test_a_gpu_that_is_lost_is_why_cases_are_not_profiled(bench: Bench) -> None:
    done = bench("lost", "profile", WRONG.id, WELL.id, CPU.id)
    assert done.returncode == 1
    assert f"{WRONG.id}: failed: {SICK}." in done.stdout
    assert f"{WELL.id}: failed: {BUSY}." in done.stdout
    assert re.search(r"^\| +backward \| +\d+% \|", done.stdout, re.MULTILINE), "the CPU's"


def test_phases_that_the_clock_cannot_tell_apart_are_left_out(bench: Bench, tmp_path: Path) -> None:
    done = bench("coarse", "run", CPU.id, *LEAST, f"--results={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = run_of(tmp_path).cases
    assert record.phases_reason is not None
    assert set(record.blocks) == {"train_step"}
    assert f"no phases: {CPU.id}: {record.phases_reason}" in done.stderr
    assert f"no phases: {record.phases_reason}: {CPU.id}." in done.stdout
    assert f"{'s' * len(PHASES)}.\n" in done.stdout
    assert re.search(r"(\| +- ){3}\|", done.stdout), "the phases' cells"
