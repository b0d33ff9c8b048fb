"""What profiles say, as tables, and the command that prints them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from bench.cli import app
from bench.matrix.case import Case
from bench.profiles.views import profile_text
from bench.protocol.profile import Work
from tests import synthetic
from tests.suite.driving import SEED_CASE, finish, start

LBFGS_CASE = SEED_CASE.replace("sgd", "lbfgs")
MUON_CASE = SEED_CASE.replace("sgd", "muon")


def tables(text: str) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    for part in text.split("\n\n"):
        lines = [line for line in part.splitlines() if line.startswith("|")]
        if lines:
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            found.append([rows[0], *rows[2:]])
    return found


def test_a_row_for_each_phase_says_what_it_does() -> None:
    profile = synthetic.step_profile(
        {
            "forward": synthetic.phase_profile(
                0.25, ops=4, allocations=7, allocated_bytes=196, peak_bytes=2048
            ),
            "backward": synthetic.phase_profile(0.5, ops=1, nodes=6, in_operators=0.004),
            "step": synthetic.phase_profile(0.25),
        },
        work={phase: Work(120, 528) for phase in ("forward", "backward", "step")},
    )
    heading, forward, backward, _ = tables(profile_text(profile, step_ns=1e5))[0]
    assert dict(zip(heading, forward, strict=False)) == {
        "phase": "forward",
        "share": "25%",
        "in operators": "50%",
        "ops": "4",
        "nodes": "0",
        "allocations": "7",
        "allocated": "196 B",
        "high water": "2 KiB",
        "FLOP": "120",
        "bytes": "528 B",
    }
    assert backward[:5] == ["backward", "50%", "<1%", "1", "6"]


def test_what_the_profiler_sees_of_a_device_is_told_as_its_own_time() -> None:
    profile = synthetic.step_profile(busy_ns=80_000)
    heading, forward, *_ = tables(profile_text(profile, step_ns=1e5))[0]
    row = dict(zip(heading, forward, strict=True))
    assert (row["launches"], row["kernels"]) == ("8", "8")
    assert (row["kernel time"], row["busy"]) == ("32 us", "32%")


def test_operators_have_their_calls_and_their_own_share() -> None:
    _, (heading, first, *_) = tables(profile_text(synthetic.step_profile(), step_ns=1e5))
    assert heading == ["phase", "operator", "calls", "own share"]
    assert first == ["forward", "aten::addmm", "2", "30%"]


@pytest.mark.slow
def test_the_command_profiles_its_cases_and_keeps_their_traces(tmp_path: Path) -> None:
    traces = tmp_path / "kept" / "traces"
    cases = (SEED_CASE, LBFGS_CASE)
    done = finish(start("bench", "profile", *cases, f"--traces={traces}"))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for case in cases:
        assert f"\n{case}\n" in f"\n{done.stdout}"
        stem = traces / case.replace("/", "-")
        assert json.loads(Path(f"{stem}.trace.json").read_text())["traceEvents"]
        lines = Path(f"{stem}.folded").read_text().splitlines()
        assert all(int(line.rsplit(" ", 1)[1]) >= 0 for line in lines)
    phases = [
        row[0] for table in tables(done.stdout) if table[0][1] == "share" for row in table[1:]
    ]
    assert phases == ["forward", "backward", "step", "train_step"]
    assert f"{traces}/*.trace.json" in done.stdout
    assert "they are no timings" in done.stdout


def test_case_that_cannot_run_says_why_beside_one_that_can() -> None:
    words = ("--preset=seed", "--optimizer=muon,sgd")
    done = finish(start("bench", "profile", *words))
    assert done.returncode == 0, done.stderr
    assert f"{MUON_CASE}\n\nunsupported: Muon optimizes matrices alone" in done.stdout
    assert f"{SEED_CASE}\n\n|" in done.stdout


def test_case_that_is_not_what_it_says_ends_with_1() -> None:
    done = finish(start("bench", "profile", "--preset=seed", "--dtype=float16", "--optimizer=adam"))
    assert done.returncode == 1
    assert "invalid: the loss is nan" in done.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("cpu/float32",), "'cpu/float32' is not a case id: it has 2 parts"),
        ((SEED_CASE, "--preset=seed"), "CASE names whole cases: it goes with neither --preset"),
        ((SEED_CASE, "--batch=2"), "CASE names whole cases: it goes with neither --preset"),
        (("--preset=quickest",), "--preset: 'quickest' is not a preset"),
        ((SEED_CASE, "--traces=file/traces"), "--traces: cannot make file/traces: Not a directory"),
        ((MUON_CASE,), f"nothing asked for can run here:\n  {MUON_CASE}: Muon"),
    ],
)
def test_wrong_usage_is_told_and_status_2(
    words: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "bench", "profile", *words],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {complaint}")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_device_that_is_not_there_is_refused() -> None:
    done = CliRunner().invoke(app, ["profile", SEED_CASE.replace("cpu", "cuda")])
    assert "sees no cuda device here" in str(done.exception)


def test_profiles_of_a_run_file_are_printed_again(tmp_path: Path) -> None:
    adam, broken = Case(optimizer="adam"), Case(optimizer="lbfgs")
    run = synthetic.run(
        {Case(): 1e5, adam: 2e5, broken: 3e5},
        profiles={adam: synthetic.step_profile(), broken: "steps differ"},
    )
    path = synthetic.run_file(tmp_path / "run.json", run)
    done = CliRunner().invoke(app, ["profile", str(path)])
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{adam.id}\n\n|")
    assert f"{broken.id}\n\nnot profiled: steps differ\n" in done.stdout
    for words in ([str(path), SEED_CASE], [str(path), "--traces", "here"]):
        refused = CliRunner().invoke(app, ["profile", *words])
        assert "run files are printed and nothing is profiled" in str(refused.exception)


def test_run_without_profiles_says_how_to_have_them(tmp_path: Path) -> None:
    path = synthetic.run_file(tmp_path / "run.json", synthetic.run({Case(): 1e5}))
    done = CliRunner().invoke(app, ["profile", str(path)])
    assert str(done.exception) == f"no profiles in {path}: measure with `run --profile`"
