"""The tutorial's own training, for people to watch. What is timed is the suite's loop."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from .data import Batch, batch_from_pairs
from .model import SumNet, initial_net

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
LEARNING_RATE = 0.01


class Training:
    """A net, its optimizer and the pairs it learns from."""

    def __init__(
        self,
        pairs: Sequence[Sequence[float]],
        *,
        hidden: int = 10,
        optimizer: str = "sgd",
        lr: float = LEARNING_RATE,
        seed: int = 0,
    ) -> None:
        """Raises KeyError for an optimizer that OPTIMIZERS lacks."""
        self.batch = batch_from_pairs(pairs)
        self.model = initial_net(hidden, seed=seed)
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters(), lr=lr)

    def step(self) -> None:
        """Forward, backward, the optimizer's step, and the clearing of gradients."""
        loss: Any = nn.functional.mse_loss(self.model(self.batch.pairs), self.batch.sums)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def evaluate(model: SumNet, batch: Batch) -> tuple[float, list[float]]:
    """The loss on `batch` and one predicted sum per pair, as Python numbers."""
    with torch.no_grad():
        predictions = model(batch.pairs)
        loss = nn.functional.mse_loss(predictions, batch.sums)
    return loss.item(), predictions.squeeze(1).tolist()
