"""SumNet's training step: the tutorial's net, its data, and the loss between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .steps import Axis, Step, training_step

if TYPE_CHECKING:
    import torch

WIDTH = 10
"""The hidden size that learning rates are for."""


def lr_scale(hidden: int) -> float:
    """How the learning rate falls with the width, above WIDTH: wider layers sum more updates into
    one output (Yang and Hu 2021, "Tensor Programs V")."""
    return min(1.0, WIDTH / hidden)


@training_step(
    batch=Axis([2], "pairs per training step", "b", 2**22),
    hidden=Axis([WIDTH], "hidden units", "h", 4096),
)
def sumnet(device: str, dtype: torch.dtype, batch: int, hidden: int) -> Step:
    """A net of 4 * hidden + 1 parameters that learns the sum of two numbers.

    The weights are drawn in float32 on the CPU, whatever the device and dtype, so that every
    configuration starts from the same net.
    """
    from torch.nn import MSELoss

    from .data import random_batch
    from .model import initial_net

    net = initial_net(hidden).to(device, dtype)
    pairs, sums = random_batch(batch, device=device, dtype=dtype)
    criterion = MSELoss()

    def loss() -> torch.Tensor:
        value: torch.Tensor = criterion(net(pairs), sums)
        return value

    return Step(net, loss=loss, samples=batch, lr_scale=lr_scale(hidden))
