"""The cost model of the default step: FLOP and bytes of each operator, for any case.

The forward and backward pass are the step's own knowledge, what optimizers do is here. Formulas
follow what torch 2.13 runs; a test checks them against torch's own counter of FLOP and against the
operands of every operator.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ..matrix import default_step
from ..matrix.case import Case
from ..matrix.optimizers import OPTIMIZERS
from ..matrix.precision import PRECISIONS
from ..matrix.step import PHASES
from ..matrix.support import ITEM_BYTES


class Op(NamedTuple):
    """One operator, or several alike."""

    flops: float
    bytes: float
    products: float = 0.0
    """FLOP of it in matrix products."""
    times: int = 1
    """How many alike these are the sums of."""


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


def eager(case: Case, state_elements: int) -> dict[str, list[Op]]:
    """Phase to its operators, each run on its own."""
    item, stored = _item_bytes(case)
    passes = {
        phase: [Op(op.flops, op.elements * item, op.products) for op in ops]
        for phase, ops in default_step.operators(case).items()
    }
    cost, net = STEP_COSTS[case.optimizer], default_step.parameters(case)
    elements = cost.elements * net.numbers + cost.state_elements * state_elements
    flops = cost.flops * net.numbers + cost.state_flops * state_elements
    count = max(round(elements / (ELEMENTS_OF_AN_OP * net.numbers)), 1)
    products = cost.products * net.in_matrices
    step = [Op(flops, elements * stored, products, count)]
    return {**passes, PHASES[-1]: step}


def fused(case: Case, state_elements: int) -> dict[str, list[Op]]:
    """Phase to the one operator with the least traffic.

    An optimizer reads and writes its state, but for LBFGS, which adds to its history.
    """
    item, stored = _item_bytes(case)
    state = state_elements * (1 if OPTIMIZERS[case.optimizer].closure else 2)
    moved = {phase: n * item for phase, n in default_step.least_elements(case).items()}
    moved[PHASES[-1]] = (3 * default_step.parameters(case).numbers + state) * stored
    return {
        phase: [Op(total(ops).flops, float(moved[phase]), total(ops).products)]
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
    flops, moved, products, times = (sum(column) for column in zip(*ops, strict=True))
    return Op(flops, moved, products, int(times))


def _item_bytes(case: Case) -> tuple[int, int]:
    """Of a number in the forward and backward pass, and of a stored one."""
    precision = PRECISIONS[case.dtype]
    return ITEM_BYTES[precision.products], ITEM_BYTES[precision.parameters]
