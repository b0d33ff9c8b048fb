"""The loop: its gradients and updates against hand-derived ones, and what it converges to."""

import functools
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sumnet.data import TUTORIAL_PAIRS, Batch, random_batch
from sumnet.optimizers import OPTIMIZERS
from sumnet.train import LEARNING_RATE, TrainingLoop, build_loop, evaluate, loop_over

DTYPES = [torch.float64, torch.bfloat16, torch.float16]
COMPILERS = (os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++"),)


def weights(loop: TrainingLoop) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in loop.model.parameters()]


def same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return all(torch.equal(our, their) for our, their in zip(ours, theirs, strict=True))


def train(loop: TrainingLoop, steps: int) -> None:
    for _ in range(steps):
        loop.train_step()


def gradients_by_hand(parameters: list[torch.Tensor], batch: Batch) -> list[torch.Tensor]:
    """dL/dW1, dL/db1, dL/dW2, dL/db2 of L = mean((W2 relu(W1 x + b1) + b2 - y)^2)."""
    w1, b1, w2, b2 = parameters
    x, y = batch
    z = x @ w1.T + b1
    a = torch.where(z > 0, z, 0)
    p = a @ w2.T + b2
    dp = 2 * (p - y) / len(y)
    dz = torch.where(z > 0, dp @ w2, 0)
    return [dz.T @ x, dz.sum(0), dp.T @ a, dp.sum(0)]


@pytest.fixture
def broadcasting_loop() -> TrainingLoop:
    """The tutorial's first defect: sums of shape (1, 2) beside outputs of shape (2, 1)."""
    loop = build_loop()
    wrong = Batch(loop.batch.pairs, loop.batch.sums.view(1, 2))
    return loop_over(loop.model, loop.optimizer, wrong)


# Gradients and updates


@pytest.mark.parametrize("size", [1, 2, 50])
def test_gradients_agree_with_those_derived_by_hand(size: int) -> None:
    loop = build_loop(size, dtype=torch.float64, seed=1)
    expected = gradients_by_hand(weights(loop), loop.batch)
    loop.backward(loop.forward())
    actual = [parameter.grad for parameter in loop.model.parameters()]
    assert all(gradient.any() for gradient in expected), "zeros would agree with anything"
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_sgd_steps_move_each_weight_by_the_learning_rate_times_its_gradient() -> None:
    loop = build_loop(4, optimizer="sgd", lr=0.05, dtype=torch.float64)
    for _ in range(3):
        before = weights(loop)
        gradients = gradients_by_hand(before, loop.batch)
        expected = [w - 0.05 * g for w, g in zip(before, gradients, strict=True)]
        loop.train_step()
        torch.testing.assert_close(weights(loop), expected, rtol=1e-12, atol=1e-12)


def test_adams_first_step_follows_its_formula() -> None:
    loop = build_loop(4, optimizer="adam", lr=0.05, dtype=torch.float64)
    before = weights(loop)
    gradients = gradients_by_hand(before, loop.batch)
    expected = [w - 0.05 * g / (g.abs() + 1e-8) for w, g in zip(before, gradients, strict=True)]
    loop.train_step()
    torch.testing.assert_close(weights(loop), expected, rtol=1e-12, atol=1e-12)


def test_forward_gives_the_mean_squared_error_as_a_scalar() -> None:
    loop = build_loop(5, dtype=torch.float64)
    loss = loop.forward()
    errors = loop.model(loop.batch.pairs) - loop.batch.sums
    assert loss.shape == ()
    torch.testing.assert_close(loss, (errors * errors).sum() / 5, rtol=1e-12, atol=0)


# The phases


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_train_step_equals_forward_backward_and_step_bit_for_bit(optimizer: str) -> None:
    whole, phased = build_loop(3, optimizer=optimizer), build_loop(3, optimizer=optimizer)
    start = weights(whole)
    for _ in range(5):
        whole.train_step()
        loss = phased.forward()
        phased.backward(loss)
        phased.step()
    assert same(weights(whole), weights(phased))
    assert not same(weights(whole), start)


def test_only_the_step_phase_changes_the_weights() -> None:
    loop = build_loop()
    start = weights(loop)
    loop.backward(loop.forward())
    assert same(weights(loop), start)
    loop.step()
    assert not same(weights(loop), start)


def test_step_leaves_no_gradients_behind() -> None:
    loop = build_loop()
    loop.backward(loop.forward())
    assert all(parameter.grad is not None for parameter in loop.model.parameters())
    loop.step()
    assert all(parameter.grad is None for parameter in loop.model.parameters())


# How a loop is built


