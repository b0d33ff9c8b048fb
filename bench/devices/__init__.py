"""Where cases run. To add a device kind, write its file and add its line to DEVICES."""

import inspect
import os
import shutil
import sys

import psutil

from bench.devices.base import Device
from bench.devices.cpu import Cpu
from bench.errors import UsageError
from bench.matrix.support import Facts

DEVICES: dict[str, Device] = {"cpu": Cpu()}


def torch_missing() -> UsageError:
    """The error for an interpreter that has no torch."""
    return UsageError(f"torch is not installed for {sys.executable}: install torch 2.11 or newer")


def probe() -> Facts:
    """What this machine and its torch can run. Imports torch; raises UsageError without one."""
    try:
        import torch
    except ModuleNotFoundError:
        raise torch_missing() from None

    # What torch's inductor calls on a CPU: $CXX, else the platform's own.
    cxx = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    reasons = {kind: device.unavailable_reason() for kind, device in DEVICES.items()}
    for kind, seen in (
        ("cuda", torch.cuda.is_available()),
        ("mps", torch.backends.mps.is_available()),
    ):
        reasons.setdefault(
            kind,
            f"this version has no clock for {kind} devices"
            if seen
            else f"torch {torch.__version__} sees no {kind} device here",
        )
    return Facts(
        torch=str(torch.__version__),
        cores=available_cores(),
        memory_bytes=psutil.virtual_memory().total,
        compiler=cxx if shutil.which(cxx) else None,
        isolates_compiled="isolate_recompiles" in inspect.signature(torch.compile).parameters,
        devices=reasons,
    )


def available_cores() -> int:
    """Cores this process may run on, which a container or `taskset` may have made fewer."""
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):
        return len(process.cpu_affinity())
    return psutil.cpu_count() or 1
