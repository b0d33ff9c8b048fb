"""Where cases run. To add a kind: its file, its line in DEVICES, its name in the device axis."""

import inspect
import sys
from collections.abc import Callable

from bench.devices.base import Device
from bench.devices.cpu import Cpu
from bench.devices.cuda import Cuda
from bench.devices.limits import available_cores as available_cores
from bench.devices.limits import thread_limit
from bench.devices.mps import Mps
from bench.errors import UsageError
from bench.matrix.support import Facts

DEVICES: dict[str, Callable[..., Device]] = {"cpu": Cpu, "cuda": Cuda, "mps": Mps}
"""Kind to its device; takes an index where the name has one."""


def device_named(name: str) -> Device:
    """The device called `cpu`, `mps`, `cuda` or `cuda:1`."""
    kind, _, index = name.partition(":")
    return DEVICES[kind](int(index)) if index else DEVICES[kind]()


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
        devices={kind: device().facts() for kind, device in DEVICES.items()},
    )
