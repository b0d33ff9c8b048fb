"""A machine whose GPU is its CPU under another name, and breaks: for workers of real commands.

Python runs this at its start where its folder is on PYTHONPATH. FAULT says what goes wrong, and a
file that BROKEN names is there from the moment it has:

- `busy`: another process has the GPU to itself
- `lost`: its error sticks, and no later process can use it
- `sticky`: its error sticks, and a later process finds it well
- `oom`: it runs out of memory
- `coarse`: the clock, the CPU's too, does not tell phases apart
"""

import os
import sys
from dataclasses import replace
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

FAULT, BROKEN = os.environ["FAULT"], Path(os.environ["BROKEN"])
SEARCH = "\nSearch for it in https://docs.nvidia.com/ for more information."
BUSY = f"CUDA error: CUDA-capable device(s) is/are busy or unavailable{SEARCH}"
SICK = f"CUDA error: an illegal memory access was encountered{SEARCH}"
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."
BATCH, CALLS = 64, 40
"""The fault is that of cases of this batch, after so many forward passes on their own."""


def install() -> None:
    """Have the worker see the GPU."""
    import msgspec
    import torch
    from coarse_clock import CoarseCpu  # beside this file

    from bench import devices
    from bench.devices.cpu import Cpu
    from bench.devices.facts import DeviceFacts
    from bench.worker import prepared_case
    from bench.worker.ceilings import prepared_ceiling
    from bench.worker.steps import Steps

    errors: list[str] = []

    def fail_if_sick() -> None:
        if errors:
            raise torch.AcceleratorError(errors[0])

    class Gpu(Cpu):
        kind, asynchronous, pinned = "cuda", True, False

        def facts(self) -> DeviceFacts:
            return DeviceFacts(name="Test GPU", memory_bytes=2**33)

        def enter(self, threads: int) -> list[int]:
            if FAULT == "busy" or (FAULT == "lost" and BROKEN.exists()):
                errors.append(BUSY)
            fail_if_sick()
            return []

        def synchronize(self) -> None:
            fail_if_sick()

    devices.DEVICES["cuda"] = Gpu
    if FAULT == "coarse":
        devices.DEVICES["cpu"] = CoarseCpu
    build_loop, verify = Steps.loop, prepared_case.verify
    restorers = prepared_case.restorers

    def build(steps: Steps, case: Any, **more: Any) -> Any:
        loop = build_loop(steps, on_cpu(case), **more)
        forward, calls = loop.phases["forward"], 0

        def faulty(_: object = None) -> Any:
            nonlocal calls
            calls += 1
            if case.own_values["batch"] == BATCH and calls > CALLS and FAULT != "busy":
                BROKEN.touch()
                if FAULT == "oom":
                    raise torch.OutOfMemoryError(FULL)
                errors.append(SICK)
            fail_if_sick()
            return forward(None)

        if case.device != "cuda":
            return loop
        return replace(loop, phases={**loop.phases, "forward": faulty})

    def on_cpu(what: Any) -> Any:
        return msgspec.structs.replace(what, device="cpu")

    Steps.loop = build  # type: ignore[assignment,method-assign]
    prepared_case.restorers = lambda loop, device: restorers(loop, "cpu")
    prepared_case.verify = lambda case, *rest, **more: verify(on_cpu(case), *rest, **more)
    made = dict(prepared_ceiling.MICROBENCHMARKS)
    for name, make in made.items():
        prepared_ceiling.MICROBENCHMARKS[name] = lambda what, on, make=make: make(on_cpu(what), on)


class Installing(Loader):
    """Loads the worker's server, and installs the GPU when that is there."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        install()


class Finder:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == "bench.worker.server" else None
        if spec is not None and spec.loader is not None:
            spec.loader = Installing(spec.loader)
        return spec


sys.meta_path.insert(0, Finder)
