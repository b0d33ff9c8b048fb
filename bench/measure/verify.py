"""A case is verified before it is timed: it trains, where and in what it says it does."""

import math

from bench.matrix.case import Case
from sumnet.train import TrainingLoop, evaluate

STEPS = 20
FALLEN = 0.9
"""Twenty steps at the default learning rate bring every case well below nine tenths of its loss:
the slowest of the eager float32 cases, over ten seeds each, reached 0.75."""


class InvalidCase(Exception):
    """The case runs but is not what it says it is, or does not learn."""


def verify(case: Case, loop: TrainingLoop) -> float:
    """Train STEPS steps; the loss after over the loss before. Raises InvalidCase.

    Also checks that parameters, gradients and data sit on the case's device in its dtype.
    """
    before, _ = evaluate(loop.model, loop.batch)
    loss = loop.forward()
    loop.backward(loss)
    _check_tensors(case, loop)
    seen = loss.item()
    loop.step()
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
    return after / before


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
