"""The optimizers: what each name builds, and how each takes its first steps."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sumnet.optimizers import IMPLEMENTATIONS, OPTIMIZERS, OptimizerSpec, build_optimizer
from sumnet.train import build_loop

LR = 0.01
ROOT = Path(__file__).parents[2]
EVERY_ONE = [(name, how) for name, spec in OPTIMIZERS.items() for how in spec.implementations]

Update = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor([0.5, -2.0], dtype=torch.float64))


def sgd(momentum: float) -> Update:
    velocity = torch.tensor(0.0, dtype=torch.float64)

    def update(weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        nonlocal velocity
        velocity = momentum * velocity + gradient
        return weight - LR * velocity

    return update


def adam(decay: float) -> Update:
    step = 0
    mean = square = torch.tensor(0.0, dtype=torch.float64)

    def update(weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        nonlocal step, mean, square
        step += 1
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        corrected_mean, corrected_square = mean / (1 - 0.9**step), square / (1 - 0.999**step)
        return weight * (1 - LR * decay) - LR * corrected_mean / (corrected_square.sqrt() + 1e-8)

    return update


BY_HAND: dict[str, Callable[[], Update]] = {
    "sgd": lambda: sgd(momentum=0.0),
    "sgd-momentum": lambda: sgd(momentum=0.9),
    "adam": lambda: adam(decay=0.0),
    "adamw": lambda: adam(decay=0.01),
}


def test_importing_the_package_its_optimizers_or_its_command_does_not_import_torch() -> None:
    script = "import sys, sumnet, sumnet.optimizers, sumnet.__main__; print('torch' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"


@pytest.mark.parametrize(("name", "implementation"), EVERY_ONE)
def test_every_optimizer_lowers_the_loss_in_20_steps(name: str, implementation: str) -> None:
    loop = build_loop(optimizer=name, implementation=implementation, lr=LR)
    before = loop.forward().item()
    for _ in range(20):
        loop.train_step()
    assert loop.forward().item() < 0.9 * before


@pytest.mark.parametrize(("name", "implementation"), EVERY_ONE)
def test_first_three_steps_follow_the_published_rule(name: str, implementation: str) -> None:
    weight = parameter()
    optimizer = build_optimizer(name, [weight], lr=LR, implementation=implementation)
    expected, update = weight.detach().clone(), BY_HAND[name]()
    for numbers in ([3.0, -0.25], [-1.0, 0.5], [0.125, 8.0]):
        weight.grad = torch.tensor(numbers, dtype=torch.float64)
        expected = update(expected, weight.grad.clone())
        optimizer.step()
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=1e-12)


def test_adams_first_step_is_the_learning_rate_against_the_gradients_sign() -> None:
    weight = parameter()
    gradient = torch.tensor([3.0, -0.25], dtype=torch.float64)
    expected = weight.detach() - LR * gradient / (gradient.abs() + 1e-8)
    weight.grad = gradient.clone()
    build_optimizer("adam", [weight], lr=LR).step()
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weight.tolist(), [0.49, -1.99], rtol=1e-7, atol=0)


@pytest.mark.parametrize(("name", "implementation"), EVERY_ONE)
def test_only_the_named_implementation_is_switched_on(name: str, implementation: str) -> None:
    defaults = build_optimizer(name, [parameter()], lr=0.5, implementation=implementation).defaults
    assert defaults["lr"] == 0.5
    switched_on = {how for how in ("foreach", "fused") if defaults[how]}
    assert switched_on == {implementation} - {"default"}


def test_unknown_optimizer_raises_key_error() -> None:
    with pytest.raises(KeyError, match="adamm"):
        build_optimizer("adamm", [parameter()], lr=LR)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_unknown_implementation_raises_value_error_naming_the_known(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has no magic implementation.*foreach"):
        build_optimizer(name, [parameter()], lr=LR, implementation="magic")


def test_implementation_an_optimizer_lacks_raises_value_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(OPTIMIZERS, "plain", OptimizerSpec("SGD", implementations=("default",)))
    assert "fused" in IMPLEMENTATIONS
    with pytest.raises(ValueError, match="plain has no fused implementation"):
        build_optimizer("plain", [parameter()], lr=LR, implementation="fused")


def test_a_new_entry_is_all_a_new_optimizer_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS, "rmsprop", OptimizerSpec("RMSprop", {"alpha": 0.5}))
    loop = build_loop(optimizer="rmsprop", lr=0.25)
    assert type(loop.optimizer) is torch.optim.RMSprop
    assert (loop.optimizer.defaults["alpha"], loop.optimizer.defaults["lr"]) == (0.5, 0.25)
