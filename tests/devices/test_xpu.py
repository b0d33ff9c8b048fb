"""Intel's GPUs: what is said of them, on a torch.xpu that is made up."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.devices import probe
from bench.devices.xpu import Xpu
from bench.matrix.ceiling import EVENT_PAIR, ceilings
from bench.matrix.optimizers import OPTIMIZERS
from bench.matrix.support import unsupported_reason
from tests.cases import SERIES, sumnet

needs_xpu = pytest.mark.skipif(not torch.xpu.is_available(), reason="no xpu device")


def properties(**changed: Any) -> SimpleNamespace:
    known = {
        "name": "Intel(R) Arc(TM) A770",
        "total_memory": 2**34,
        "has_fp64": False,
        "driver_version": "1.6.33578",
        "uuid": "0-1",
    }
    return SimpleNamespace(**known | changed)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch sees two, of which the second computes in float64 too."""
    seen = [properties(), properties(name="Intel(R) Data Center GPU Max", has_fp64=True, uuid="2")]
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: len(seen))
    monkeypatch.setattr(torch.xpu, "get_device_properties", seen.__getitem__)
    for name in ("has_triton_package", "has_triton"):
        monkeypatch.setattr(f"torch.utils._triton.{name}", lambda: True)


def test_where_torch_sees_none_that_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    reason = probe().of("xpu:1").unavailable
    assert reason == f"torch {torch.__version__} sees no xpu device here"


def test_each_device_says_what_it_is_and_what_it_lacks(two: None) -> None:
    facts = probe()
    arc, data_center = facts.devices["xpu"]
    assert (arc.name, data_center.name) == ("Intel(R) Arc(TM) A770", "Intel(R) Data Center GPU Max")
    assert arc.refused_dtypes.keys() == {"tf32", "float64"}
    assert data_center.refused_dtypes.keys() == {"tf32"}
    assert arc.identity and data_center.identity and arc.identity != data_center.identity
    assert arc.platform == "driver 1.6.33578"
    assert unsupported_reason(sumnet(device="xpu"), facts) is None
    assert unsupported_reason(sumnet(device="xpu:1", dtype="float64"), facts) is None
    assert "float64" in (unsupported_reason(sumnet(device="xpu:0", dtype="float64"), facts) or "")
    assert "there is no xpu:2 here" in (unsupported_reason(sumnet(device="xpu:2"), facts) or "")


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "adagrad", "rmsprop"])
def test_a_fused_step_needs_a_kernel_of_its_own(optimizer: str, two: None) -> None:
    reason = unsupported_reason(
        sumnet(device="xpu", optimizer=optimizer, implementation="fused"), probe()
    )
    assert (reason is None) == (OPTIMIZERS[optimizer].torch_class in ("SGD", "Adam", "AdamW"))


def test_no_step_of_it_is_captured_as_a_graph(two: None) -> None:
    facts = probe()
    capturable = sumnet(device="xpu", optimizer="adam", implementation="capturable")
    assert unsupported_reason(capturable, facts) is None
    for compile in ("graph", "on+reduce-overhead"):
        assert "xpu" in (unsupported_reason(sumnet(device="xpu", compile=compile), facts) or "")


def test_the_host_runs_ahead_of_it_and_events_in_its_queue_are_its_clock() -> None:
    assert set(sumnet(device="xpu").series) == set(SERIES)
    assert EVENT_PAIR in {ceiling.what for ceiling in ceilings("xpu:1", 1, ["float32"])}
    assert Xpu().shows_kernels


@needs_xpu
def test_a_device_that_is_there_says_what_it_is() -> None:
    facts = Xpu().facts()
    assert facts.unavailable is None
    assert facts.name == torch.xpu.get_device_name(0)
    assert facts.memory_bytes > 2**30


@needs_xpu
def test_marks_of_a_real_device_come_in_order() -> None:
    clock, matrix = Xpu().clock(), torch.rand(512, 512, device="xpu")
    for _ in range(300):
        matrix = matrix @ matrix / 256
        clock.mark()
    marks = clock.read()
    assert len(marks) == 300
    assert marks == sorted({*marks}), "work stands between any two"
