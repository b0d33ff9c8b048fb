"""What is found out about a machine before anything is measured on it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.devices import DEVICES, available_cores, device_named, probe
from bench.devices.cpu import Cpu
from bench.devices.cuda import Cuda
from bench.devices.facts import DeviceFacts
from bench.devices.mps import Mps
from bench.errors import UsageError
from bench.matrix.axes import AXES
from bench.matrix.case import case_from_id
from bench.matrix.ceiling import LAUNCH, ceilings
from bench.matrix.support import unsupported_reason
from tests.cases import SERIES, sumnet

ROOT = Path(__file__).parents[2]


def test_the_facts_are_those_of_this_process_and_its_torch() -> None:
    facts = probe()
    assert facts.torch == torch.__version__
    assert facts.cores == available_cores() >= 1
    assert facts.of("cpu").name == Cpu().facts().name


def test_every_kind_a_case_can_name_is_answered_for() -> None:
    facts = probe()
    assert facts.devices.keys() == DEVICES.keys() >= {"cpu", "cuda", "mps"}
    for device in (*DEVICES, "cuda:1"):
        assert AXES["device"].value(device)
        unsupported_reason(sumnet(device=device), facts)


def test_a_machine_without_accelerators_says_so_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    facts = probe()
    for kind in ("cuda", "mps"):
        reason = facts.of(kind).unavailable
        assert reason == f"torch {torch.__version__} sees no {kind} device here"
    assert facts.of("cpu").unavailable is None


def test_a_device_is_found_by_its_kind_and_index() -> None:
    for name, kind in {"cpu": Cpu, "mps": Mps, "cuda": Cuda, "cuda:1": Cuda}.items():
        assert isinstance(device_named(name), kind)
    one, first = device_named("cuda:1"), device_named("cuda")
    assert isinstance(one, Cuda) and isinstance(first, Cuda)
    assert (first.index, one.index) == (0, 1)


def test_a_device_named_twice_is_not_the_same_object() -> None:
    """Each keeps a reckoning of its own."""
    assert device_named("cpu") is not device_named("cpu")


def test_a_new_entry_is_all_a_new_kind_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Npu(Cpu):
        kind = "npu"
        indexed = asynchronous = True
        fused = frozenset({"Adam"})

        @classmethod
        def count(cls) -> int:
            return 2

        def facts(self) -> DeviceFacts:
            reason = "its cable is out" if self.index else None
            return DeviceFacts(unavailable=reason, refused_dtypes={"float64": "it has none"})

    monkeypatch.setitem(DEVICES, "npu", Npu)
    facts, case = probe(), case_from_id(sumnet(device="npu:1").id)
    assert unsupported_reason(case, facts) == "its cable is out"
    assert unsupported_reason(sumnet(device="npu:0"), facts) is None
    assert unsupported_reason(sumnet(device="npu", dtype="float64"), facts) == "it has none"
    fused = sumnet(device="npu", optimizer="adam", implementation="fused")
    assert unsupported_reason(fused, facts) is None
    assert isinstance(device_named("npu:1"), Npu)
    assert set(case.series) == set(SERIES)
    assert LAUNCH in {ceiling.what for ceiling in ceilings("npu", 1, ["float32"])}


def test_without_torch_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match=r"torch is not installed for .*: install torch 2\.11"):
        probe()


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


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no process is bound to cores")
def test_cores_are_counted_before_openmp_binds_the_process() -> None:
    code = "from bench.devices import probe; print(probe().cores)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "OMP_PROC_BIND": "true"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == len(os.sched_getaffinity(0))
