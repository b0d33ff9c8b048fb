"""The reference: sumnet's own training in float64, and how far a dtype may stray from it."""

import pytest
import torch

from bench.matrix.case import Case
from bench.matrix.optimizers import OPTIMIZERS
from bench.matrix.precision import PRECISIONS
from bench.worker.verify.float64_run import LEAST_FALL, STEPS, expect, reference_loss
from sumnet.reference import MAX_ROWS
from tests.cases import sumnet
from tests.loops import TRAINABLE, build_loop, forward

LARGE = 2 * MAX_ROWS


def trained_in_float64(case: Case, lr: float | None = None) -> tuple[float, float]:
    """The loss before, and its ratio after, of the plain loop over the whole batch."""
    loop = build_loop(
        case.own_values["batch"],
        hidden=case.own_values["hidden"],
        optimizer=case.optimizer,
        precision="float64",
        lr=lr,
    )
    before = forward(loop).item()
    for _ in range(STEPS):
        loop.train_step()
    after = forward(loop).item()
    return before, after / before


# What a case's training should do


@pytest.mark.parametrize("batch", [2, 33])
@pytest.mark.parametrize("optimizer", TRAINABLE)
def test_the_reference_is_the_loops_own_training_in_float64(optimizer: str, batch: int) -> None:
    case = sumnet(optimizer=optimizer, batch=batch)
    expected = expect(case)
    assert (expected.loss, expected.ratio) == pytest.approx(trained_in_float64(case), rel=1e-9)


@pytest.mark.parametrize("optimizer", ["adam", "adafactor", "lbfgs"])
def test_the_reference_has_the_rate_that_the_loop_has(optimizer: str) -> None:
    wide = sumnet(optimizer=optimizer, hidden=64)
    assert expect(wide).ratio == pytest.approx(trained_in_float64(wide)[1], rel=1e-9)
    narrow = expect(wide, lr=0.003)
    assert narrow.ratio == pytest.approx(trained_in_float64(wide, lr=0.003)[1], rel=1e-9)
    assert narrow.ratio != expect(wide).ratio


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_whatever_the_dtype_the_reference_is_the_same(dtype: str) -> None:
    exact, expected = (
        expect(sumnet(optimizer="adam")),
        expect(sumnet(optimizer="adam", dtype=dtype)),
    )
    assert (expected.loss, expected.ratio) == (exact.loss, exact.ratio)


def test_a_case_is_expected_to_do_the_same_every_time() -> None:
    case = sumnet(dtype="bfloat16", batch=LARGE)
    before = torch.get_rng_state()
    first = expect(case)
    assert torch.equal(torch.get_rng_state(), before), "the global random state is left alone"
    torch.manual_seed(99)
    assert expect(case) == first


# How far a dtype may stray


@pytest.mark.parametrize("batch", [2, 64])
@pytest.mark.parametrize("optimizer", TRAINABLE)
def test_float32_may_hardly_stray(optimizer: str, batch: int) -> None:
    expected = expect(sumnet(optimizer=optimizer, batch=batch))
    fall = 1 - expected.ratio
    bound = 1e-4 if OPTIMIZERS[optimizer].elementwise else 1e-2
    assert 0 < expected.tolerance < bound * fall
    assert 0 < expected.loss_tolerance < 1e-4


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "rmsprop", "lbfgs"])
def test_a_dtype_may_stray_as_its_roundoff_lets_it(optimizer: str) -> None:
    by_dtype = {dtype: expect(sumnet(optimizer=optimizer, dtype=dtype)) for dtype in PRECISIONS}
    for finer, coarser in (("float64", "float32"), ("float32", "float16"), ("float16", "bfloat16")):
        assert by_dtype[finer].loss_tolerance < by_dtype[coarser].loss_tolerance
    assert by_dtype["float32"].tolerance < by_dtype["float16"].tolerance / 10
    assert by_dtype["float16"].tolerance <= by_dtype["bfloat16"].tolerance
    for amp in ("float16", "bfloat16"):
        assert by_dtype["float32"].tolerance < by_dtype[f"amp-{amp}"].tolerance / 10
    assert by_dtype["float32"].tolerance < by_dtype["tf32"].tolerance / 10


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adadelta", "lbfgs"])
def test_no_dtype_may_stray_so_far_that_a_net_which_learns_nothing_passes(
    dtype: str, optimizer: str
) -> None:
    expected = expect(sumnet(dtype=dtype, optimizer=optimizer))
    assert expected.ratio + expected.tolerance <= 1 - LEAST_FALL * (1 - expected.ratio) + 1e-12


# Samples of a large batch


@pytest.mark.parametrize(
    ("optimizer", "hidden"), [*((name, 10) for name in TRAINABLE), ("sgd", 256), ("adam", 256)]
)
def test_a_sample_of_a_large_batch_stands_for_the_whole(optimizer: str, hidden: int) -> None:
    case = sumnet(optimizer=optimizer, batch=LARGE, hidden=hidden)
    expected = expect(case)
    whole = build_loop(LARGE, optimizer=optimizer, hidden=hidden, precision="float64")
    loss = forward(whole).item()
    for _ in range(STEPS):
        whole.train_step()
    ratio = reference_loss(case, whole.model) / expected.loss
    assert abs(loss / expected.loss - 1) <= expected.loss_tolerance
    assert abs(ratio - expected.ratio) <= expected.tolerance
    assert loss != expected.loss, "it is a sample"
    assert ratio != expected.ratio


def test_a_case_is_judged_on_the_rows_that_the_reference_is_judged_on() -> None:
    case = sumnet(batch=LARGE)
    untrained = build_loop(LARGE)
    assert reference_loss(case, untrained.model) == pytest.approx(expect(case).loss, rel=1e-6)


@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
def test_a_trained_nets_loss_is_reckoned_in_float64_and_leaves_it_as_it_is(precision: str) -> None:
    loop = build_loop(64, precision=precision)
    weights = [parameter.detach().clone() for parameter in loop.model.parameters()]
    exact = build_loop(64, precision="float64")
    exact.model.load_state_dict(loop.model.state_dict())
    reckoned = reference_loss(sumnet(batch=64, dtype=precision), loop.model)
    assert reckoned == pytest.approx(forward(exact).item(), rel=1e-12)
    for parameter, weight in zip(loop.model.parameters(), weights, strict=True):
        assert parameter.dtype == weight.dtype
        assert torch.equal(parameter, weight)
        assert parameter.grad is None
