"""What a machine has shown before: kept for its user alone, and never in the way of a run."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from bench.records.assembly import assemble
from bench.records.run_file import RunRecord
from bench.records.state import RECENT, remember_floors, state_folder
from tests import synthetic

ROOT = Path(__file__).parents[2]
IDENTITY = "0123456789abcdef"


def run(**changes: Any) -> RunRecord:
    on = synthetic.machine(**{"identity": IDENTITY} | changes)
    return assemble(synthetic.header([synthetic.Case()], on), [])


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("SUMNET_STATE", str(folder))
    return folder


def earlier(own: dict[str, int], **changes: Any) -> dict[str, list[int]]:
    floors, trouble = remember_floors(run(**changes), own)
    assert trouble is None
    return floors


def test_state_lies_in_the_users_folder_unless_it_is_named(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert state_folder() == state
    monkeypatch.delenv("SUMNET_STATE")
    assert state_folder() == Path(platformdirs.user_state_dir("sumnet-bench", appauthor=False))


def test_floors_of_earlier_runs_come_back_and_the_lowest_is_never_forgotten() -> None:
    assert earlier({"a": 100, "b": 300}) == {"a": [], "b": []}
    assert earlier({"a": 120, "b": 200}) == {"a": [100, 100], "b": [300, 300]}
    assert earlier({"a": 130}) == {"a": [100, 100, 120]}
    for _ in range(RECENT + 5):
        earlier({"a": 150})
    assert earlier({"a": 150}) == {"a": [100, *[150] * RECENT]}


@pytest.mark.parametrize(
    "changes", [{"identity": "f" * 16}, {"torch": "3.0"}, {"python": "CPython 3.14.0"}]
)
def test_floors_are_of_one_machine_and_its_software(changes: dict[str, str]) -> None:
    earlier({"a": 100})
    assert earlier({"a": 500}, **changes) == {"a": []}
    assert earlier({"a": 900}) == {"a": [100, 100]}


def test_floors_are_of_one_version_of_the_reference_loops() -> None:
    earlier({"a": 100})
    newer = run()
    newer.reference_loop_version += 1
    assert remember_floors(newer, {"a": 500}) == ({"a": []}, None)


def test_floors_say_nothing_of_whose_machine_it_is(state: Path) -> None:
    earlier({"a": 100})
    (kept,) = state.rglob("*.json")
    assert kept.name == f"{IDENTITY}.json"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"software": 7}', b'{"s": {"a": "b"}}', b'{"s": {"a": [0]}}']
)
def test_damaged_floors_are_set_aside_and_the_run_goes_on(state: Path, content: bytes) -> None:
    path = state / "floors" / f"{IDENTITY}.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    floors, trouble = remember_floors(run(), {"a": 100})
    assert floors == {"a": []}
    assert trouble is not None and str(path) in trouble
    assert path.with_suffix(".damaged").read_bytes() == content
    assert earlier({"a": 200}) == {"a": [100, 100]}


def test_state_that_cannot_be_written_is_said_and_the_run_goes_on(state: Path) -> None:
    state.write_text("a file in the way")
    floors, trouble = remember_floors(run(), {"a": 100})
    assert floors == {}
    assert trouble is not None and str(state) in trouble


def test_floors_survive_writers_in_parallel() -> None:
    writer = """
        import sys
        from bench.records.state import remember_floors
        from tests.records.test_state import run

        for number in range(30):
            remember_floors(run(), {f"{sys.argv[1]}-{number}": 100, "shared": 1000 - number})
    """
    command = [sys.executable, "-c", textwrap.dedent(writer)]
    writers = [subprocess.Popen([*command, str(me)], cwd=ROOT) for me in range(3)]
    assert [process.wait() for process in writers] == [0, 0, 0]
    names = [f"{me}-{number}" for me in range(3) for number in range(30)]
    kept = earlier(dict.fromkeys([*names, "shared"], 2000))
    assert {name: floors[0] for name, floors in kept.items()} == dict.fromkeys(names, 100) | {
        "shared": 971
    }
