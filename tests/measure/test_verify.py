"""Verification: a case that is not what it says, or does not learn, is never timed."""

import dataclasses
import math

import pytest
import torch

from bench.matrix.case import Case
from bench.matrix.presets import select
from bench.measure.verify import FALLEN, STEPS, InvalidCase, verify
from sumnet.data import Batch
from sumnet.optimizers import OPTIMIZERS
from sumnet.train import TrainingLoop, build_loop, evaluate, loop_over

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


def refusal(case: Case, loop: TrainingLoop) -> str:
    with pytest.raises(InvalidCase) as invalid:
        verify(case, loop)
    return str(invalid.value)


# Cases that stand


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 2, 64])
def test_a_case_that_learns_passes_with_the_share_of_loss_that_is_left(
    optimizer: str, dtype: str, batch: int
) -> None:
    case = Case(dtype=dtype, batch=batch, optimizer=optimizer)
    loop = build_loop(batch, optimizer=optimizer, dtype=DTYPES[dtype])
    before, _ = evaluate(loop.model, loop.batch)
    ratio = verify(case, loop).loss_ratio
    after, _ = evaluate(loop.model, loop.batch)
    assert ratio == after / before
    assert 0 <= ratio < FALLEN


def test_every_eager_case_of_the_quick_preset_passes() -> None:
    for case in select("quick", {}):
        verify(
            case,
            build_loop(
                case.batch,
                optimizer=case.optimizer,
                implementation=case.implementation,
                dtype=DTYPES[case.dtype],
            ),
        )


def test_it_takes_exactly_its_steps_and_leaves_no_gradient() -> None:
    verified, trained = build_loop(optimizer="adam"), build_loop(optimizer="adam")
    verify(Case(optimizer="adam"), verified)
    for _ in range(STEPS):
        trained.train_step()
    for ours, theirs in zip(verified.model.parameters(), trained.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.grad is None


# Cases that do not


def test_a_loss_that_becomes_nan_is_invalid() -> None:
    reason = refusal(Case(), build_loop(lr=1e30))
    assert reason in (f"the loss is {value} after {STEPS} steps" for value in ("nan", "inf"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_forward_that_gives_no_finite_loss_is_invalid_though_its_gradients_are_right(
    value: float,
) -> None:
    loop = build_loop()
    wrong = dataclasses.replace(loop, forward=lambda: loop.forward() + value)
    assert refusal(Case(), wrong) == f"the forward pass gives a loss of {value}"


def test_nan_in_the_data_is_invalid() -> None:
    loop = build_loop()
    loop.batch.pairs[0, 0] = math.nan
    assert refusal(Case(), loop) == f"the loss is nan after {STEPS} steps"


def test_a_loss_that_does_not_fall_is_invalid() -> None:
    reason = refusal(Case(), build_loop(lr=1e-9))
    before, _ = evaluate(build_loop().model, build_loop().batch)
    assert reason.startswith(f"the loss does not fall: {before:.4g} before, ")
    assert reason.endswith(f" after {STEPS} steps")


def test_a_loss_that_rises_is_invalid() -> None:
    loop = build_loop()
    uphill = dataclasses.replace(loop, backward=lambda loss: loop.backward(-0.05 * loss))
    assert "the loss does not fall" in refusal(Case(), uphill)


def test_a_step_that_does_nothing_is_invalid() -> None:
    loop = build_loop()
    idle = dataclasses.replace(loop, step=lambda: None)
    # The gradients add up, and no weight moves.
    assert "the loss does not fall" in refusal(Case(), idle)


def test_a_backward_that_leaves_no_gradient_is_invalid() -> None:
    wrong = dataclasses.replace(build_loop(), backward=lambda loss: None)
    assert refusal(Case(), wrong) == "backward left no gradient on 0.weight"


def test_one_parameter_without_a_gradient_is_invalid_and_named() -> None:
    loop = build_loop()
    loop.model[2].bias.requires_grad_(False)
    assert refusal(Case(), loop) == "backward left no gradient on 2.bias"


@pytest.mark.parametrize("said", DTYPES)
@pytest.mark.parametrize("done", DTYPES)
def test_a_case_in_another_dtype_than_it_says_is_invalid(said: str, done: str) -> None:
    loop = build_loop(dtype=DTYPES[done])
    if said == done:
        verify(Case(dtype=said), loop)
    else:
        assert refusal(Case(dtype=said), loop) == f"the pairs is torch.{done}, not torch.{said}"


def test_sums_in_another_dtype_are_invalid() -> None:
    loop = build_loop()
    mixed = loop_over(loop.model, loop.optimizer, Batch(loop.batch.pairs, loop.batch.sums.double()))
    exact = dataclasses.replace(mixed, forward=loop.forward)
    assert refusal(Case(), exact) == "the sums is torch.float64, not torch.float32"


def test_parameters_in_another_dtype_are_invalid_and_named() -> None:
    """The net computes in float64, and only its data are float32."""
    loop = build_loop()
    loop.model.double()
    loop.model.register_forward_pre_hook(lambda model, inputs: (inputs[0].double(),))
    assert refusal(Case(), loop) == "0.weight is torch.float64, not torch.float32"


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps"])
def test_a_loop_that_stayed_on_the_cpu_is_invalid(device: str) -> None:
    assert refusal(Case(device=device), build_loop()) == f"the pairs sits on cpu, not on {device}"


def test_a_loop_on_another_device_than_the_cpu_is_invalid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.measure.verify.evaluate", lambda model, batch: (1.0, []))
    assert refusal(Case(), build_loop(device="meta")) == "the pairs sits on meta, not on cpu"


def test_data_on_another_device_than_the_net_are_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = build_loop()
    away = Batch(loop.batch.pairs, loop.batch.sums.to("meta"))
    monkeypatch.setattr("bench.measure.verify.evaluate", lambda model, batch: (1.0, []))
    reason = refusal(Case(), dataclasses.replace(loop, batch=away))
    assert reason == "the sums sits on meta, not on cpu"
