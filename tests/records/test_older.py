"""Files from before steps were described are read as what they meant, or refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.errors import UsageError
from bench.records.gate_report import load_report, write_report
from bench.records.older import REPORT_SCHEMA, RUN_SCHEMA
from bench.records.run_file import encode
from bench.records.store import load_run
from tests import synthetic
from tests.cases import sumnet
from tests.commands import invoke
from tests.gate.gating import columns, records, report

PLAIN, LARGE = sumnet(), sumnet(batch=1024, hidden=256, optimizer="adam")
COMMITTED = sorted((Path(__file__).parents[1] / "data" / "runs").glob("*/*.json"))


def as_it_was(case: dict[str, Any]) -> dict[str, Any]:
    """A case of today as such files have it: its own axes beside the suite's, defaults left out."""
    own = {axis: value for axis, value, _ in case.pop("own", [])}
    defaults = {"batch": 2, "hidden": 10}
    return case | {axis: value for axis, value in own.items() if value != defaults[axis]}


def old_run() -> dict[str, Any]:
    run: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(encode(synthetic.run({PLAIN: 1e5, LARGE: 4e5})))
    )
    run["plan"]["cases"] = [as_it_was(case) for case in run["plan"]["cases"]]
    for record in run["cases"]:
        record["case"] = as_it_was(record["case"])
    return run | {"schema": RUN_SCHEMA}


def old_report() -> dict[str, Any]:
    made = report(records(columns(9, *[0.01] * len(report().series))))
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(made))
    found["comparisons"] = [
        {side: as_it_was(case) for side, case in pair.items()} for pair in found["comparisons"]
    ]
    return found | {"schema": REPORT_SCHEMA}


def saved(path: Path, document: object) -> Path:
    path.write_bytes(msgspec.json.encode(document))
    return path


def test_older_run_is_the_run_that_it_was(tmp_path: Path) -> None:
    run = load_run(saved(tmp_path / "run.json", {"sumnet": old_run()}))
    assert [record.case for record in run.cases] == [PLAIN, LARGE]
    assert run.plan.cases == [PLAIN, LARGE]
    assert run.cases == synthetic.run({PLAIN: 1e5, LARGE: 4e5}).cases


def test_older_report_is_the_report_that_it_was(tmp_path: Path) -> None:
    made = report(records(columns(9, *[0.01] * len(report().series))))
    write_report(tmp_path / "new.json", made)
    found = load_report(saved(tmp_path / "old.json", old_report()))
    assert found.comparisons == load_report(tmp_path / "new.json").comparisons == made.comparisons


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_run_of_that_time_reads_with_every_case_under_its_id(path: Path) -> None:
    document = msgspec.json.decode(path.read_bytes())["sumnet"]
    if document["schema"] != RUN_SCHEMA:
        pytest.skip("of another version")
    for record, case in zip(load_run(path).cases, document["cases"], strict=True):
        was = {"batch": 2, "hidden": 10} | case["case"]
        assert record.case.own_values == {axis: was[axis] for axis in ("batch", "hidden")}


def test_older_runs_and_new_ones_are_compared(tmp_path: Path) -> None:
    new = synthetic.run_file(tmp_path / "new.json", synthetic.run({PLAIN: 1e5, LARGE: 4e5}))
    old = saved(tmp_path / "old.json", {"sumnet": old_run()})
    done = invoke("compare", old, new)
    assert done.exit_code == 0
    assert "lacks" not in done.stdout


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: run.pop("plan"),
        lambda run: run["plan"].pop("cases"),
        lambda run: run["plan"].update(cases=3),
        lambda run: run["plan"].update(cases=["cpu/float32"]),
        lambda run: run["cases"][0].pop("case"),
        lambda run: run["cases"][0].update(case=[]),
        lambda run: run["cases"][0]["case"].update(batch=0),
        lambda run: run["cases"][0]["case"].update(batch="2"),
        lambda run: run["cases"][0]["case"].update(hidden=None),
        lambda run: run.update(cases=None),
    ],
    ids=range(10),
)
def test_broken_older_run_is_refused_by_name(
    tmp_path: Path, damage: Callable[[dict[str, Any]], object]
) -> None:
    run = old_run()
    damage(run)
    path = saved(tmp_path / "run.json", {"sumnet": run})
    with pytest.raises(UsageError, match=r"run\.json "):
        load_run(path)
    done = invoke("compare", path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert str(path) in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "damage",
    [
        lambda report: report.update(comparisons=None),
        lambda report: report["comparisons"].append({"base": {}}),
        lambda report: report["comparisons"].append([1, 2]),
        lambda report: report["comparisons"][0].update(head=7),
        lambda report: report["comparisons"][0]["head"].update(batch={}),
    ],
    ids=range(5),
)
def test_broken_older_report_is_refused_by_name(
    tmp_path: Path, damage: Callable[[dict[str, Any]], object]
) -> None:
    document = old_report()
    damage(document)
    with pytest.raises(UsageError, match=r"report\.json is not a gate report"):
        load_report(saved(tmp_path / "report.json", document))


def test_older_journal_says_which_version_goes_on_with_it(tmp_path: Path) -> None:
    header = msgspec.json.decode(msgspec.json.encode(synthetic.header([PLAIN])))
    path = tmp_path / "run.journal"
    path.write_bytes(msgspec.json.encode(header | {"schema": RUN_SCHEMA}) + b"\n")
    with pytest.raises(UsageError, match=rf"run\.journal .*schema {RUN_SCHEMA}\b"):
        load_run(path)
