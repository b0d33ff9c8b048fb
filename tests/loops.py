"""Loops of the default step, as a worker builds them."""

from collections.abc import Callable

import torch

from bench.matrix.optimizers import OPTIMIZERS
from bench.protocol.subject import ROOT
from bench.worker.loop import Loop
from bench.worker.steps import Steps
from tests.cases import sumnet

SUITE = Steps(ROOT, "")
"""The default step."""
TRAINABLE = [name for name, spec in OPTIMIZERS.items() if spec.dense and not spec.matrices]
"""The optimizers that the default step can be trained with."""


def build_loop(
    batch: int = 2,
    *,
    hidden: int = 10,
    optimizer: str = "sgd",
    implementation: str = "default",
    lr: float | None = None,
    device: str = "cpu",
    precision: str = "float32",
    compilation: str = "off",
    before_steps: Callable[[], object] = lambda: None,
) -> Loop:
    """The loop that these values of the axes mean."""
    case = sumnet(
        batch=batch,
        hidden=hidden,
        optimizer=optimizer,
        implementation=implementation,
        device=device,
        dtype=precision,
        compile=compilation,
    )
    return SUITE.loop(case, lr=lr, before_steps=before_steps)


def forward(loop: Loop) -> torch.Tensor:
    """The loss, of one forward pass."""
    loss: torch.Tensor = loop.phases["forward"](None)
    return loss


def update(loop: Loop) -> None:
    """The optimizer's step, of gradients that are there."""
    loop.phases["step"](None)


def weights(loop: Loop) -> list[torch.Tensor]:
    """Copies of the parameters."""
    return [parameter.detach().clone() for parameter in loop.model.parameters()]
