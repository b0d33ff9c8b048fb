"""What any training step must be for its times to mean something, and what its user should know.

A check raises InvalidCase with what is wrong and what to do, or gives notes.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from ...devices import kind_of
from ...matrix.case import Case
from ...matrix.precision import PRECISIONS
from ..loop import Loop
from ..refusals import InvalidCase
from .watch import Inputs, Watch, is_on

BY_MODE = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
"""Modules that do something else in eval mode."""
SHOWN = 3
"""Places or names that a note gives."""

Named = Sequence[tuple[str, torch.Tensor]]


def modules_of(loop: Loop) -> list[nn.Module]:
    return [part for part in loop.state if isinstance(part, nn.Module)]


def parameters_of(loop: Loop) -> list[tuple[str, nn.Parameter]]:
    """Name to parameter, each once; of several modules with the class before the name."""
    modules = modules_of(loop)
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for module in modules:
        before = f"{type(module).__name__}." if len(modules) > 1 else ""
        for name, parameter in module.named_parameters():
            found.setdefault(id(parameter), (f"{before}{name}", parameter))
    return list(found.values())


def tensors_of(loop: Loop) -> list[tuple[str, torch.Tensor]]:
    """The tensors that a step's state names beside its modules."""
    return [
        (f"state[{place}]", part)
        for place, part in enumerate(loop.step.state)
        if isinstance(part, torch.Tensor)
    ]


def check_mode(modules: Iterable[nn.Module]) -> Iterator[str]:
    """Modules have to be in training mode."""
    parts = [part for module in modules for part in module.modules()]
    working = [p for p in parts if isinstance(p, BY_MODE) or list(p.parameters(recurse=False))]
    if working and not any(part.training for part in working):
        raise InvalidCase("the model is in eval mode: call model.train() where the step is built")
    by_mode = [part for part in working if isinstance(part, BY_MODE)]
    if by_mode and not any(part.training for part in by_mode):
        names = sorted({type(part).__name__ for part in by_mode})
        yield f"every {_and(names)} is in eval mode, and neither drops nor updates anything"


def check_placed(case: Case, loop: Loop) -> Iterator[str]:
    """Parameters and buffers have to be on the case's device, and in its dtype."""
    device, stored = torch.device(case.device), PRECISIONS[case.dtype].parameters
    parameters = parameters_of(loop)
    buffers = [named for module in modules_of(loop) for named in module.named_buffers()]
    for what, named in (("parameter", parameters), ("buffer", buffers)):
        for name, tensor in named:
            if not is_on(tensor, device):
                raise InvalidCase(
                    f"the {what} {name} is on {tensor.device}, not on {case.device}: build on the "
                    "device that the function is given"
                )
    floating = [(name, p) for name, p in parameters if p.is_floating_point()]
    others = [(name, p) for name, p in floating if str(p.dtype) != f"torch.{stored}"]
    if others:
        name, parameter = others[0]
        if len(others) == len(floating):
            raise InvalidCase(
                f"parameters are {parameter.dtype}, not torch.{stored}: let the function take "
                "`dtype`, and build in that"
            )
        yield f"{_names(others)} of {len(floating)} parameters in another dtype than {stored}"


def check_loss(loss: object, loop: Loop) -> None:
    """It has to be one number that gradients come from."""
    if not isinstance(loss, torch.Tensor):
        raise InvalidCase(f"loss= returns {type(loss).__name__}: return the loss as a tensor")
    if loss.dim():
        raise InvalidCase(
            f"the loss has the shape {tuple(loss.shape)}: return one number, as its mean() is"
        )
    if not loss.requires_grad:
        inputs = Inputs()
        with torch.compiler.set_stance("force_eager"), inputs.hearing(loop.model):
            loop.phases["forward"](None)
        why = (
            "it is detached, or does not depend on a parameter that requires a gradient"
            if inputs.with_gradients
            else "the model runs under no_grad or inference_mode"
        )
        raise InvalidCase(f"the loss has no gradient: {why}")


