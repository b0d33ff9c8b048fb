"""What torch drives through a module of one shape, on a module that is made up."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.devices.accelerator import Accelerator
from bench.devices.base import Device
from bench.devices.cpu import Cpu
from bench.devices.event_clock import EVENTS
from bench.devices.facts import DeviceFacts


class Event:
    def __init__(self, module: "Module", enable_timing: bool) -> None:
        assert enable_timing, "without, an event cannot be timed"
        self._module = module

    def record(self, stream: object = None) -> None:
        self._module.recorded_on.append(stream)

    def synchronize(self) -> None: ...


class Module:
    """In the shape of torch.cuda; the last device it was made to work on is the current one."""

    def __init__(self) -> None:
        self.recorded_on: list[object] = []
        self.log: list[tuple[str, object]] = []
        self.held, self.most = 1000, 5000
        self.known = SimpleNamespace()

    def Event(self, enable_timing: bool = False) -> Event:
        return Event(self, enable_timing)

    def current_stream(self, index: int) -> str:
        return f"stream of {index}"

    def memory_allocated(self, index: int) -> int:
        return self.held

    def max_memory_allocated(self, index: int) -> int:
        return self.most

    def reset_peak_memory_stats(self, index: int) -> None:
        self.log.append(("reset", index))
        self.most = self.held

    def set_device(self, index: int) -> None:
        self.log.append(("set", index))

    def synchronize(self, index: int) -> None:
        self.log.append(("wait", index))

    def get_device_properties(self, index: int) -> Any:
        return self.known


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Module:
    fake = Module()
    monkeypatch.setattr(torch, "made_up", fake, raising=False)
    return fake


class MadeUp(Accelerator):
    kind = "made_up"

    def facts(self) -> DeviceFacts:
        return DeviceFacts(name="made up")


def test_its_clock_marks_the_stream_that_its_work_goes_to(module: Module) -> None:
    clock = MadeUp(2).clock()
    clock.mark()
    assert module.recorded_on == ["stream of 2"] * (EVENTS + 1)


def test_its_peak_is_above_what_it_held(module: Module) -> None:
    device = MadeUp(1)
    device.reset_peak()
    module.most = 1700
    assert device.peak_bytes() == 700
    assert module.log == [("reset", 1)]


def test_each_call_is_about_its_own_index(module: Module) -> None:
    device = MadeUp(3)
    assert device.enter(4) == []
    device.synchronize()
    assert module.log == [("set", 3), ("wait", 3)]


PLACE = {"pci_domain_id": 0, "pci_bus_id": 1, "pci_device_id": 2}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"uuid": "a"}, {"uuid": "b"}),
        (PLACE, PLACE | {"pci_bus_id": 7}),
        ({"uuid": None, **PLACE}, {"uuid": None, **PLACE, "pci_device_id": 3}),
    ],
)
def test_two_of_a_name_are_told_apart_by_uuid_or_else_by_place(
    one: dict[str, Any], other: dict[str, Any], module: Module
) -> None:
    found = []
    for known in (one, other, one):
        module.known = SimpleNamespace(**known)
        found.append(MadeUp().identity())
    assert found[0] == found[2] != found[1]
    assert all(found)


def test_what_torch_tells_nothing_by_has_no_identity(module: Module) -> None:
    module.known = SimpleNamespace(pci_bus_id=1)
    assert MadeUp().identity() == ""


class Products(TorchDispatchMode):
    """Notes the matrix products that run."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self._log = log

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if "mm." in name:
            self._log.append(name)
        return func(*args, **(kwargs or {}))


class Warming(Cpu):
    """A CPU that is warmed as other devices are."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def warm_up(self) -> None:
        Device.warm_up(self)

    def synchronize(self) -> None:
        self.log.append("wait")


def test_a_device_is_warmed_by_products_forward_and_backward_with_a_bias_and_waited_for() -> None:
    device = Warming()
    forward = ["aten.mm.default", "aten.addmm.default"]
    with Products(device.log):
        device.warm_up()
    assert device.log[:2] == forward
    backward = device.log[2:-1]
    assert backward and set(backward) <= {"aten.mm.default", "aten.addmm.default"}
    assert device.log[-1] == "wait"
