"""Putting back what training changes."""

import copy
from collections.abc import Callable
from typing import Any

import torch

from .loop import Loop


def restorers(loop: Loop) -> list[Callable[[], object]]:
    """Calls that put back all that training changes."""
    found: list[Callable[[], object]] = [
        _in_place(p) for m in loop.state if isinstance(m, torch.nn.Module) for p in m.parameters()
    ]
    if loop.optimizer is not None:
        for entry in loop.optimizer.state.values():
            found += [_entry(entry, key) for key in entry]
    if loop.scaler is not None:
        scaler, state = loop.scaler, loop.scaler.state_dict()
        found.append(lambda: scaler.load_state_dict(state))
    return found


def _in_place(tensor: torch.Tensor) -> Callable[[], object]:
    """In place, because graphs and neighbours in memory know the tensor by its address."""
    saved = tensor.detach().clone()
    return lambda: tensor.copy_(saved)


def _entry(entry: dict[str, Any], key: str) -> Callable[[], object]:
    """One entry of an optimizer's state, which LBFGS replaces by new lists and tensors."""
    value = entry[key]
    saved = copy.deepcopy(value)

    def restore() -> None:
        if torch.is_tensor(value) and entry[key] is value:
            value.copy_(saved)
        else:
            entry[key] = copy.deepcopy(saved)

    return restore
