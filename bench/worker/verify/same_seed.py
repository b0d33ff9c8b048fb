"""Whether the same seed, or the same restored state, gives the same first loss."""

from collections.abc import Callable

import torch

from ...matrix.case import Case
from ..loop import Loop
from .float64_step import PLAIN, Build
from .step_checks import scalar_loss


def other_first_loss(case: Case, build: Build, first: float | None) -> str | None:
    """What the user should know where the same seed does not give the same first loss.

    `first` is the case's own, where it runs as it is written; else two loops are built.
    """
    try:
        losses = [_begun(build(case.but(PLAIN))) for _ in range(1 if first is not None else 2)]
    except torch.OutOfMemoryError:
        return "not checked against a second one, nor against float64: memory has no room for both"
    losses = [*([first] if first is not None else []), *losses]
    if losses[0] == losses[1]:
        return None
    return (
        f"the same seed gives another first loss ({losses[0]!r}, then {losses[1]!r}): it is not "
        "deterministic, so it is not checked against float64, and the sides of a comparison may "
        "not compute the same"
    )


def other_restored_loss(loop: Loop, restore: Callable[[], object]) -> str | None:
    """What the user should know where what `restore` puts back is not all that a step goes by."""
    losses = []
    for _ in range(2):
        restore()
        losses.append(_begun(loop))
    if losses[0] == losses[1]:
        return None
    return (
        f"put back to one state it gives another loss ({losses[0]!r}, then {losses[1]!r}): what it "
        "goes by is not all in its model, its optimizer and state=, and goes on between blocks"
    )


def _begun(loop: Loop) -> float | None:
    if loop.step.loss is None:
        return whole_step(loop)
    return scalar_loss(loop.phases["forward"](None))


def whole_step(loop: Loop) -> float | None:
    """Take one step; the loss, where the loop or one of its phases returns that."""
    if not loop.phases:
        return scalar_loss(loop.train_step())
    returned = [None]
    for phase in loop.phases.values():
        returned.append(phase(returned[-1]))
    return next((loss for loss in map(scalar_loss, returned) if loss is not None), None)
