"""The gate's report as a file: what is written is read back, and what is no report is refused."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.errors import MachineError, UsageError
from bench.matrix.comparison import Comparison
from bench.matrix.step import PHASES
from bench.records.gate_report import (
    SCHEMA,
    GateReport,
    Rules,
    SeriesVerdict,
    load_report,
    write_report,
)
from bench.records.older import REPORT_SCHEMA
from bench.records.verdicts import FAILED, INVALID, VERDICTS
from tests.cases import sumnet
from tests.gate.gating import columns, record, records, report


def full() -> GateReport:
    """A report that has something in every field."""
    comparison = Comparison(sumnet(), sumnet(compile="on"))
    pairs = [*records(columns(3, *[0.01] * 4)), record([None] * 4), record([0.0] * 4, control=True)]
    found = report(pairs, comparisons=[comparison])
    found.rules = Rules(alpha=0.02, thresholds={"cpu/*": 0.02})
    found.verdicts = [
        SeriesVerdict(
            comparison.id, name, word, reason="ä", base_ns=1.5, effect=-0.25, settled=False
        )
        for name, word in zip(comparison.series, VERDICTS, strict=False)
    ]
    found.sides[0].environment = {"OMP_NUM_THREADS": "1"}
    found.ended = {"another": "killed on head: SIGKILL"}
    found.without_phases = {comparison.id: "no phases on head: unclear"}
    found.outcome, found.reason = "regressed", ""
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.json"


@pytest.mark.parametrize("made", [report, full])
def test_report_is_read_as_it_was_written(path: Path, made: Callable[[], GateReport]) -> None:
    write_report(path, made())
    assert load_report(path) == made()


def test_report_is_one_line_of_json(path: Path) -> None:
    write_report(path, full())
    text = path.read_text()
    assert text.count("\n") == 1 and text.endswith("\n")
    assert msgspec.json.decode(text)["schema"] == SCHEMA


def test_report_replaces_the_one_before_and_leaves_nothing_else(path: Path) -> None:
    write_report(path, full())
    write_report(path, report())
    assert load_report(path) == report()
    assert list(path.parent.iterdir()) == [path]


def test_new_report_says_that_it_was_cut_off() -> None:
    assert (report().outcome, report().reason) == ("invalid", "the run was cut off")


def test_series_whose_measuring_ended_are_not_judged() -> None:
    made = full()
    (comparison,) = made.comparisons
    other = Comparison(sumnet(batch=3), sumnet(batch=3))
    made.series += [(other.id, name) for name in other.series]
    assert made.unjudged == {
        (comparison.id, phase): (INVALID, "no phases on head: unclear") for phase in PHASES
    }
    made.ended[comparison.id] = "failed on head: gone"
    made.ended_as[comparison.id] = FAILED
    assert made.unjudged == {
        (comparison.id, name): (FAILED, "failed on head: gone") for name in comparison.series
    }


def test_keys_that_are_unknown_are_passed_over(path: Path) -> None:
    document = msgspec.json.decode(msgspec.json.encode(full()))
    path.write_bytes(msgspec.json.encode(document | {"of a later minor version": 1}))
    assert load_report(path) == full()


@pytest.mark.skipif(os.name != "posix", reason="a folder that is not there is told otherwise")
def test_disk_that_does_not_take_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(MachineError):
        write_report(tmp_path / "gone" / "report.json", report())


# Refusals


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_report(path)
    return str(caught.value)


def test_missing_file_is_told(path: Path) -> None:
    assert refusal(path) == f"cannot read {path}: No such file or directory"


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_file_that_is_cut_off_is_refused(path: Path, part: float) -> None:
    write_report(path, full())
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert refusal(path).startswith(f"{path} is not a gate report: ")


@pytest.mark.parametrize(
    "content",
    [b"", b"regressed", b"[]", b"{}", b"null", b'{"schema": 1}', b"\xff\xfe{}"],
    ids=repr,
)
def test_file_of_something_else_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert refusal(path).startswith(f"{path} is not a gate report: ")


def edited(**changes: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(msgspec.json.encode(full())) | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"budget_s": "much"},
        {"sides": {"base": 1}},
        {"verdicts": [{"comparison": "a", "series": "b", "verdict": "slow"}]},
        {"comparisons": [{"base": {"own": [["batch", "b"]]}, "head": {}}]},
    ],
)
def test_field_of_another_type_is_refused(path: Path, changes: dict[str, Any]) -> None:
    path.write_bytes(edited(**changes))
    assert refusal(path).startswith(f"{path} is not a gate report: ")


@pytest.mark.parametrize("schema", [REPORT_SCHEMA - 1, SCHEMA + 1, None])
def test_another_schema_is_refused(path: Path, schema: int | None) -> None:
    path.write_bytes(edited(schema=schema))
    assert str(path) in refusal(path) and f"schema {schema}" in refusal(path)


@pytest.mark.parametrize("column", ["lower_quartile", "mean", "upper_tail", "base_ns"])
@pytest.mark.parametrize("change", [lambda row: row[1:], lambda row: [*row, None]])
def test_pairs_of_another_width_are_refused(
    path: Path, column: str, change: Callable[[list[Any]], list[Any]]
) -> None:
    found = full()
    setattr(found.pairs[1], column, change(getattr(found.pairs[1], column)))
    write_report(path, found)
    assert refusal(path).startswith(str(path)) and "4 series" in refusal(path)
