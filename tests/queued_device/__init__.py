"""A device for torch that computes asynchronously on the CPU: its library, built and loaded.

torch takes one device of this kind a process, and changes some defaults where it is there. So it is
loaded in processes of its own alone.
"""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from filelock import FileLock

SOURCE = Path(__file__).with_name("queued_device.cpp")
COMPILER = os.environ.get("CXX", "g++")
KIND = "queued"


def refusal() -> str | None:
    """Why the library cannot be built here; None where it can."""
    if sys.platform != "linux":
        return f"the {KIND} device is compiled on Linux alone"
    if shutil.which(COMPILER) is None:
        return f"the {KIND} device needs a C++ compiler: neither $CXX nor g++ is on the PATH"
    return None


def build(folder: Path) -> Path:
    """The library in this folder, compiled where it is not there yet."""
    library, part = folder / "queued_device.so", folder / "queued_device.part"
    home = Path(torch.__file__).parent
    words = [COMPILER, "-std=c++20", "-O1", "-shared", "-fPIC", f"-I{home / 'include'}", SOURCE]
    with FileLock(folder / "lock"):
        if not library.exists():
            libraries = [f"-L{home / 'lib'}", "-ltorch_cpu", "-lc10"]
            subprocess.run([*words, *libraries, "-o", part], check=True)
            part.rename(library)
    return library


def load(library: str, operator_ns: int = 0) -> None:
    """Make torch know the device, in this process from now on.

    Its operators take `operator_ns` each, or longer.
    """
    torch.utils.rename_privateuse1_backend(KIND)
    torch.ops.load_library(library)
    own = torch.ops.queued
    own.set_operator_ns(operator_ns)
    module = SimpleNamespace(  # in the shape of torch.cuda
        is_available=lambda: True,
        device_count=lambda: 1,
        set_device=lambda index: None,
        current_stream=torch.accelerator.current_stream,
        synchronize=torch.accelerator.synchronize,
        Event=functools.partial(torch.Event, KIND),
        memory_allocated=lambda index: own.allocated(),
        max_memory_allocated=lambda index: own.peak(),
        reset_peak_memory_stats=lambda index: own.reset_peak(),
        _is_in_bad_fork=lambda: False,
        manual_seed_all=lambda seed: None,
    )
    torch._register_device_module(KIND, module)
