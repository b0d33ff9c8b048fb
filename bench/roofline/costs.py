"""The cost model of a training step: FLOP and bytes of each operator, for any case.

B pairs, h hidden units, P = 4h + 1 parameters and S numbers of optimizer state. Elements are what
an operator reads and writes, each operand once. Formulas follow what torch 2.13 runs; a test checks
them against torch's own counter of FLOP and against the operands of every operator.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ..matrix.case import Case
from ..matrix.default_step import is_known
from ..matrix.optimizers import OPTIMIZERS
from ..matrix.precision import PRECISIONS
from ..matrix.step import PHASES
from ..matrix.support import ITEM_BYTES


class Op(NamedTuple):
    """One operator."""

    flops: float
    bytes: float
    products: float = 0.0
    """FLOP of it in matrix products."""


class StepCost(NamedTuple):
    """What an optimizer's step does for one parameter, by operators of its own."""

    flops: float
    elements: float
    state_flops: float = 0.0
    """The same for each number of its state, where the work grows with that."""
    state_elements: float = 0.0
    products: float = 0.0
    """FLOP in matrix products, for one weight of a layer."""


STEP_COSTS: dict[str, StepCost] = {
    "sgd": StepCost(2, 3),
    "sgd-momentum": StepCost(4, 8),
    "adam": StepCost(13, 18),
    "adamw": StepCost(14, 20),
    "adagrad": StepCost(8, 11),
    "adadelta": StepCost(16, 27),
    "adamax": StepCost(10, 16),
    "nadam": StepCost(16, 22),
    # Its for-loop moves 28, its foreach 22: within a fifth of both, and little above the lesser.
    "radam": StepCost(17, 24),
    "rmsprop": StepCost(9, 13),
    "rprop": StepCost(9, 34),
    "asgd": StepCost(3, 7),
    "adafactor": StepCost(16, 22, products=2),  # a column by a row
    # Twice through its history, two vectors an entry: a product of vectors, and a sum.
    "lbfgs": StepCost(2, 14, state_flops=4, state_elements=5),
}
"""Counted from torch's for-loop implementations: an operator that adds or multiplies is one FLOP a
number; lerp, addcmul and addcdiv are three."""
ELEMENTS_OF_AN_OP = 3
"""Most operators of a step read two numbers and write one."""


def is_modelled(case: Case) -> bool:
    """Whether these formulas are of the case's step: of any other, operators are counted."""
    return is_known(case)


def eager(case: Case, state_elements: int) -> dict[str, list[Op]]:
    """Phase to its operators, each run on its own."""
    b, h = (float(case.own_values[name]) for name in ("batch", "hidden"))
    item, stored = _item_bytes(case)

    def op(flops: float, elements: float, *, products: float = 0.0) -> Op:
        return Op(flops, elements * item, products)

    forward = [
        op(4 * b * h, 2 * b + b * h + 3 * h, products=4 * b * h),  # the first layer
        op(b * h, 2 * b * h),  # ReLU
        op(2 * b * h, b * h + b + h + 1, products=2 * b * h),  # the second layer
        op(3 * b, 4 * b),  # the loss: squared differences, and their mean
    ]
    backward = [
        op(3 * b, 3 * b),  # of the loss
        op(2 * b * h, b + b * h + h, products=2 * b * h),  # of the hidden units
        op(2 * b * h, b + b * h + h, products=2 * b * h),  # of the second layer's weights
        op(b, b),  # and of its bias
        op(b * h, 3 * b * h),  # of ReLU
        op(4 * b * h, 2 * b + b * h + 2 * h, products=4 * b * h),  # of the first layer's weights
        op(b * h, b * h + h),  # and of its biases
    ]
    cost, parameters = STEP_COSTS[case.optimizer], 4 * h + 1
    elements = cost.elements * parameters + cost.state_elements * state_elements
    flops = cost.flops * parameters + cost.state_flops * state_elements
    count = max(round(elements / (ELEMENTS_OF_AN_OP * parameters)), 1)
    products = cost.products * 3 * h
    step = [Op(flops / count, elements * stored / count, products / count)] * count
    return dict(zip(PHASES, (forward, backward, step), strict=True))


def fused(case: Case, state_elements: int) -> dict[str, list[Op]]:
    """Phase to the one operator with the least traffic.

    It reads the batch and the parameters and writes gradients; what lies between stays in
    registers. An optimizer reads and writes its state, but for LBFGS, which adds to its history.
    """
    item, stored = _item_bytes(case)
    batch, hidden = (int(case.own_values[name]) for name in ("batch", "hidden"))
    parameters = 4 * hidden + 1
    state = state_elements * (1 if OPTIMIZERS[case.optimizer].closure else 2)
    elements = {
        "forward": (3 * batch + parameters + 1) * item,
        "backward": (3 * batch + 2 * parameters) * item,
        "step": (3 * parameters + state) * stored,
    }
    return {
        phase: [Op(total(ops).flops, float(elements[phase]), total(ops).products)]
        for phase, ops in eager(case, state_elements).items()
    }


def as_run(case: Case, path: str, state_elements: int) -> dict[str, list[Op]]:
    """Phase to its operators as this case runs them: one where the phase is fused.

    `path` is the optimizer's implementation that was seen to run.
    """
    loss, step = case.compilation.loss, case.compilation.step or "fused" in path
    is_fused = dict(zip(PHASES, (loss, loss, step), strict=True))
    separate, together = eager(case, state_elements), fused(case, state_elements)
    return {phase: together[phase] if is_fused[phase] else separate[phase] for phase in PHASES}


def total(ops: Sequence[Op]) -> Op:
    """All of them together."""
    flops, moved, products = (sum(column) for column in zip(*ops, strict=True))
    return Op(flops, moved, products)


def _item_bytes(case: Case) -> tuple[int, int]:
    """Of a number in the forward and backward pass, and of a stored one."""
    precision = PRECISIONS[case.dtype]
    return ITEM_BYTES[precision.products], ITEM_BYTES[precision.parameters]
