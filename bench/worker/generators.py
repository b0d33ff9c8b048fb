"""The generators of random numbers that a training step may draw from without being given one."""

import random
import sys
from collections.abc import Callable
from typing import Any

import torch


def devices_generator(device: str) -> Any | None:
    """The module with get_rng_state and set_rng_state of a device; None where it has none.

    The CPU's are torch's own.
    """
    kind = device.partition(":")[0]
    module = None if kind == "cpu" else getattr(torch, kind, None)
    return module if hasattr(module, "set_rng_state") else None


def drawn(device: str) -> list[torch.Tensor]:
    """The states of torch's generators: two runs from one seed that drew alike end in the same."""
    module = devices_generator(device)
    return [torch.get_rng_state(), *([module.get_rng_state()] if module else [])]


def generator_restorers(device: str) -> list[Callable[[], object]]:
    """Calls that put back the generators of torch, of Python and, where it is loaded, of numpy."""
    cpu, python = torch.get_rng_state(), random.getstate()
    found: list[Callable[[], object]] = [
        lambda: torch.set_rng_state(cpu),
        lambda: random.setstate(python),
    ]
    if (module := devices_generator(device)) is not None:
        state = module.get_rng_state()
        found.append(lambda: module.set_rng_state(state))
    if (numpy := sys.modules.get("numpy")) is not None:
        numbers = numpy.random.get_state()
        found.append(lambda: numpy.random.set_state(numbers))
    return found
