"""The tutorial's own training."""

import pytest
import torch

from sumnet.data import TUTORIAL_PAIRS, random_batch
from sumnet.train import LEARNING_RATE, OPTIMIZERS, Training, evaluate


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_learns_the_sums(optimizer: str) -> None:
    training = Training(TUTORIAL_PAIRS, optimizer=optimizer)
    before, _ = evaluate(training.model, training.batch)
    for _ in range(20):
        training.step()
    assert evaluate(training.model, training.batch)[0] < before
    assert training.optimizer.defaults["lr"] == LEARNING_RATE


def test_steps_leave_no_gradients_behind() -> None:
    training = Training(TUTORIAL_PAIRS)
    training.step()
    assert all(parameter.grad is None for parameter in training.model.parameters())


def test_weights_depend_on_the_seed_alone() -> None:
    first, again, other = (
        Training(TUTORIAL_PAIRS, seed=seed).model.state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_unknown_optimizer_raises_key_error() -> None:
    with pytest.raises(KeyError, match="adamm"):
        Training(TUTORIAL_PAIRS, optimizer="adamm")


@pytest.mark.parametrize("size", [1, 2, 5])
def test_evaluate_gives_the_loss_and_one_python_float_per_pair(size: int) -> None:
    training = Training(random_batch(size).pairs.tolist())
    loss, predictions = evaluate(training.model, training.batch)
    wrong = [
        p - s for p, s in zip(predictions, training.batch.sums.flatten().tolist(), strict=True)
    ]
    assert loss == pytest.approx(sum(error**2 for error in wrong) / size)
    assert [type(prediction) for prediction in predictions] == [float] * size
    assert all(parameter.grad is None for parameter in training.model.parameters())
