"""The optimizers: what torch has of them, what each name builds, and how each takes its steps."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.devices import DEVICES
from bench.matrix.optimizers import (
    IMPLEMENTATIONS,
    OPTIMIZERS,
    OptimizerSpec,
    learning_rate,
)
from bench.worker.loop import build_optimizer
from sumnet.training import WIDTH, lr_scale
from tests.loops import build_loop, forward

LR = 0.01
ROOT = Path(__file__).parents[3]
TRAINED = {n: spec for n, spec in OPTIMIZERS.items() if spec.dense and not spec.matrices}


def implementations(spec: OptimizerSpec, kind: str) -> list[str]:
    """Those that the optimizer has on a kind of device, not compiled."""
    foreach = ["for-loop", "foreach"] if spec.foreach else []
    fused = ["fused"] if spec.torch_class in DEVICES[kind].fused else []
    capturable = ["capturable"] if spec.capturable and kind == "cuda" else []
    return ["default", *foreach, *fused, *capturable]


def every_one(kind: str) -> list[tuple[str, str]]:
    return [(name, how) for name, spec in TRAINED.items() for how in implementations(spec, kind)]


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


def three_steps(name: str, implementation: str, neighbour: float = 8.0) -> list[float]:
    """Where three steps take two weights; `neighbour` is the second's last gradient."""
    weight = parameter()
    optimizer = build_optimizer(name, [weight], lr=LR, implementation=implementation)
    for numbers in ([3.0, -0.25], [-1.0, 0.5], [0.125, neighbour]):
        gradient = torch.tensor(numbers, dtype=torch.float64)

        def closure(gradient: torch.Tensor = gradient) -> float:
            weight.grad = gradient.clone()
            return float(weight.detach() @ gradient)

        closure()
        optimizer.step(closure if OPTIMIZERS[name].closure else None)
    moved: list[float] = weight.tolist()
    return moved


def falls(name: str, implementation: str, device: str = "cpu", hidden: int = WIDTH) -> float:
    """What part of the loss 20 steps leave."""
    loop = build_loop(optimizer=name, implementation=implementation, device=device, hidden=hidden)
    before = forward(loop).item()
    for _ in range(20):
        loop.train_step()
    return forward(loop).item() / before


# What torch has


def test_every_optimizer_of_torch_has_an_entry_and_no_entry_names_another() -> None:
    exported = [value for value in vars(torch.optim).values() if inspect.isclass(value)]
    optimizers = {kind.__name__ for kind in exported if issubclass(kind, torch.optim.Optimizer)}
    assert {spec.torch_class for spec in OPTIMIZERS.values()} == optimizers - {"Optimizer"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_entry_says_what_its_signature_says(name: str) -> None:
    spec = OPTIMIZERS[name]
    parameters = inspect.signature(getattr(torch.optim, spec.torch_class)).parameters
    assert ("foreach" in parameters) == spec.foreach
    fused = any(spec.torch_class in device.fused for device in DEVICES.values())
    assert ("fused" in parameters) == fused
    assert ("capturable" in parameters) == spec.capturable
    assert {*spec.options, "lr"} <= {*parameters}


@pytest.mark.parametrize(
    ("name", "words"),
    [("muon", "Muon only supports 2D parameters"), ("sparseadam", "not support dense gradients")],
)
def test_an_optimizer_for_other_parameters_does_raise_for_this_net(name: str, words: str) -> None:
    assert name not in TRAINED
    with pytest.raises((ValueError, RuntimeError), match=words):
        build_loop(optimizer=name).train_step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_takes_sparse_gradients_where_its_entry_says_so(name: str) -> None:
    spec = OPTIMIZERS[name]
    if spec.closure:
        return  # it gathers gradients into one dense vector
    bag = torch.nn.EmbeddingBag(4, 3, sparse=True)
    optimizer = build_optimizer(name, bag.parameters(), lr=LR)
    bag(torch.tensor([[0, 1]])).sum().backward()
    if spec.sparse:
        optimizer.step()
    else:
        with pytest.raises(RuntimeError):
            optimizer.step()


@pytest.mark.parametrize("name", TRAINED)
def test_an_update_depends_on_a_weights_own_gradients_alone_where_the_entry_says_so(
    name: str,
) -> None:
    (alone, _), (beside, _) = three_steps(name, "default"), three_steps(name, "default", 40.0)
    assert (alone == beside) == OPTIMIZERS[name].elementwise


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_step_is_one_forward_pass(name: str) -> None:
    loop = build_loop(optimizer=name)
    passes: list[object] = []
    loop.model.register_forward_hook(lambda *_: passes.append(None))
    for steps in range(1, 30):
        loop.train_step()
        assert len(passes) == steps


# How they train


def test_importing_the_package_its_step_or_its_command_does_not_import_torch() -> None:
    modules = "sumnet, sumnet.steps, sumnet.training, sumnet.costs, sumnet.__main__"
    script = f"import sys, {modules}; print('torch' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"


@pytest.mark.parametrize(("name", "implementation"), every_one("cpu"))
def test_every_optimizer_lowers_the_loss_in_20_steps(name: str, implementation: str) -> None:
    assert falls(name, implementation) < 0.9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
@pytest.mark.parametrize(("name", "implementation"), every_one("cuda"))
def test_every_optimizer_lowers_the_loss_on_cuda(name: str, implementation: str) -> None:
    assert falls(name, implementation, "cuda") < 0.9


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no mps device")
@pytest.mark.parametrize(("name", "implementation"), every_one("mps"))
def test_every_optimizer_lowers_the_loss_on_mps(name: str, implementation: str) -> None:
    assert falls(name, implementation, "mps") < 0.9


@pytest.mark.parametrize("hidden", [1, 1000])
@pytest.mark.parametrize("name", TRAINED)
def test_the_rate_suits_nets_of_every_width(name: str, hidden: int) -> None:
    assert falls(name, "default", hidden=hidden) < 0.95


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rate_falls_with_the_width_where_updates_are_sized_by_neither_weights_nor_curvature(
    name: str,
) -> None:
    at_most_usual = {learning_rate(name, lr_scale(hidden)) for hidden in (1, 2, WIDTH)}
    assert at_most_usual == {OPTIMIZERS[name].lr}
    wide = 1.0 if name in ("adafactor", "lbfgs") else 0.01
    assert learning_rate(name, lr_scale(100 * WIDTH)) == pytest.approx(wide * OPTIMIZERS[name].lr)


@pytest.mark.parametrize(
    ("name", "implementation"), [pair for pair in every_one("cpu") if pair[0] in BY_HAND]
)
def test_first_three_steps_follow_the_published_rule(name: str, implementation: str) -> None:
    weight = parameter()
    optimizer = build_optimizer(name, [weight], lr=LR, implementation=implementation)
    expected, update = weight.detach().clone(), BY_HAND[name]()
    for numbers in ([3.0, -0.25], [-1.0, 0.5], [0.125, 8.0]):
        weight.grad = torch.tensor(numbers, dtype=torch.float64)
        expected = update(expected, weight.grad.clone())
        optimizer.step()
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "implementation"), every_one("cpu"))
def test_every_implementation_takes_the_same_steps(name: str, implementation: str) -> None:
    moved = three_steps(name, implementation)
    assert moved != parameter().tolist()
    assert moved == pytest.approx(three_steps(name, "default"), rel=1e-6)


