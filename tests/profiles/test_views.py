"""What profiles show, as tables, and the command that prints them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.matrix.case import WHOLE
from bench.profiles.views import profile_advice, profile_tables
from bench.protocol.profile import StepProfile, Work
from bench.report.view import Row
from tests import synthetic
from tests.cases import sumnet
from tests.commands import invoke
from tests.suite.driving import SEED_CASE, finish, start

LBFGS_CASE = SEED_CASE.replace("sgd", "lbfgs")
MUON_CASE = SEED_CASE.replace("sgd", "muon")


def rows(profile: StepProfile, table: int = 0) -> list[Row]:
    return list(profile_tables("a case", profile, step_ns=1e5)[table].rows)


def tables(text: str) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    for part in text.split("\n\n"):
        lines = [line for line in part.splitlines() if line.startswith("|")]
        if lines:
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            found.append([rows[0], *rows[2:]])
    return found


def test_each_phase_has_a_row() -> None:
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
    forward, backward, _ = rows(profile)
    assert forward == {
        "phase": "forward",
        "share": "25%",
        "in operators": "50%",
        "ops": 4,
        "nodes": 0,
        "allocations": 7,
        "allocated": "196 B",
        "peak allocated": "2 KiB",
        "FLOP": "120",
        "bytes": "528 B",
    }
    assert list(backward.values())[:5] == ["backward", "50%", "<1%", 1, 6]


def test_device_time_has_columns_where_the_profiler_sees_it() -> None:
    profile = synthetic.step_profile(busy_ns=80_000)
    row = rows(profile)[0]
    assert (row["launches"], row["kernels"]) == (8, 8)
    assert (row["kernel time"], row["busy"]) == ("32 us", "32%")


def test_operators_have_their_calls_and_their_own_share() -> None:
    first = {"phase": "forward", "operator": "aten::addmm", "calls": 2, "self share": "30%"}
    assert rows(synthetic.step_profile(), table=1)[0] == first


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


def test_case_that_cannot_run_has_its_reason_beside_one_that_can() -> None:
    words = ("--preset=seed", "--optimizer=muon,sgd")
    done = finish(start("bench", "profile", *words))
    assert done.returncode == 0, done.stderr
    assert f"{MUON_CASE}: unsupported: Muon optimizes matrices alone" in done.stdout
    assert f"{SEED_CASE}\n" in done.stdout


def test_case_that_is_not_what_it_says_ends_with_1() -> None:
    done = finish(start("bench", "profile", "--preset=seed", "--dtype=float16", "--optimizer=adam"))
    assert done.returncode == 1
    assert "invalid: the loss is nan" in done.stdout


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("cpu/float32",), "'cpu/float32'"),
        ((SEED_CASE, "--preset=seed"), "--preset"),
        ((SEED_CASE, "--batch=2"), "--batch"),
        (("--preset=quickest",), "--preset: 'quickest'"),
        ((SEED_CASE, "--traces=file/traces"), "--traces: cannot make file/traces: Not a directory"),
        ((MUON_CASE,), f"{MUON_CASE}: Muon"),
    ],
)
def test_wrong_usage_is_one_error_and_status_2(
    words: tuple[str, ...], named: str, tmp_path: Path
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
    assert done.stderr.startswith("error: ") and named in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_device_that_is_not_there_is_refused() -> None:
    done = invoke("profile", SEED_CASE.replace("cpu", "cuda"))
    assert "sees no cuda device here" in done.error


def test_profiles_of_a_run_file_are_printed_again(tmp_path: Path) -> None:
    adam, broken = sumnet(optimizer="adam"), sumnet(optimizer="lbfgs")
    run = synthetic.run(
        {sumnet(): 1e5, adam: 2e5, broken: 3e5},
        profiles={adam: synthetic.step_profile(), broken: "steps differ"},
    )
    path = synthetic.run_file(tmp_path / "run.json", run)
    done = invoke("profile", str(path))
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{adam.id}\n")
    assert f"{broken.id}: not profiled: steps differ." in done.stdout
    for words in ([str(path), SEED_CASE], [str(path), "--traces", "here"]):
        refused = invoke("profile", *words)
        assert "run files are printed and nothing is profiled" in refused.error


def test_run_without_profiles_names_the_option(tmp_path: Path) -> None:
    path = synthetic.run_file(tmp_path / "run.json", synthetic.run({sumnet(): 1e5}))
    done = invoke("profile", str(path))
    assert done.error == f"no profiles in {path}: measure with `run --profile`"


def test_profile_names_its_largest_phase_and_where_most_of_that_goes() -> None:
    phases = {
        "forward": synthetic.phase_profile(0.2, in_operators=0.6, ops=4),
        "backward": synthetic.phase_profile(0.3, in_operators=0.6, ops=1, nodes=6),
        "step": synthetic.phase_profile(0.5, in_operators=0.25, ops=36),
    }
    sentences = profile_advice(synthetic.step_profile(phases))
    assert sentences[0] == "step is the largest phase, 50% of the step."
    assert sentences[1].startswith("75% of step is outside its operators")
    assert sentences[2] == "step launches 36 of the step's 47 operators and nodes."


def test_profile_of_a_phase_that_is_mostly_operators_names_the_first() -> None:
    phase = synthetic.phase_profile(1.0, in_operators=0.9)
    assert profile_advice(synthetic.step_profile({WHOLE: phase})) == [
        "aten::addmm alone is 30% of train_step, in 2 calls."
    ]