def check_finite(loss: float, when: str) -> None:
    if not math.isfinite(loss):
        raise InvalidCase(f"the loss is {loss} {when}")


def check_gradients(loop: Loop) -> Iterator[str]:
    """After a backward pass: gradients finite, not all zero, beside the parameters they are of.

    That is of the model, and what the optimizer updates: a copy that is averaged has none.
    """
    assert loop.optimizer is not None
    groups = [group["params"] for group in loop.optimizer.param_groups]
    trained = {id(p) for group in (loop.model.parameters(), *groups) for p in group}
    parameters = [(name, p) for name, p in parameters_of(loop) if id(p) in trained]
    wanted = [(name, p) for name, p in parameters if p.requires_grad]
    without = [(name, p) for name, p in wanted if p.grad is None]
    if len(without) == len(wanted):
        raise InvalidCase("backward leaves no gradient on any parameter")
    if without:
        yield f"no gradient reaches {_names(without)} of {len(wanted)} parameters"
    nonzero = False
    for name, parameter in wanted:
        if parameter.grad is None:
            continue
        values = _values(parameter.grad)
        if not bool(torch.isfinite(values).all()):
            raise InvalidCase(f"the gradient of {name} is not finite")
        nonzero |= bool(torch.any(values != 0))
    if not nonzero:
        raise InvalidCase("all gradients are zero: the step learns nothing")


def check_changed(before: Sequence[torch.Tensor], now: Named) -> None:
    """A step has to change parameters; of what is not in the step's state nothing is known."""
    if now and all(torch.equal(old, new) for old, (_, new) in zip(before, now, strict=True)):
        raise InvalidCase(
            f"a step changes none of {len(now)} parameters: where gradients are accumulated, let "
            "each step be all backward passes and the update"
        )


def watched(case: Case, watch: Watch, *, has_own_loop: bool) -> Iterator[str]:
    """What was seen of a step's data and waiting."""
    if watch.strangers and not has_own_loop:
        tensor, operator = next(iter(watch.strangers.items()))
        raise InvalidCase(
            f"{operator} reads {tensor}, not on {case.device}: put data on the device where the "
            "step is built"
        )
    for tensor, operator in [*watch.strangers.items()][:SHOWN]:
        yield f"part of the step does not run on {case.device}: {operator} reads {tensor}"
    for tensor, place in [*watch.copies.items()][:SHOWN]:
        yield f"each step copies {tensor} to {case.device}{f' ({place})' if place else ''}"
    waits = kind_of(case.device).asynchronous
    for place, call in [*watch.waits.items()][:SHOWN]:
        yield (
            f"the step waits for the device at {place}: {call}"
            if waits
            else f"on a device with a queue the step would wait for it at {place}: {call}"
        )


def samples_notes(samples: int | None, inputs: Inputs) -> Iterator[str]:
    """Whether `samples` is what the model is given: a first dimension, or a product of the first
    few."""
    if samples is None:
        yield "it does not say how many samples a step trains on (samples=): there is no samples/s"
        return
    sizes = {math.prod(shape[:end]) for shape in inputs.shapes for end in range(1, len(shape) + 1)}
    if inputs.shapes and samples not in sizes:
        yield f"samples={samples}, but the model is given a tensor of shape {inputs.shapes[0]}"


def scalar_loss(value: Any) -> float | None:
    """What a step's own loop returns, where it can be its loss."""
    is_loss = isinstance(value, torch.Tensor) and value.dim() == 0 and value.is_floating_point()
    return float(value.detach()) if is_loss else None


def _values(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _names(named: Sequence[tuple[str, Any]]) -> str:
    """For example `weight and bias` or `a, b, c and 4 more`."""
    names = [name for name, _ in named[:SHOWN]]
    return f"{', '.join(names)} and {len(named) - SHOWN} more" if named[SHOWN:] else _and(names)


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
