"""SumNet's cost model: what its forward and backward pass take, for any batch and width.

Formulas follow what torch 2.13 runs; a test checks them against torch's own counter of FLOP and
against the operands of every operator.
"""

from typing import NamedTuple


class Op(NamedTuple):
    """One operator. `elements` are what it reads and writes, each operand once."""

    flops: float
    elements: float
    products: float = 0.0
    """FLOP of it in matrix products."""


class Parameters(NamedTuple):
    """How many the net has."""

    numbers: int
    in_matrices: int
    """Without biases."""


def parameters(hidden: int) -> Parameters:
    """Of the net."""
    return Parameters(4 * hidden + 1, 3 * hidden)


def operators(batch: int, hidden: int) -> dict[str, list[Op]]:
    """The operators of the forward and the backward pass, each run on its own."""
    b, h = float(batch), float(hidden)
    return {
        "forward": [
            Op(4 * b * h, 2 * b + b * h + 3 * h, 4 * b * h),  # the first layer
            Op(b * h, 2 * b * h),  # ReLU
            Op(2 * b * h, b * h + b + h + 1, 2 * b * h),  # the second layer
            Op(3 * b, 4 * b),  # the loss: squared differences, and their mean
        ],
        "backward": [
            Op(3 * b, 3 * b),  # of the loss
            Op(2 * b * h, b + b * h + h, 2 * b * h),  # of the hidden units
            Op(2 * b * h, b + b * h + h, 2 * b * h),  # of the second layer's weights
            Op(b, b),  # and of its bias
            Op(b * h, 3 * b * h),  # of ReLU
            Op(4 * b * h, 2 * b + b * h + 2 * h, 4 * b * h),  # of the first layer's weights
            Op(b * h, b * h + h),  # and of its biases
        ],
    }


def least_elements(batch: int, hidden: int) -> dict[str, int]:
    """What each pass has to read and write, were it one operator: the batch, the parameters and
    the gradients; what lies between stays in registers."""
    return {
        "forward": 3 * batch + parameters(hidden).numbers + 1,
        "backward": 3 * batch + 2 * parameters(hidden).numbers,
    }


def activations(batch: int, hidden: int) -> int:
    """Numbers that the hidden units of a batch take."""
    return batch * hidden


def peak_elements(batch: int, hidden: int) -> tuple[int, int]:
    """The numbers one step holds at its peak, as stored ones and as computed ones.

    3 values a row of data and 4 copies of the parameters are stored. 3 a hidden unit and row (an
    activation and two gradients) and 4 a row of output, loss and gradients are computed.
    """
    return 3 * batch + 4 * parameters(hidden).numbers, batch * (4 + 3 * hidden)
