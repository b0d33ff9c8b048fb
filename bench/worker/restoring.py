"""Putting back what training changes, so that every block times the same steps."""

import copy
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import torch

from .generators import generator_restorers
from .loop import Loop
from .refusals import InvalidCase

Restore = Callable[[], object]

NOTHING = (
    "nothing of it is put back between blocks, because it names no state=: it is timed as training "
    "goes on"
)


def restorers(loop: Loop, device: str) -> tuple[list[Restore], str | None]:
    """Calls that put back all that training changes, and what the user should know of that.

    In place where it is a tensor, because graphs and neighbours in memory know a tensor by its
    address. Raises InvalidCase for a part of state= that cannot be put back.
    """
    found: list[Restore] = []
    seen: set[int] = set()
    for part in loop.state:
        found += _part(part, seen)
    return [*found, *generator_restorers(device)], None if loop.state else NOTHING


def _part(part: Any, seen: set[int]) -> Iterator[Restore]:
    """Of one part of a loop's state; `seen` are the tensors that are put back already, by id."""
    if isinstance(part, torch.nn.Module):
        yield from _of_module(part, seen)
    elif isinstance(part, torch.optim.Optimizer):
        yield from _of_optimizer(part)
    elif isinstance(part, torch.Tensor):
        yield _in_place(part)
    elif isinstance(part, torch.Generator):
        state = part.get_state()
        yield lambda: part.set_state(state)
    elif hasattr(part, "state_dict") and hasattr(part, "load_state_dict"):
        saved = copy.deepcopy(part.state_dict())
        yield lambda: part.load_state_dict(copy.deepcopy(saved))
    else:
        raise InvalidCase(
            f"state= holds a {type(part).__name__}, which cannot be put back: give modules, "
            "optimizers, tensors, and what has a state_dict and a load_state_dict"
        )


def _of_module(module: torch.nn.Module, seen: set[int]) -> Iterator[Restore]:
    """Parameters, with their gradients, and buffers, those that no state_dict has too."""
    for part in module.modules():
        for owner in (part._parameters, part._buffers):
            for name, tensor in owner.items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield _entry(owner, name)
                    if isinstance(tensor, torch.nn.Parameter):
                        yield _gradient(tensor)


def _of_optimizer(optimizer: torch.optim.Optimizer) -> Iterator[Restore]:
    """What it remembers of each parameter, and the options of its groups, as a scheduler sets."""
    for entry in optimizer.state.values():
        yield from (_entry(entry, name) for name in entry)
    for group in optimizer.param_groups:
        yield from (_entry(group, name) for name in group if name != "params")


def _entry(owner: MutableMapping[str, Any], name: str) -> Restore:
    """One entry of a dictionary: the same tensor, or else an equal value.

    LBFGS replaces what it remembers by new lists and tensors, and a module may replace a buffer.
    """
    value = owner[name]
    if isinstance(value, torch.Tensor):
        fill = _in_place(value)

        def restore() -> None:
            owner[name] = value
            fill()
    else:
        saved = copy.deepcopy(value)

        def restore() -> None:
            owner[name] = copy.deepcopy(saved)

    return restore


def _gradient(parameter: torch.nn.Parameter) -> Restore:
    """A step that adds up gradients begins with those that were left to it."""
    gradient = parameter.grad
    fill = None if gradient is None else _in_place(gradient)

    def restore() -> None:
        parameter.grad = gradient
        if fill is not None:
            fill()

    return restore


def _in_place(tensor: torch.Tensor) -> Restore:
    saved = tensor.detach().clone()
    return lambda: tensor.detach().copy_(saved)
