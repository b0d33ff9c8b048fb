"""A case is verified before it is timed: it trains, where and in what it says it does."""

import math
from typing import NamedTuple

from torch._dynamo.utils import counters

from bench.matrix.case import Case
from sumnet.train import TrainingLoop, evaluate

STEPS = 20
FALLEN = 0.9
"""Twenty steps at the default learning rate bring every case well below nine tenths of its loss:
the slowest of the eager float32 cases, over ten seeds each, reached 0.75."""


class InvalidCase(Exception):
    """The case runs but is not what it says it is, or does not learn."""


class Verification(NamedTuple):
    """What a verified case showed."""

    loss_ratio: float
    """The loss after STEPS steps over the loss before them."""
    graphs: int
    """Graphs torch.compile captured."""


def verify(case: Case, loop: TrainingLoop) -> Verification:
    """Train STEPS steps. Raises InvalidCase where the loss does not fall as it should.

    Also checks that parameters, gradients and data sit on the case's device in its dtype, and that
    of a compiled case the loss and the optimizer's step were each captured.
    """
    before, _ = evaluate(loop.model, loop.batch)
    graphs = [_captured_graphs()]
    loss = loop.forward()
    loop.backward(loss)
    graphs.append(_captured_graphs())
    _check_tensors(case, loop)
    seen = loss.item()
    loop.step()
    graphs.append(_captured_graphs())
    if case.compile == "on":
        for what, captured in (("loss", graphs[1] - graphs[0]), ("step", graphs[2] - graphs[1])):
            if captured == 0:
                raise InvalidCase(f"torch.compile captured nothing of the {what}")
    for _ in range(STEPS - 1):
        loop.train_step()
    after, _ = evaluate(loop.model, loop.batch)
    if not math.isfinite(after):
        raise InvalidCase(f"the loss is {after} after {STEPS} steps")
    if not math.isfinite(seen):
        raise InvalidCase(f"the forward pass gives a loss of {seen}")
    if after > FALLEN * before:
        raise InvalidCase(
            f"the loss does not fall: {before:.4g} before, {after:.4g} after {STEPS} steps"
        )
    return Verification(after / before, graphs[2] - graphs[0])


def _captured_graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def _check_tensors(case: Case, loop: TrainingLoop) -> None:
    for name, parameter in loop.model.named_parameters():
        if parameter.grad is None:
            raise InvalidCase(f"backward left no gradient on {name}")
    tensors = {
        "the pairs": loop.batch.pairs,
        "the sums": loop.batch.sums,
        **dict(loop.model.named_parameters()),
        **{f"the gradient of {name}": p.grad for name, p in loop.model.named_parameters()},
    }
    kind, _, index = case.device.partition(":")
    for what, tensor in tensors.items():
        assert tensor is not None
        if tensor.device.type != kind or (index and tensor.device.index != int(index)):
            raise InvalidCase(f"{what} sits on {tensor.device}, not on {case.device}")
        if str(tensor.dtype) != f"torch.{case.dtype}":
            raise InvalidCase(f"{what} is {tensor.dtype}, not torch.{case.dtype}")
