"""What a case's training should do, from runs in float64 on the CPU.

The exact run says what the loss falls to. Others, whose numbers are rounded and shaken as the
case's dtype rounds them, say how far the case may stray from it. All of them train side by side.
"""

import math
from typing import Any

import torch

from ...matrix import default_step
from ...matrix.case import Case
from ...matrix.optimizers import OPTIMIZERS, learning_rate
from ...matrix.precision import PRECISIONS
from ...protocol.verified import Expected
from ..loop import build_optimizer
from .rounding import FACTOR, ROUNDINGS, SHAKEN, finite_sizes, products_unit, update_unit

REFERENCE: Any = default_step.reference()

STEPS = 20
LEAST_FALL = 0.5
"""A loss that falls by less than this part of the reference's fall is not learnt, whatever the
dtype explains."""

Weights = list[torch.Tensor]
"""In the parameters' order, each with the runs as its first dimension."""


def expect(case: Case, lr: float | None = None) -> Expected:
    """What STEPS steps of training do to the case's loss, and by how much that may differ."""
    scale = default_step.learning_rate_scale(case)
    rate = learning_rate(case.optimizer, scale) if lr is None else lr
    runs = list(range(1 + SHAKEN))
    # Where an update depends on the whole tensor, runs that share one would disturb each other.
    together = [runs] if OPTIMIZERS[case.optimizer].elementwise else [[run] for run in runs]
    trained = [_train(case, rate, group) for group in together]
    losses, ratios = (torch.cat(parts) for parts in zip(*trained, strict=True))
    loss, ratio = float(losses[0]), float(ratios[0])
    unit = max(products_unit(case), update_unit(case))
    walked = math.sqrt(STEPS * ROUNDINGS) * unit * abs(1 - ratio)
    strayed = max(walked, *finite_sizes((ratios[1:] - ratio).tolist()))
    return Expected(
        loss=loss,
        loss_tolerance=FACTOR * max(0.0, *finite_sizes((losses[1:] / loss - 1).tolist())),
        ratio=ratio,
        tolerance=min(FACTOR * strayed, LEAST_FALL * abs(1 - ratio)),
    )


def reference_loss(case: Case, model: torch.nn.Module) -> float:
    """The loss of a trained model, computed in float64 on the reference's rows."""
    return float(REFERENCE.losses(REFERENCE.weights_of(model), _rows(case, [0])))


def _rows(case: Case, runs: list[int]) -> Any:
    """The case's batch for each run."""
    return REFERENCE.rows(**case.own_values, runs=runs)


def _train(case: Case, lr: float, runs: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Each run's loss before training, and its ratio after. Run 0 is exact, the others shaken."""
    stored: torch.dtype = getattr(torch, PRECISIONS[case.dtype].parameters)
    noise = ROUNDINGS * products_unit(case)
    chance = torch.Generator().manual_seed(runs[0])
    shaken = slice(runs.count(0), None)

    def shake(tensor: torch.Tensor) -> None:
        part = tensor[shaken]
        draws = torch.rand(part.shape, generator=chance, dtype=torch.float64)
        part.mul_(1 + noise * (2 * draws - 1))

    def store(tensor: torch.Tensor) -> None:
        tensor[shaken] = tensor[shaken].to(stored).double()

    weights: Weights = REFERENCE.initial_weights(case.own_values["hidden"], len(runs))
    judged, rows = _rows(case, [0] * len(runs)), _rows(case, runs)
    for tensor in (*weights, rows.pairs, rows.sums):
        store(tensor)
    seen = [weight.clone() for weight in weights]
    for weight in seen:
        shake(weight)
    before, before_judged = REFERENCE.losses(seen, rows), REFERENCE.losses(weights, judged)
    for weight in weights:
        weight.requires_grad_()
    optimizer = build_optimizer(case.optimizer, weights, lr=lr)

    def gradients() -> torch.Tensor:
        optimizer.zero_grad()
        loss = REFERENCE.losses(weights, rows).sum()
        loss.backward()
        for weight in weights:
            assert weight.grad is not None
            shake(weight.grad)
            store(weight.grad)
        before: torch.Tensor = loss.detach()
        return before

    for _ in range(STEPS):
        if OPTIMIZERS[case.optimizer].closure:
            optimizer.step(gradients)  # type: ignore[arg-type]
        else:
            gradients()
            optimizer.step()
        with torch.no_grad():
            for tensor in (*weights, *_state_of(optimizer, weights)):
                store(tensor)
    with torch.no_grad():
        return before, REFERENCE.losses(weights, judged) / before_judged


def _state_of(optimizer: torch.optim.Optimizer, weights: Weights) -> list[torch.Tensor]:
    """The optimizer's memory of each weight, which is stored as the weights are."""
    shapes = {weight.shape for weight in weights}
    values = [value for entry in optimizer.state.values() for value in entry.values()]
    return [value for value in values if torch.is_tensor(value) and value.shape in shapes]
