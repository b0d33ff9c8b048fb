"""The net: Linear(2, hidden), ReLU, Linear(hidden, 1)."""

import torch
from torch import nn


class SumNet(nn.Sequential):
    """Maps pairs of numbers, shape (batch, 2), to predicted sums, shape (batch, 1).

    It holds 4 * hidden + 1 parameters: 41 at the default hidden size of 10.
    """

    def __init__(self, hidden: int = 10) -> None:
        super().__init__(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, 1))


def initial_net(hidden: int = 10, *, seed: int = 0) -> SumNet:
    """The net before training, in float32 on the CPU; `seed` draws its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SumNet(hidden)
