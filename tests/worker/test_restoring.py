"""Putting back: the same steps of the same training, whatever a step changes."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bench.worker.loop import Loop
from bench.worker.refusals import InvalidCase
from bench.worker.restoring import restorers
from sumnet.steps import Step
from tests.user_steps import UserStep

STEPS = 50


def restoring(loop: Loop) -> Callable[[], None]:
    calls, _ = restorers(loop, "cpu")

    def restore() -> None:
        for call in calls:
            call()

    return restore


def losses(loop: Loop, steps: int) -> list[float]:
    """Of steps that return their loss, or give it."""
    found = []
    for _ in range(steps):
        if loop.step.loss is None:
            found.append(loop.train_step())
        else:
            loss = loop.backward()
            loop.phases["step"](None)
            found.append(loss)
    return [float(loss.detach()) for loss in found]  # type: ignore[attr-defined]


def check_same_again(loop: Loop) -> None:
    """After some steps and after many, the next losses are those of the first time, to the bit."""
    losses(loop, 3)
    restore = restoring(loop)
    first = losses(loop, STEPS)
    restore()
    assert losses(loop, 5) == first[:5]
    restore()
    assert losses(loop, STEPS) == first


def normalised(device: str) -> Step:
    parts = (nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))
    model, x, y = nn.Sequential(*parts), torch.randn(16, 3), torch.randint(2, (16,))
    return Step(model, loss=lambda: cross_entropy(model(x + torch.randn(16, 3)), y))


@pytest.mark.parametrize("optimizer", ["sgd", "sgd-momentum", "adam", "adagrad", "rprop", "lbfgs"])
def test_batchnorm_dropout_and_every_optimizer_are_put_back(optimizer: str) -> None:
    step = UserStep(normalised)
    check_same_again(step.build(step.case(optimizer=optimizer)))


def test_a_grad_scaler_is_put_back() -> None:
    step = UserStep(normalised)
    loop = step.build(step.case(dtype="amp-float16"))
    assert loop.scaler is not None
    losses(loop, 1)
    restore, scale = restoring(loop), loop.scaler.get_scale()
    loop.scaler.update(new_scale=3.0)
    restore()
    assert loop.scaler.get_scale() == scale
    check_same_again(loop)


def test_sparse_gradients_are_put_back() -> None:
    def bags(device: str) -> Step:
        model, items = nn.EmbeddingBag(20, 4, sparse=True), torch.randint(20, (8, 3))
        return Step(model, loss=lambda: model(items).square().mean())

    step = UserStep(bags)
    check_same_again(step.build(step.case(optimizer="sparseadam")))


def scheduled(device: str) -> Step:
    """Two optimizers, a scheduler, an average, a count, and every generator of random numbers."""
    one, other = nn.Linear(3, 3), nn.Linear(3, 1)
    first = torch.optim.Adam(one.parameters(), lr=0.1)
    second = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(first, 0.9)
    average = torch.optim.swa_utils.AveragedModel(one)
    count, own = torch.zeros(()), torch.Generator().manual_seed(1)

    def run() -> torch.Tensor:
        first.zero_grad()
        second.zero_grad()
        chance = random.random() + numpy.random.random() + torch.rand(1) + count
        x = torch.randn(8, 3, generator=own) * chance
        loss = (other(one(x)) + average(x).mean()).tanh().mean()
        loss.backward()
        first.step()
        second.step()
        scheduler.step()
        average.update_parameters(one)
        count.add_(0.01)
        return loss

    return Step(run=run, state=[one, other, first, second, scheduler, average, count, own])


def test_all_that_a_loop_of_its_own_names_is_put_back() -> None:
    step = UserStep(scheduled)
    check_same_again(step.build(step.case()))


def test_gradients_that_add_up_over_steps_are_put_back() -> None:
    def accumulating(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(8, 3)

        def run() -> torch.Tensor:
            loss: torch.Tensor = model(x).square().mean()
            loss.backward()
            assert model.weight.grad is not None
            return model.weight.grad.sum()

        return Step(run=run, state=[model])

    step = UserStep(accumulating)
    check_same_again(step.build(step.case()))


def test_tensors_stay_where_they_are() -> None:
    step = UserStep(scheduled)
    loop = step.build(step.case())
    losses(loop, 3)
    restore = restoring(loop)

    def places() -> list[int]:
        modules = [part for part in loop.state if isinstance(part, nn.Module)]
        optimizers = [part for part in loop.state if isinstance(part, torch.optim.Optimizer)]
        held = [t for m in modules for t in (*m.parameters(), *m.buffers())]
        held += [t for o in optimizers for e in o.state.values() for t in e.values()]
        return [tensor.data_ptr() for tensor in held if torch.is_tensor(tensor)]

    before = places()
    losses(loop, 3)
    restore()
    assert places() == before


def test_a_buffer_that_a_step_replaces_is_put_back() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))
            self.register_buffer("seen", torch.zeros(()), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen = self.seen + 1
            return self.weight * x * self.seen

    def counting(device: str) -> Step:
        model, x = Counting(), torch.randn(8, 3)
        return Step(model, loss=lambda: model(x).square().mean())

    step = UserStep(counting)
    check_same_again(step.build(step.case()))


def test_a_step_with_nothing_to_put_back_is_told_so() -> None:
    step = UserStep(lambda device: Step(run=lambda: None))
    _, note = restorers(step.build(step.case()), "cpu")
    assert note is not None and "state=" in note


@pytest.mark.parametrize("part", [object(), [nn.Linear(1, 1)], 3])
def test_state_that_cannot_be_put_back_is_refused_by_its_type(part: Any) -> None:
    step = UserStep(lambda device: Step(run=lambda: None, state=[part]))
    with pytest.raises(InvalidCase, match=type(part).__name__):
        restorers(step.build(step.case()), "cpu")


def test_what_has_a_state_dict_is_put_back_by_it() -> None:
    held = {"count": [1]}
    part = SimpleNamespace(state_dict=lambda: held, load_state_dict=held.update)
    step = UserStep(lambda device: Step(run=lambda: None, state=[part]))
    restore = restoring(step.build(step.case()))
    for _ in range(2):
        held["count"].append(2)
        restore()
        assert held == {"count": [1]}
