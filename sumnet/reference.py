"""SumNet's loss in float64, written by hand: what its training should do is known beforehand.

Several nets are trained side by side, as the first dimension of every tensor.
"""

from typing import NamedTuple

import torch

from .data import random_batch
from .model import initial_net

MAX_ROWS, MIN_ROWS, MAX_UNITS = 2048, 64, 2**16
"""So many rows stand for a larger batch, and fewer where the net is wide."""
TUTORIAL = 2

Weights = list[torch.Tensor]
"""Of SumNet's two layers, in its parameters' order, each with the runs as its first dimension."""


class Rows(NamedTuple):
    """Pairs, shape (runs, rows, 2), sums, shape (runs, rows, 1), and what each row weighs."""

    pairs: torch.Tensor
    sums: torch.Tensor
    weights: torch.Tensor


def initial_weights(hidden: int, runs: int) -> Weights:
    """Those that every run begins with."""
    initial = initial_net(hidden).double()
    return [p.detach().expand(runs, *p.shape).clone() for p in initial.parameters()]


def weights_of(model: torch.nn.Module) -> Weights:
    """A trained net's, as of one run, on the CPU."""
    return [p.detach().cpu().double().unsqueeze(0) for p in model.parameters()]


def rows(batch: int, hidden: int, runs: list[int]) -> Rows:
    """The batch for each run; of a large one a sample, drawn anew for each.

    The tutorial's pairs are in every sample, and weigh what they do in the batch.
    """
    count = min(batch, max(MIN_ROWS, min(MAX_ROWS, MAX_UNITS // hidden)))
    weights = torch.full((count, 1), 1 / batch, dtype=torch.float64)
    if count < batch:
        weights[TUTORIAL:] = (1 - TUTORIAL / batch) / (count - TUTORIAL)
    seeds = runs if count < batch else [0] * len(runs)
    batches = [random_batch(count, seed=seed, dtype=torch.float64) for seed in seeds]
    return Rows(
        torch.stack([drawn.pairs for drawn in batches]),
        torch.stack([drawn.sums for drawn in batches]),
        weights,
    )


def losses(weights: Weights, given: Rows) -> torch.Tensor:
    """The loss of each run, shape (runs,)."""
    first, first_bias, second, second_bias = weights
    hidden = torch.relu(given.pairs @ first.mT + first_bias.unsqueeze(1))
    outputs = hidden @ second.mT + second_bias.unsqueeze(1)
    return (given.weights * (outputs - given.sums) ** 2).sum((1, 2))
