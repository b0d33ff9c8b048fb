"""Where cases run. To add a kind: its file, and its line in DEVICES."""

import inspect
import re
import sys

import msgspec

from ..errors import UsageError
from .base import Device
from .cpu import Cpu
from .cuda import Cuda
from .facts import DeviceFacts, Facts, place_of
from .limits import available_cores as available_cores
from .limits import thread_limit
from .mps import Mps
from .xpu import Xpu

DEVICES: dict[str, type[Device]] = {device.kind: device for device in (Cpu, Cuda, Mps, Xpu)}
"""Kind to its device."""
TF32_REFUSAL = "tf32 is a mode of CUDA's matrix units: {} has none"


def kind_of(name: str) -> type[Device]:
    """What the device called `name` is, for example `cuda:1`."""
    return DEVICES[place_of(name)[0]]


def device_named(name: str) -> Device:
    """The device called `cpu`, `mps`, `cuda` or `cuda:1`."""
    kind, index = place_of(name)
    return DEVICES[kind](index)


def is_device_name(text: str) -> bool:
    """Whether a device, here or elsewhere, can be called so."""
    kind, colon, index = text.partition(":")
    if kind not in DEVICES or not colon:
        return kind in DEVICES
    return DEVICES[kind].indexed and re.fullmatch("0|[1-9][0-9]{0,3}", index) is not None


def device_names() -> str:
    """What a device can be called, for people."""
    names = ((kind, f"{kind}:INDEX") if DEVICES[kind].indexed else (kind,) for kind in DEVICES)
    return ", ".join(name for each in names for name in each)


def torch_missing() -> UsageError:
    """The error for an interpreter that has no torch."""
    return UsageError(f"torch is not installed for {sys.executable}: install torch 2.11 or newer")


def probe() -> Facts:
    """What this machine and its torch can run. Imports torch; raises UsageError without one."""
    cores = available_cores()  # before torch's OpenMP library binds this process to some of them
    try:
        import torch
    except ModuleNotFoundError:
        raise torch_missing() from None

    return Facts(
        torch=str(torch.__version__),
        cores=cores,
        thread_limit=thread_limit(),
        isolates_compiled="isolate_recompiles" in inspect.signature(torch.compile).parameters,
        devices={kind: _facts(device, torch.__version__) for kind, device in DEVICES.items()},
    )


def _facts(device: type[Device], torch: str) -> tuple[DeviceFacts, ...]:
    """Of all devices of a kind. A driver that is broken must not end what runs without it."""

    def broken(error: Exception) -> DeviceFacts:
        # torch's DeferredCudaCallError is no RuntimeError, and drivers raise what they like.
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return DeviceFacts(unavailable=f"{device.kind} does not start: {first}")

    def of(index: int) -> DeviceFacts:
        try:
            facts = device(index).facts()
        except Exception as error:
            return broken(error)
        if device.tf32:
            return facts
        refused = facts.refused_dtypes | {"tf32": TF32_REFUSAL.format(device.kind)}
        return msgspec.structs.replace(facts, refused_dtypes=refused)

    try:
        count = device.count()
    except Exception as error:
        return (broken(error),)
    none = DeviceFacts(unavailable=f"torch {torch} sees no {device.kind} device here")
    return tuple(of(index) for index in range(count)) or (none,)
