"""What is found out about a machine before anything is measured on it."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from bench.devices import DEVICES, available_cores, probe
from bench.matrix.axes import AXES
from bench.matrix.case import Case
from bench.matrix.support import unsupported_reason

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it, and no compiler named."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    return tmp_path


def program(folder: Path, name: str) -> None:
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_the_facts_are_those_of_this_process_and_its_torch() -> None:
    facts = probe()
    assert facts.torch == torch.__version__
    assert facts.cores == available_cores() >= 1
    assert facts.memory_bytes == psutil.virtual_memory().total
    assert facts.devices["cpu"] is None


def test_every_kind_a_case_can_name_is_answered_for() -> None:
    facts = probe()
    for device in ("cpu", "cuda", "mps", "cuda:1"):
        assert AXES["device"].value(device)
        unsupported_reason(Case(device=device), facts)


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_kind_torch_does_not_see_is_refused_as_such(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.delitem(DEVICES, kind, raising=False)
    assert probe().devices[kind] == f"torch {torch.__version__} sees no {kind} device here"


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_kind_torch_sees_and_we_cannot_time_is_refused_as_such(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.delitem(DEVICES, kind, raising=False)
    assert probe().devices[kind] == f"this version has no clock for {kind} devices"


def test_a_device_we_can_time_answers_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent:
        def unavailable_reason(self) -> str:
            return "its cable is out"

    monkeypatch.setitem(DEVICES, "cuda", Absent())
    assert probe().devices["cuda"] == "its cable is out"


@pytest.mark.parametrize(
    ("programs", "cxx", "found"),
    [
        ([], None, None),
        (["g++"], None, "g++"),
        (["clang++"], None, None),
        (["clang++", "g++"], None, "g++"),
        (["g++", "icpx"], "icpx", "icpx"),
        (["g++"], "icpx", None),
        ([], "icpx", None),
    ],
)
@pytest.mark.skipif(sys.platform == "darwin", reason="the default there is clang++")
def test_the_compiler_is_the_one_torch_would_call_and_no_other(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    programs: list[str],
    cxx: str | None,
    found: str | None,
) -> None:
    for name in programs:
        program(path, name)
    if cxx is not None:
        monkeypatch.setenv("CXX", cxx)
    assert probe().compiler == found


@pytest.mark.parametrize("isolates", [True, False])
def test_whether_compiled_loops_are_kept_apart_is_read_off_torch(
    isolates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newer(model: object, *, isolate_recompiles: bool = False) -> None: ...

    def older(model: object, *, dynamic: bool = False) -> None: ...

    monkeypatch.setattr(torch, "compile", newer if isolates else older)
    assert probe().isolates_compiled is isolates


def test_naming_the_devices_does_not_import_torch() -> None:
    code = "import sys, bench.devices; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