def test_adams_first_step_is_the_learning_rate_against_the_gradients_sign() -> None:
    weight = parameter()
    gradient = torch.tensor([3.0, -0.25], dtype=torch.float64)
    expected = weight.detach() - LR * gradient / (gradient.abs() + 1e-8)
    weight.grad = gradient.clone()
    build_optimizer("adam", [weight], lr=LR).step()
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weight.tolist(), [0.49, -1.99], rtol=1e-7, atol=0)


# What a name builds


@pytest.mark.parametrize(("name", "implementation"), every_one("cpu"))
def test_an_optimizer_is_built_with_its_implementation_and_options(
    name: str, implementation: str
) -> None:
    defaults = build_optimizer(name, [parameter()], lr=0.5, implementation=implementation).defaults
    asked = {"lr": 0.5, **OPTIMIZERS[name].options, **IMPLEMENTATIONS[implementation]}
    assert {option: defaults[option] for option in asked} == asked
    switched_on = {how for how in ("foreach", "fused", "capturable") if defaults.get(how)}
    assert switched_on == {implementation} - {"default", "for-loop"}


def test_unknown_optimizer_raises_key_error() -> None:
    with pytest.raises(KeyError, match="adamm"):
        build_optimizer("adamm", [parameter()], lr=LR)


def test_unknown_implementation_raises_key_error() -> None:
    with pytest.raises(KeyError, match="magic"):
        build_optimizer("adam", [parameter()], lr=LR, implementation="magic")


@pytest.mark.parametrize(
    ("name", "implementation"),
    [("rprop", "fused"), ("lbfgs", "foreach"), ("sgd", "capturable"), ("lbfgs", "for-loop")],
)
def test_implementation_an_optimizer_lacks_raises_what_torch_raises(
    name: str, implementation: str
) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        build_optimizer(name, [parameter()], lr=LR, implementation=implementation)


def test_capturable_steps_are_refused_by_torch_on_the_cpu() -> None:
    with pytest.raises(AssertionError, match="capturable=True"):
        build_loop(optimizer="adam", implementation="capturable").train_step()


def test_a_new_entry_is_all_a_new_optimizer_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS, "sharp", OptimizerSpec("RMSprop", {"alpha": 0.5}, lr=0.25))
    loop = build_loop(optimizer="sharp")
    assert type(loop.optimizer) is torch.optim.RMSprop
    assert (loop.optimizer.defaults["alpha"], loop.optimizer.defaults["lr"]) == (0.5, 0.25)
