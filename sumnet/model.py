"""The net: Linear(2, hidden), ReLU, Linear(hidden, 1)."""

from torch import nn


class SumNet(nn.Sequential):
    """Maps pairs of numbers, shape (batch, 2), to predicted sums, shape (batch, 1).

    It holds 4 * hidden + 1 parameters: 41 at the default hidden size of 10.
    """

    def __init__(self, hidden: int = 10) -> None:
        super().__init__(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, 1))
