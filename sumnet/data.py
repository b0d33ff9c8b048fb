"""What the net learns from: pairs of numbers and their sums."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

TUTORIAL_PAIRS = ((1.0, 2.0), (3.0, 4.0))


class Batch(NamedTuple):
    """Pairs, shape (batch, 2), and their sums, shape (batch, 1).

    The trailing dimension of the sums matters: sums of shape (batch,) would broadcast against
    outputs of shape (batch, 1) to (batch, batch), and the net would learn the mean of all sums.
    """

    pairs: torch.Tensor
    sums: torch.Tensor


def batch_from_pairs(
    pairs: Sequence[Sequence[float]],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """The given pairs with their sums, on `device` in `dtype`."""
    tensor = torch.tensor(pairs, dtype=torch.float64)
    return _on_device(tensor, device, dtype)


def random_batch(
    size: int,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """`size` pairs: the tutorial's two first, then seeded draws from [0, 1), sums beside them.

    The numbers are drawn in float64 on the CPU, so every device and dtype sees the same data up to
    rounding. A batch of size 2 is therefore the tutorial's own.
    """
    pairs = torch.rand(size, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    tutorial = torch.tensor(TUTORIAL_PAIRS, dtype=torch.float64)[:size]
    pairs[: len(tutorial)] = tutorial
    return _on_device(pairs, device, dtype)


def _on_device(pairs: torch.Tensor, device: torch.device | str, dtype: torch.dtype) -> Batch:
    sums = pairs.sum(dim=1, keepdim=True)
    return Batch(pairs.to(device, dtype), sums.to(device, dtype))
