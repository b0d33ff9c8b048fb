"""The command line: what the verbs print, and how they refuse."""

import io
import math
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from bench import __version__
from bench.cli import main
from bench.errors import BenchError, MachineError, UsageError
from bench.matrix.case import AHEAD, WHOLE
from bench.matrix.ceiling import Ceiling
from bench.records.run_file import SCHEMA
from tests import synthetic
from tests.cases import sumnet
from tests.commands import invoke
from tests.synthetic import Moods

ROOT = Path(__file__).parents[1]
SGD = sumnet()
ADAM = sumnet(optimizer="adam")
pytestmark = pytest.mark.usefixtures("no_drift")

EXACT = Moods(noise=0, between=0, blocks=6)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two run files, of machines that take 100 and 200 us for the first case."""
    there = synthetic.machine("other-cpu-8c-16gib")
    return [
        synthetic.run_file(tmp_path / "results" / run.machine.name / "20260101T000000Z-a.json", run)
        for run in (
            synthetic.run({SGD: 1e5, ADAM: 2e5}, moods=EXACT),
            synthetic.run({SGD: 2e5, ADAM: 2e5}, moods=EXACT, on=there),
        )
    ]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What `python -m bench ARGUMENTS...` does."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def status_of(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str | None:
    """The exit status of the console script, run here."""
    monkeypatch.setattr(sys, "argv", ["sumnet-bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code or 0


def test_compare_prints_the_table_of_the_files_named(files: list[Path]) -> None:
    done = invoke("compare", *files)
    assert done.exit_code == 0
    assert "vs run test-cpu-4c-8gib" in done.stdout
    assert "2.000 ± 0.0%" in done.stdout
    assert "Differs: machine: " in done.stdout


def test_compare_finds_the_newest_runs_by_itself(files: list[Path], tmp_path: Path) -> None:
    words = ["--results", str(tmp_path / "results"), "--reference", "test-cpu-4c-8gib"]
    done = invoke("compare", *words)
    assert done.exit_code == 0
    assert "2.000 ± 0.0%" in done.stdout


def test_every_option_of_compare_reaches_the_comparison(files: list[Path]) -> None:
    words = "--by optimizer --reference adam --phase step --statistic typical --format csv"
    done = invoke("compare", str(files[0]), *words.split())
    assert done.exit_code == 0
    back = pd.read_csv(io.StringIO(done.stdout)).to_dict("records")
    ratios = {(row["optimizer"], row["series"]): row["ratio"] for row in back}
    assert ratios["sgd", "step"] == 0.5
    assert math.isnan(ratios["sgd", "train_step"])
    pivot = ["compare", str(files[0]), "--rows", "optimizer", "--columns", "batch"]
    table = invoke(*pivot, "--format", "tsv").stdout.splitlines()
    assert [line.split("\t")[1].strip() for line in table] == [
        "batch 2",
        "100 us ± 0.0%",
        "200 us ± 0.0%",
    ]


def test_verdicts_are_compares_with_the_gates_exit_status(tmp_path: Path) -> None:
    base, head, other = (
        synthetic.run_file(tmp_path / f"{name}.json", synthetic.run({SGD: time}, moods=EXACT))
        for name, time in (("base", 1e5), ("head", 1.1e5), ("other", 1.04e5))
    )
    words = ["compare", "--verdicts", "--results", str(tmp_path), "--format", "tsv"]

    def verdict_of(*more: object) -> tuple[int, str]:
        done = invoke(*words, *more)
        return done.exit_code, done.stdout.splitlines()[1].split("\t")[2].strip()

    assert verdict_of(base, head) == (1, "regressed")
    assert verdict_of(head, base) == (0, "improved")
    assert verdict_of(base, other) == (1, "regressed")
    assert verdict_of(base, other, "--threshold", "5%") == (0, "equivalent")
    assert verdict_of(base, head, "--threshold", "0.11", "--margin", "0.12") == (0, "equivalent")


def test_every_option_of_rank_reaches_the_ranking(files: list[Path], tmp_path: Path) -> None:
    words = ["--by", "run", "--statistic", "typical", "--format", "csv"]
    done = invoke("rank", *words, "--results", str(tmp_path / "results"))
    assert done.exit_code == 0
    rows = pd.read_csv(io.StringIO(done.stdout)).to_dict("records")
    assert [(row["optimizer"], row["fastest"], row["tied"]) for row in rows] == [
        ("adam", "other-cpu-8c-16gib", 1),
        ("sgd", "test-cpu-4c-8gib", 0),
    ]
    assert {row["device"] for row in rows} == {"cpu"}
    assert rows[1]["step ± 95%"] == "110 us ± 0.0%"


def test_rank_is_a_command_that_names_the_fastest_and_where_it_changes(tmp_path: Path) -> None:
    times = {sumnet(batch=4): 1e5, sumnet(batch=64): 4e5}
    here = synthetic.run_file(tmp_path / "a.json", synthetic.run(times, moods=EXACT))
    cuda = {sumnet(batch=batch, device="cuda"): 2.5e5 for batch in (4, 64)}
    there = synthetic.run_file(tmp_path / "b.json", synthetic.run(cuda, moods=EXACT))
    done = command("rank", here, there)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert "a cpu" in rows[0].split("|")[4] and "b cuda" in rows[1].split("|")[4]
    assert "b cuda overtakes a cpu at a batch of about 16." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("compare nowhere.json", "cannot read nowhere.json: No such file or directory"),
        ("compare --results nowhere", "no run files under nowhere: measure with `run`"),
        ("compare odd.json", "odd.json is cut off or is not JSON: "),
        ("compare odd.journal", "odd.journal is not a journal of this suite: "),
        ("compare newer.json", "newer.json was written by another version"),
        ("compare edited.json", "edited.json"),
        ("rank nowhere.json", "cannot read nowhere.json: No such file or directory"),
        ("rank nowhere.json --by batch", "--by: 'batch' is not a list of run, device, "),
        ("rank nowhere.json --statistic mean", "--statistic: 'mean' is not one of quiet"),
        ("rank nowhere.json --format xlsx", "--format: 'xlsx' is not one of github, "),
        ("rank --results nowhere", "no run files under nowhere: measure with `run`"),
        ("rank above.json", "above.json holds ceilings alone: `ceilings above.json` prints them"),
        ("compare above.json", "above.json holds ceilings alone: `ceilings above.json"),
        ("repeatability above.json above.json", "above.json holds ceilings alone: `ceilings abo"),
        ("rank broken.json", "nothing to rank: no case has a quiet time"),
        ("list --verify --preset quickest", "--preset: 'quickest' is not one of "),
        ("list --verify --dtype half", "--dtype: 'half' is not a value; allowed: float32, "),
        ("list --preset quickest", "--preset: 'quickest' is not one of seed, quick, "),
        ("list --batch 2,many", "--batch: 'many' is not a value; allowed: a whole number from 1 "),
        ("run --frobnicate", "no such option: --frobnicate; `run --help` lists them"),
        ("profile b2", "'b2' is not a case id: it has 1 parts, not 8; an id looks like cpu/"),
        (f"profile {SGD.id} --batch 2", "a case id fixes every axis: drop --batch"),
        (f"profile {SGD.id} --preset seed", "a case id fixes every axis: drop --preset"),
        ("profile --preset quickest", "--preset: 'quickest' is not one of seed, "),
        ("profile --preset seed --traces odd.json", "--traces: cannot make odd.json: File exists"),
        ("ceilings nowhere.json", "cannot read nowhere.json: No such file or directory"),
        ("ceilings odd.journal", "odd.journal is not a journal of this suite: "),
        ("ceilings short.json", "no ceilings in these files: measure them with `ceilings`"),
        ("ceilings above.json --format xlsx", "--format: 'xlsx' is not one of github, "),
        ("ceilings above.json --dtype float32", "files are printed and nothing is measured: drop"),
        ("ceilings --format csv", "--format is for printing run files: name some"),
        ("compare --limits nowhere.json", "cannot read nowhere.json: No such file or directory"),
        ("compare --limits --results nowhere", "no run files under nowhere: measure with `run`"),
        ("compare --limits above.json", "these files hold ceilings alone: name a run that measu"),
        (
            "compare --limits --by batch",
            "--limits is a table of its own, of quiet times: drop --by",
        ),
        (
            "compare --limits --rows batch --columns dtype",
            "--limits is a table of its own, of quiet times: drop --rows, --columns",
        ),
        (
            "compare --limits --statistic typical",
            "--limits is a table of its own, of quiet times: drop --statistic",
        ),
        ("compare --limits short.json --roofline a.gif", "a.gif: a chart's file ends in one of "),
        ("trend short.json --chart a.gif", "a.gif: a chart's file ends in one of .html, .png, .s"),
        ("trend short.json --chart nowhere/a.svg", "nowhere/a.svg: there is no folder nowhere: "),
        ("compare short.json --roofline a.svg", "--roofline is a chart of limits: add --limits"),
        ("compare short.json --margin 5%", "--margin and --threshold are of verdicts: add --ver"),
        ("compare --verdicts short.json", "--verdicts takes two run files, the base's, then the"),
        (
            "compare --verdicts",
            "--verdicts takes two run files, the base's, then the head's; there",
        ),
        ("compare --verdicts short.json nowhere.json", "cannot read nowhere.json: No such file"),
        (
            "compare --verdicts --margin 5 a b",
            "--margin: '5' is not a share above 0% and up to 50%",
        ),
        (
            "compare --verdicts --by batch --rows batch --columns dtype --reference 2",
            "--verdicts is a table of its own, of quiet times: drop --by, --reference, --rows, --c",
        ),
        (
            "compare --verdicts --statistic typical --phase step --limits",
            "--verdicts is a table of its own, of quiet times: drop --statistic, --phase, --limits",
        ),
    ],
)
def test_error_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: str,
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("odd.json", "odd.journal"):
        Path(name).write_text("{")
    synthetic.run_file(Path("short.json"), synthetic.run({SGD: 1e5}, replicates=2))
    broken = synthetic.run({SGD: 1e5}, ended={SGD: ("failed", "it broke")})
    synthetic.run_file(Path("broken.json"), broken)
    above = synthetic.run({}, moods=EXACT, ceilings={Ceiling("op"): 500.0})
    synthetic.run_file(Path("above.json"), above)
    edited = synthetic.run({SGD: 1e5}, moods=EXACT)
    edited.cases[0].case = sumnet(optimizer="of-a-newer-version")
    synthetic.run_file(Path("edited.json"), edited)
    Path("newer.json").write_bytes(msgspec.json.encode({"sumnet": {"schema": SCHEMA + 1}}))
    assert status_of(monkeypatch, *arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {complaint}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("kind", [BenchError, UsageError, MachineError])
def test_exit_status_is_the_errors_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[BenchError]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind("what was wrong")

    monkeypatch.setattr("bench.compare.verb.compare", fail)
    assert status_of(monkeypatch, "compare") == kind.exit_status
    assert capsys.readouterr().err == "error: what was wrong\n"


def test_wrong_usage_has_status_2(monkeypatch: pytest.MonkeyPatch) -> None:
    assert status_of(monkeypatch, "frobnicate") == 2
    assert status_of(monkeypatch, "compare", "--frobnicate") == 2


@pytest.mark.parametrize("arguments", [["--version"], ["--version", "compare"]])
def test_version_is_printed(arguments: list[str]) -> None:
    done = invoke(*arguments)
    assert (done.exit_code, done.stdout) == (0, f"sumnet-bench {__version__}\n")


def test_help_names_the_verbs() -> None:
    for arguments in (["--help"], ["-h"]):
        done = invoke(*arguments)
        assert done.exit_code == 0
        commands = done.stdout.partition("verbs:")[2]
        measuring = ["regress", "calibrate", "list", "run", "profile", "ceilings"]
        reading = ["trend", "compare", "rank", "repeatability"]
        verbs = re.findall(r"^ {4}([a-z]+)\b", commands, re.MULTILINE)
        assert sorted(verbs) == sorted([*measuring, *reading])


def test_module_is_the_command_and_shows_no_traceback(tmp_path: Path) -> None:
    missing = tmp_path / "gone.json"
    done = command("compare", missing)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: cannot read {missing}: No such file or directory\n"


def test_help_of_compare_names_every_series_that_is_no_phase() -> None:
    done = invoke("compare", "--help")
    assert [series for series in (WHOLE, *AHEAD) if series not in done.stdout] == []


def test_list_prints_ids_and_why_some_cannot_run(tmp_path: Path) -> None:
    words = "list --preset seed --batch 2,64 --device cpu,mps --optimizer adam"
    done = invoke(*words.split(), "--threads", "1,1024", "--results", str(tmp_path))
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    ids = [line.split("  unsupported: ")[0] for line in lines]
    assert ids == [
        f"{device}/float32/b{batch}/adam/default/compile-off/h10/t{threads}"
        for device in ("cpu", "mps")
        for batch in (2, 64)
        for threads in (1, 1024)
    ]
    assert lines[0] == ids[0]
    assert lines[1].startswith(f"{ids[1]}  unsupported: needs 1024 cores, one per thread; this")
    assert all("  unsupported: " in line and " mps device" in line for line in lines[4:])


def test_list_verifies_each_case_and_ends_with_1_where_one_does_not_train() -> None:
    dtypes, optimizers = ("float32", "amp-float16", "float16"), ("adam", "lbfgs")
    axes = ["--dtype", ",".join(dtypes), "--optimizer", ",".join(optimizers)]
    done = command("list", "--verify", "--preset", "seed", *axes)
    assert (done.returncode, done.stderr) == (1, "")
    *lines, counts = done.stdout.splitlines()
    ids = [sumnet(dtype=dtype, optimizer=name).id for dtype in dtypes for name in optimizers]
    assert [line.split("  ")[0] for line in lines] == ids
    outcomes = [line.split("  ")[1] for line in lines]
    fell = r"verified: loss ratio 0\.\d+ \(0\.\d+ ± \S+ expected\); "
    for outcome, wanted in zip(
        outcomes,
        (
            f"{fell}float32, for-loop",
            f"{fell}float32, closure",
            f"{fell}float16, for-loop",
            "unsupported: GradScaler takes no optimizer that is given a closure, as lbfgs is",
            "invalid: the loss is nan after 20 steps",
            f"{fell}float16, closure",
        ),
        strict=True,
    ):
        assert re.fullmatch(wanted, outcome), outcome
    assert counts == "4 verified, 1 unsupported, 1 invalid"


# What `run` leaves to pytest-benchmark


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--benchmark-columns", "min,max"), "--benchmark-columns=min,max"),
        ((SGD.id, "--benchmark-columns", "min,max"), "--benchmark-columns=min,max"),
        (("--benchmark-timer=time.time",), "--benchmark-timer"),
    ],
)
def test_option_of_pytest_benchmark_that_cannot_be_passed_on_is_named(
    words: tuple[str, ...], named: str
) -> None:
    done = invoke("run", *words, "--collect-only")
    assert (done.exit_code, named in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "cases"),
    [
        ((SGD.id, "--benchmark-columns=min,max", ADAM.id), 2),
        (("--preset=seed", "--benchmark-storage=a folder"), 1),
        (("--preset=seed", "-k", "not warmup"), 1),
    ],
)
def test_cases_stand_anywhere_beside_what_is_passed_on(words: tuple[str, ...], cases: int) -> None:
    command = [sys.executable, "-m", "bench", "run", *words, "--collect-only"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, f"{4 * cases} tests collected" in done.stdout) == (0, True)
