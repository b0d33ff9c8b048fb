"""The most memory that training takes, counted by the allocator's own records of a profiler."""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._pytree import tree_leaves

from ...devices.base import Device
from ..loop import Loop
from .trace import read_trace

MEMORY_STEPS = 3
"""The gradients that the first step finds were allocated unseen: later ones free what they see."""


def allocation_peak(loop: Loop, device: Device, restore: Callable[[], None]) -> int:
    """Bytes: the optimizers' state, and the most that steps allocate above what they begin with.

    The same in each process, because it is what tensors ask for: not what the process takes from
    the system, and not what an operator's library allocates for itself. The steps begin with the
    state that `restore` puts back, which is called after them too.
    """
    restore()
    activities = [getattr(ProfilerActivity, name) for name in device.activities]
    with profile(activities=activities, profile_memory=True) as profiler:
        for _ in range(MEMORY_STEPS):
            loop.train_step()
        device.synchronize()
    with tempfile.TemporaryDirectory(prefix="sumnet-trace-") as folder:
        path = Path(folder) / "memory.trace.json"
        profiler.export_chrome_trace(str(path))
        events = read_trace(path)
    changes = [
        int(event.details["Bytes"])
        for event in events
        if event.name == "[memory]" and event.details.get("Device Type") == device.memory_type
    ]
    restore()
    return _optimizer_bytes(loop) + max(itertools.accumulate(changes, initial=0))


def _optimizer_bytes(loop: Loop) -> int:
    """Of the state that the loop's optimizers keep from step to step."""
    optimizers = [part for part in loop.state if isinstance(part, torch.optim.Optimizer)]
    leaves = tree_leaves([list(optimizer.state.values()) for optimizer in optimizers])
    storages = [leaf.untyped_storage() for leaf in leaves if torch.is_tensor(leaf)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
