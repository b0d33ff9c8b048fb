"""What a glob of the results folder meets: runs are read, other files of ours are left out."""

import os
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bench.cli import main
from bench.errors import UsageError
from bench.matrix.ceiling import Ceiling
from bench.records.gate_report import write_report
from bench.records.loading import is_of, readable
from bench.records.store import REPORT, RUN, kind_of, load_run
from tests import synthetic
from tests.cases import sumnet
from tests.commands import invoke
from tests.gate.gating import correlated, records, report
from tests.synthetic import Moods

EXACT = Moods(noise=0, between=0, blocks=6)
CASES = {sumnet(): 1e5, sumnet(batch=64): 2e5}
ABOVE = {Ceiling("op"): 500.0}
VERBS = ("compare", "rank", "repeatability", "trend", "profile", "compare --verdicts")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's folder with two runs, and one of each other kind beside them."""
    monkeypatch.chdir(tmp_path)
    profiles = {sumnet(): synthetic.step_profile()}
    run = synthetic.run(CASES, moods=EXACT, profiles=profiles)
    for name in ("20260101T000000Z-a", "20260102T000000Z-a"):
        synthetic.run_file(tmp_path / f"{name}.json", run)
    above = synthetic.run({}, moods=EXACT, ceilings=ABOVE)
    synthetic.run_file(tmp_path / "ceilings-20260101T000000Z-a.json", above)
    write_report(tmp_path / "regress-20260101T000000Z-a.json", report())
    return tmp_path


def test_a_run_is_of_the_steps_file_at_its_place_in_the_checkout(tmp_path: Path) -> None:
    run = synthetic.run(CASES, moods=EXACT)
    files = ("steps.py", "benchmarks/steps.py", "other/benchmarks/steps.py")
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / ".git").mkdir()
    for steps in ("", *files):
        plan = msgspec.structs.replace(run.plan, steps=steps)
        of = msgspec.structs.replace(run, plan=plan)
        assert [file for file in files if is_of(of, tmp_path / file)] == [steps] * bool(steps)


def ran(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object
) -> tuple[int, str, list[str]]:
    """Exit status, stdout, and the lines of stderr."""
    monkeypatch.setattr(sys, "argv", ["bench", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err.splitlines()


@pytest.mark.parametrize("verb", VERBS)
def test_glob_of_all_kinds_reads_the_runs_and_names_the_rest(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
) -> None:
    names = sorted(path.name for path in folder.glob("*.json"))
    runs = [name for name in names if name.startswith("2026")]
    alone = ran(monkeypatch, capsys, *verb.split(), *runs)
    assert (alone[0], alone[2]) == (0, [])
    assert ran(monkeypatch, capsys, *verb.split(), *names) == (
        0,
        alone[1],
        [
            "skipped ceilings-20260101T000000Z-a.json: it holds ceilings alone",
            f"skipped regress-20260101T000000Z-a.json: it {REPORT.what}",
        ],
    )


@pytest.mark.parametrize("words", ["ceilings", "compare --limits"])
def test_ceilings_are_read_where_they_are_wanted(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
) -> None:
    names = sorted(path.name for path in folder.glob("*.json"))
    status, _, err = ran(monkeypatch, capsys, *words.split(), *names)
    assert status == 0
    assert [line.split(":")[0] for line in err] == [
        "skipped regress-20260101T000000Z-a.json",
    ]


@pytest.mark.parametrize("verb", [*VERBS[:-1], "ceilings", "compare --limits"])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("regress-20260101T000000Z-a.json", f"-a.json {REPORT.what}: `regress "),
    ],
)
def test_other_kind_alone_is_refused_with_what_it_is_and_what_reads_it(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    name: str,
    told: str,
) -> None:
    status, out, err = ran(monkeypatch, capsys, *verb.split(), name)
    assert (status, out, len(err)) == (2, "", 1)
    assert err[0].startswith("error: ") and told in err[0]


def test_several_of_other_kinds_are_each_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ("ceilings-20260101T000000Z-a.json", "regress-20260101T000000Z-a.json")
    status, _, err = ran(monkeypatch, capsys, "compare", *files)
    assert (status, len(err)) == (2, 2)
    assert all(name in line for name, line in zip(files, err, strict=True))


@pytest.mark.parametrize("content", ["{}", '{"benchmarks": []}', '{"name": "web"}', "[1", ""])
def test_what_is_not_ours_or_damaged_is_an_error_that_names_it(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: str,
) -> None:
    (folder / "package.json").write_text(content)
    for verb in ("compare", "trend"):
        status, out, err = ran(monkeypatch, capsys, verb, *folder.glob("*.json"))
        assert (status, out, len(err)) == (2, "", 1)
        assert "package.json is " in err[0]


def test_calibrate_leaves_out_what_is_no_aa_report(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = records(correlated(np.random.default_rng(3), 30, len(report().series)))
    write_report(folder / "pairs.json", report(pairs))
    slower = report(pairs)
    slower.sides[1].subject_hash = "b" * 16
    write_report(folder / "regress-20260101T000000Z-a.json", slower)
    monkeypatch.setattr("bench.gate.replay.curve", lambda _: [])
    names = sorted(path.name for path in folder.glob("*.json"))
    status, out, err = ran(monkeypatch, capsys, "calibrate", "--replays", 100, *names)
    assert status == 0
    assert "30 A/A pairs from 1 reports" in out
    assert err == [
        f"skipped 20260101T000000Z-a.json: it {RUN.what}",
        f"skipped 20260102T000000Z-a.json: it {RUN.what}",
        f"skipped ceilings-20260101T000000Z-a.json: it {RUN.what}",
        "skipped regress-20260101T000000Z-a.json: it compares commit 0123456789 with working tree",
    ]
    status, _, err = ran(monkeypatch, capsys, "calibrate", names[0])
    assert (status, len(err)) == (2, 1)
    assert err[0].endswith(f"is a run file: `compare {names[0]}` prints it")


def test_kind_is_recognised_by_content_whatever_the_files_name(folder: Path) -> None:
    run = next(folder.glob("2026*.json"))
    assert load_run(run.rename(folder / "regress.json")).cases
    written = msgspec.to_builtins(report())
    assert kind_of(written) is REPORT
    assert [kind_of(other) for other in ({}, [], None, 7, {"reference_loops": {}})] == [None] * 5


def test_what_cannot_be_read_is_left_out_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = synthetic.run_file(tmp_path / "good.json", synthetic.run({sumnet(): 1e5}))
    broken, pipe = tmp_path / "broken.json", tmp_path / "pipe.json"
    broken.write_bytes(good.read_bytes()[:100])
    os.mkfifo(pipe)
    files = [broken, good, pipe, tmp_path / "none.json"]
    assert readable(files) == [good]
    said = capsys.readouterr().err.splitlines()
    assert [str(path) in line for path, line in zip([broken, *files[2:]], said, strict=True)] == [
        True,
        True,
        True,
    ]
    with pytest.raises(UsageError):
        readable([broken])
    for verb in ("compare", "rank", "trend"):
        done = invoke(verb, *files, "--results", tmp_path)
        assert done.exit_code == 2, verb
        done = invoke(verb, *files, "--skip-unreadable", "--results", tmp_path)
        assert done.exit_code == 0 and "skipped" in done.error, done.error
