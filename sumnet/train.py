"""The reference training loop: forward, backward, step.

forward is the model and its loss, backward is `loss.backward()`, step is the optimizer's step and
the clearing of gradients. Nothing in the loop copies a value back to the host.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn

from sumnet.data import Batch, batch_from_pairs, random_batch
from sumnet.model import SumNet
from sumnet.optimizers import LEARNING_RATE, build_optimizer

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class TrainingLoop:
    """One net, its optimizer and its batch, with each phase as a callable of its own."""

    model: SumNet
    optimizer: torch.optim.Optimizer
    batch: Batch
    forward: Callable[[], torch.Tensor]
    backward: Callable[[torch.Tensor], None]
    step: Callable[[], None]

    def train_step(self) -> None:
        """The whole loop body: forward, backward, step."""
        self.backward(self.forward())
        self.step()


def build_loop(
    batch: int | Sequence[Sequence[float]] = 2,
    *,
    hidden: int = 10,
    optimizer: str = "sgd",
    implementation: str = "default",
    lr: float = LEARNING_RATE,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
    seed: int = 0,
) -> TrainingLoop:
    """A loop over `batch`: a number of seeded random pairs, or the pairs themselves.

    The weights are drawn in float32 on the CPU from `seed`, whatever the device and dtype, so that
    every configuration starts from the same net.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SumNet(hidden)
    model.to(device, dtype)
    if isinstance(batch, int):
        data = random_batch(batch, seed=seed, device=device, dtype=dtype)
    else:
        data = batch_from_pairs(batch, device=device, dtype=dtype)
    built = build_optimizer(optimizer, model.parameters(), lr=lr, implementation=implementation)
    return loop_over(model, built, data, compiled=compiled)


def loop_over(
    model: SumNet, optimizer: torch.optim.Optimizer, batch: Batch, *, compiled: bool = False
) -> TrainingLoop:
    """The loop of a model and an optimizer over one batch.

    `compiled` compiles the loss and the optimizer's step each on its own. Compiling the whole body
    would capture only the optimizer, because clearing gradients breaks the graph before it.
    """
    criterion = nn.MSELoss()
    pairs, sums = batch

    def loss(pairs: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = criterion(model(pairs), sums)
        return value

    update: Callable[[], Any] = optimizer.step
    if compiled:
        loss, update = _compile(loss), _compile(update)

    def forward() -> torch.Tensor:
        return loss(pairs, sums)

    def backward(loss: torch.Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def step() -> None:
        update()
        optimizer.zero_grad(set_to_none=True)

    return TrainingLoop(model, optimizer, batch, forward, backward, step)


def _compile(function: Callable[P, R]) -> Callable[P, R]:
    """torch.compile for one fixed shape, sharing no cache with another compiled loop.

    Loops share code objects; without isolation the ninth loop in a process passes the recompile
    limit and runs eager. Before torch 2.13 there is no isolation: one compiled loop per process.
    """
    isolation: dict[str, Any] = {}
    if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
        isolation = {"isolate_recompiles": True}
    compiled: Callable[P, R] = torch.compile(function, dynamic=False, **isolation)
    return compiled


def evaluate(model: SumNet, batch: Batch) -> tuple[float, list[float]]:
    """The loss on `batch` and one predicted sum per pair, as Python numbers."""
    with torch.no_grad():
        predictions = model(batch.pairs)
        loss = nn.functional.mse_loss(predictions, batch.sums)
    return loss.item(), predictions.squeeze(1).tolist()
