"""Loops of steps that bring their own: an optimizer, phases, or the whole step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.matrix.case import Case
from bench.matrix.step import OWN, PHASES
from bench.worker.loop import Loop, loop_over
from bench.worker.refusals import CannotBuild
from sumnet.steps import Step
from tests.loops import forward, weights

X, Y = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[3.0], [7.0]])


def net() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(2, 1)


def loss_of(model: torch.nn.Module) -> Callable[[], torch.Tensor]:
    return lambda: torch.nn.functional.mse_loss(model(X), Y)


def loop_of(step: Step, **axes: Any) -> Loop:
    return loop_over(step, Case("mynet", own=(), **axes))


# An optimizer of its own


def test_a_steps_own_optimizer_takes_the_steps_and_its_rate_is_left_alone() -> None:
    model, plain = net(), net()
    own = torch.optim.Adam(model.parameters(), lr=0.5)
    loop = loop_of(Step(model, loss=loss_of(model), optimizer=own), optimizer=OWN)
    assert loop.optimizer is own
    assert tuple(loop.phases) == PHASES
    by_hand = torch.optim.Adam(plain.parameters(), lr=0.5)
    for _ in range(3):
        loop.train_step()
        loss_of(plain)().backward()
        by_hand.step()
        by_hand.zero_grad()
    assert all(map(torch.equal, weights(loop), plain.parameters()))
    assert loop.state == (model, own)


def test_an_own_optimizer_steps_under_autocast_and_a_scaler_too() -> None:
    model = net()
    own = torch.optim.SGD(model.parameters(), lr=0.01)
    step = Step(model, loss=loss_of(model), optimizer=own, state=[X])
    loop = loop_of(step, optimizer=OWN, dtype="amp-float16")
    before = weights(loop)
    loop.train_step()
    assert loop.scaler is not None
    assert loop.state == (model, own, loop.scaler, X)
    assert not torch.equal(before[0], weights(loop)[0])


# The suite's optimizer


def test_frozen_parameters_are_not_given_to_the_optimizer_and_stay() -> None:
    model = torch.nn.Sequential(net(), net())
    model[0].requires_grad_(False)
    model[1] = torch.nn.Linear(1, 1)
    loop = loop_of(Step(model, loss=loss_of(model)), optimizer="adamw")
    before = weights(loop)
    assert loop.optimizer is not None
    (group,) = loop.optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model[1].parameters()]
    loop.train_step()
    after = weights(loop)
    assert all(map(torch.equal, before[:2], after[:2]))
    assert not any(map(torch.equal, before[2:], after[2:]))


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_a_step_scales_the_suites_rates(scale: float) -> None:
    model = net()
    loop = loop_of(Step(model, loss=loss_of(model), lr_scale=scale))
    assert loop.optimizer is not None
    assert loop.optimizer.defaults["lr"] == 0.01 * scale
    given = loop_over(Step(model, loss=loss_of(model), lr_scale=scale), Case("m", own=()), lr=0.3)
    assert given.optimizer is not None and given.optimizer.defaults["lr"] == 0.3


def test_an_optimizer_with_a_closure_calls_the_loss_of_a_users_step() -> None:
    model, calls = net(), []

    def loss() -> torch.Tensor:
        calls.append(1)
        return loss_of(model)()

    loop = loop_of(Step(model, loss=loss), optimizer="lbfgs")
    before = forward(loop).item()
    calls.clear()
    loop.train_step()
    assert calls == [1], "one iteration a step"
    assert forward(loop).item() < before
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_own_optimizer_that_needs_a_closure_is_refused() -> None:
    model = net()
    own = torch.optim.LBFGS(model.parameters())
    with pytest.raises(CannotBuild, match=r"LBFGS .* a closure: .*--optimizer lbfgs"):
        loop_of(Step(model, loss=loss_of(model), optimizer=own), optimizer=OWN)


# Phases and loops of its own


def test_each_phase_is_given_what_the_one_before_returned_if_it_takes_it() -> None:
    told: list[Any] = []

    def load() -> str:
        told.append("load")
        return "a batch"

    def train(batch: str) -> str:
        told.append(batch)
        return "a loss"

    def clip(loss: str, limit: float = 1.0) -> None:
        told.append((loss, limit))

    def update(*, momentum: float = 0.9) -> int:
        told.append("update")
        return 4

    phases = {"load": load, "train": train, "clip": clip, "update": update}
    loop = loop_of(Step(phases=phases), optimizer=OWN)
    assert list(loop.phases) == list(phases)
    expected = ["load", "a batch", ("a loss", 1.0), "update"]
    loop.train_step()
    assert told == expected
    told.clear()
    value = None
    for phase in loop.phases.values():
        value = phase(value)
    assert (told, value) == (expected, 4)
    assert (loop.optimizer, loop.scaler, loop.trained) == (None, None, 0)


def test_a_step_that_is_run_has_no_phases_and_is_called_as_it_is() -> None:
    def run() -> None: ...

    model = net()
    loop = loop_of(Step(run=run, state=[model, X]), optimizer=OWN)
    assert loop.train_step is run
    assert dict(loop.phases) == {}
    assert loop.state == (model, X)


@pytest.mark.parametrize("given", [{"run": lambda: 1 / 0}, {"phases": {"load": lambda: 1 / 0}}])
def test_what_comes_before_steps_is_called_before_the_steps_own(given: dict[str, Any]) -> None:
    called: list[int] = []
    loop_over(Step(**given), Case("m", own=()), before_steps=lambda: called.append(1))
    assert called == [1]
