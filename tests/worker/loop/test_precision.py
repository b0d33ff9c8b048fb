"""The precisions: what is stored and computed in which dtype, seen on loops that train in them."""

import pytest
import torch

from bench.matrix.precision import PRECISIONS
from tests.loops import build_loop, forward

EVERY_ONE = pytest.mark.parametrize("name", PRECISIONS)


def test_these_are_the_precisions_plain_float32_first() -> None:
    assert list(PRECISIONS) == [
        "float32",
        "float64",
        "tf32",
        "bfloat16",
        "float16",
        "amp-bfloat16",
        "amp-float16",
    ]


@EVERY_ONE
def test_a_name_says_what_is_stored_and_what_is_multiplied(name: str) -> None:
    precision = PRECISIONS[name]
    mixed = name.startswith("amp-")
    assert precision.products == ("float32" if name == "tf32" else name.removeprefix("amp-"))
    assert precision.parameters == ("float32" if mixed else precision.products)
    assert (precision.float32_products == "tf32") == (name == "tf32")


def test_a_scaler_is_for_gradients_that_float16_could_lose_under_autocast() -> None:
    assert [name for name, precision in PRECISIONS.items() if precision.scaled] == ["amp-float16"]


@EVERY_ONE
def test_parameters_gradients_and_data_are_stored_as_the_entry_says(name: str) -> None:
    loop = build_loop(3, precision=name)
    loop.backward()
    given: list[torch.Tensor] = []
    loop.model.register_forward_pre_hook(lambda _, inputs: given.extend(inputs))
    forward(loop)
    stored = [*loop.model.parameters(), *given]
    stored += [p.grad for p in loop.model.parameters() if p.grad is not None]
    assert len(stored) == 4 + 1 + 4
    assert {str(tensor.dtype) for tensor in stored} == {f"torch.{PRECISIONS[name].parameters}"}


@EVERY_ONE
def test_both_layers_multiply_in_the_dtype_of_the_products(name: str) -> None:
    """Under autocast too, which for a dtype that it lacks would warn and do nothing."""
    loop = build_loop(3, precision=name)
    seen: list[torch.dtype] = []
    for layer in [*loop.model.children()][::2]:
        layer.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    loop.train_step()
    assert seen == [getattr(torch, PRECISIONS[name].products)] * 2


@pytest.mark.parametrize("name", ["amp-bfloat16", "amp-float16"])
def test_under_autocast_the_loss_is_taken_in_float32(name: str) -> None:
    assert forward(build_loop(3, precision=name)).dtype == torch.float32


@EVERY_ONE
def test_a_net_learns_in_every_precision(name: str) -> None:
    loop = build_loop(precision=name)
    before = forward(loop).item()
    for _ in range(20):
        loop.train_step()
    assert forward(loop).item() < 0.01 * before