def test_defaults_are_the_tutorials() -> None:
    loop = build_loop()
    assert loop.batch.pairs.tolist() == [list(pair) for pair in TUTORIAL_PAIRS]
    assert type(loop.optimizer) is torch.optim.SGD
    assert loop.optimizer.defaults["lr"] == LEARNING_RATE == 0.01
    assert sum(parameter.numel() for parameter in loop.model.parameters()) == 41


def test_loop_takes_pairs_or_a_number_of_random_pairs() -> None:
    assert build_loop([(5, 6)]).batch.sums.tolist() == [[11]]
    assert torch.equal(build_loop(7, seed=2).batch.pairs, random_batch(7, seed=2).pairs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_starts_from_the_same_weights(dtype: torch.dtype) -> None:
    reference, other = weights(build_loop(seed=6)), weights(build_loop(seed=6, dtype=dtype))
    assert all(weight.dtype == dtype for weight in other)
    assert same([weight.to(dtype) for weight in reference], other)


def test_weights_depend_on_the_seed_alone() -> None:
    reference = weights(build_loop(seed=0))
    torch.rand(3)
    assert same(weights(build_loop(9, optimizer="adam", seed=0)), reference)
    assert not same(weights(build_loop(seed=1)), reference)


def test_building_a_loop_leaves_torchs_own_generator_alone() -> None:
    before = torch.get_rng_state()
    build_loop(seed=8)
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_optimizer_or_implementation_raises() -> None:
    with pytest.raises(KeyError, match="sdg"):
        build_loop(optimizer="sdg")
    with pytest.raises(ValueError, match="sgd has no quick implementation"):
        build_loop(implementation="quick")


# The tutorial's two defects


def test_sums_in_a_row_broadcast_and_the_net_learns_their_mean(
    broadcasting_loop: TrainingLoop,
) -> None:
    model, right_batch = broadcasting_loop.model, build_loop().batch
    with pytest.warns(UserWarning, match=r"target size \(torch.Size\(\[1, 2\]\)\)"):
        train(broadcasting_loop, 100)
        hundredth = broadcasting_loop.forward().item()
        train(broadcasting_loop, 900)
        last = broadcasting_loop.forward().item()
    # Each output is pulled towards both sums, 3 and 7: at best it is 5, two away from either.
    assert hundredth > 4
    assert last == pytest.approx(4, abs=0.01)
    assert evaluate(model, right_batch)[1] == pytest.approx([5, 5], abs=0.01)


def test_this_loop_neither_broadcasts_nor_learns_the_mean() -> None:
    loop = build_loop(optimizer="sgd", lr=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(loop, 100)
    hundredth, _ = evaluate(loop.model, loop.batch)
    train(loop, 900)
    last, predictions = evaluate(loop.model, loop.batch)
    assert hundredth < 0.1
    assert last < 1e-4
    assert predictions == pytest.approx([3, 7], abs=0.01)


def test_item_fails_on_two_predictions_where_evaluate_gives_one_number_per_pair() -> None:
    loop = build_loop()
    predictions = loop.model(loop.batch.pairs)
    with pytest.raises(RuntimeError, match="2 elements"):
        predictions.item()
    assert evaluate(loop.model, loop.batch)[1] == [row[0] for row in predictions.tolist()]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_evaluate_gives_the_loss_and_one_python_float_per_pair(size: int) -> None:
    loop = build_loop(size)
    loss, predictions = evaluate(loop.model, loop.batch)
    assert loss == pytest.approx(loop.forward().item())
    assert [type(prediction) for prediction in predictions] == [float] * size
    assert all(parameter.grad is None for parameter in loop.model.parameters())


# Compiled


@pytest.mark.skipif(
    not any(compiler and shutil.which(compiler) for compiler in COMPILERS),
    reason="torch.compile needs a C++ compiler: neither $CXX nor the default was found",
)
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")
def test_compiled_loop_agrees_with_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_functions: list[Callable[..., Any]] = []
    compile_ = torch.compile

    @functools.wraps(compile_)
    def recording(function: Callable[..., Any], **options: Any) -> Any:
        compiled_functions.append(function)
        return compile_(function, **options)

    monkeypatch.setattr(torch, "compile", recording)
    eager, compiled = build_loop(3), build_loop(3, compiled=True)
    assert len(compiled_functions) == 2, "the loss and the optimizer's step"
    for _ in range(5):
        torch.testing.assert_close(compiled.forward(), eager.forward())
        eager.train_step()
        compiled.train_step()
    assert not same(weights(eager), weights(build_loop(3)))
    torch.testing.assert_close(weights(compiled), weights(eager))
