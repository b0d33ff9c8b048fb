"""What runs are called: by what tells them apart."""

from pathlib import Path

from bench.records.loading import run_labels
from bench.records.run_file import RunRecord
from tests import synthetic
from tests.cases import sumnet

OURS = synthetic.run({sumnet(): 1e5})
THEIRS = synthetic.run({sumnet(): 1e5}, on=synthetic.machine("other-cpu-8c-16gib"))


def labels(*runs: tuple[RunRecord, str]) -> list[str]:
    return run_labels([run for run, _ in runs], [Path(path) for _, path in runs])


def test_runs_of_different_machines_are_called_by_machine() -> None:
    assert labels((OURS, "a/1.json"), (THEIRS, "b/1.json")) == [
        "test-cpu-4c-8gib",
        "other-cpu-8c-16gib",
    ]


def test_runs_of_one_machine_are_called_by_file() -> None:
    assert labels((OURS, "a/1.json"), (OURS, "a/2.json")) == ["1", "2"]


def test_runs_that_share_machines_and_file_names_are_called_by_both() -> None:
    found = labels((OURS, "a/1.json"), (OURS, "a/2.json"), (THEIRS, "b/1.json"))
    assert found == ["test-cpu-4c-8gib/1", "test-cpu-4c-8gib/2", "other-cpu-8c-16gib/1"]


def test_runs_of_one_machine_with_one_file_name_are_called_by_path() -> None:
    assert labels((OURS, "old/1.json"), (OURS, "new/1.json")) == ["old/1.json", "new/1.json"]
    assert labels((OURS, "a/1.json"), (OURS, "a/1.journal")) == ["a/1.json", "a/1.journal"]
