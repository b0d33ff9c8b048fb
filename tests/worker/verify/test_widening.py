"""Float64 runs: the same random numbers as in another dtype, and all else in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from bench.worker.verify.widening import in_float64

GENERATOR = torch.Generator()


def dropped() -> torch.Tensor:
    return torch.nn.functional.dropout(torch.arange(1, 65) / torch.tensor(64.0), 0.3)


def dropped_as_one() -> torch.Tensor:
    return torch.native_dropout(torch.arange(1, 65) / torch.tensor(64.0), 0.3, True)[0]


DRAWS: dict[str, Callable[[], torch.Tensor]] = {
    "randn": lambda: torch.randn(40),
    "rand": lambda: torch.rand(7, 3),
    "normal": lambda: torch.normal(1.0, 2.0, (40,)),
    "normal of means": lambda: torch.normal(torch.arange(40.0), 2.0),
    "normal_": lambda: torch.empty(40).normal_(),
    "uniform_": lambda: torch.empty(40).uniform_(-1, 1),
    "exponential_": lambda: torch.empty(40).exponential_(),
    "bernoulli": lambda: torch.bernoulli(torch.full((40,), 0.3)),
    "bernoulli_": lambda: torch.empty(40).bernoulli_(0.3),
    "rand_like": lambda: torch.rand_like(torch.empty(40)),
    "multinomial": lambda: torch.multinomial(torch.ones(9), 5),
    "randint": lambda: torch.randint(100, (40,)),
    "randperm": lambda: torch.randperm(40),
    "a generator": lambda: torch.randn(40, generator=GENERATOR.manual_seed(7)),
    "its own dtype": lambda: torch.randn(40, dtype=torch.float32),
    "dropout": dropped,
    "dropout as one": dropped_as_one,
    "a layer": lambda: nn.Linear(5, 6).weight.detach(),
    "an orthogonal one": lambda: nn.init.orthogonal_(torch.empty(6, 6)),
    "a truncated one": lambda: nn.init.trunc_normal_(torch.empty(40)),
}


@pytest.mark.parametrize("draw", DRAWS)
def test_random_numbers_are_those_of_float32(draw: str) -> None:
    torch.manual_seed(3)
    plain, after = DRAWS[draw](), torch.get_rng_state()
    torch.manual_seed(3)
    with in_float64(torch.float32):
        wide = DRAWS[draw]()
        assert torch.equal(torch.get_rng_state(), after)
    assert wide.dtype is (torch.float64 if plain.is_floating_point() else plain.dtype)
    torch.testing.assert_close(wide, plain.to(wide.dtype), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_what_is_asked_for_in_a_low_precision_is_drawn_in_it(stored: torch.dtype) -> None:
    def draw(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(3)
        return torch.randn(40, dtype=dtype), nn.Linear(5, 6).to(dtype).weight.detach()

    data, weight = draw(stored)
    with in_float64(stored):
        wide_data, wide_weight = draw(torch.float64)
    assert torch.equal(wide_data, data.double())
    assert wide_weight.dtype is torch.float64
    assert torch.equal(wide_weight.to(stored), weight)


def test_dropout_does_not_round_what_it_keeps() -> None:
    values = torch.full((64,), 1 / 3, dtype=torch.float64)
    with in_float64(torch.float32):
        kept, mask = torch.native_dropout(values, 0.5, True)
    assert torch.equal(kept, values * mask * 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.tensor([1.0, 2.0]) * 3,
        lambda: torch.ones(2, dtype=torch.float32),
        lambda: torch.arange(2).float(),
        lambda: NARROW @ torch.ones(2, 2),
        lambda: torch.ones(2, 2).bfloat16() @ torch.ones(2),
    ],
)
def test_whatever_is_computed_is_float64(make: Callable[[], torch.Tensor]) -> None:
    with in_float64(torch.float32):
        assert make().dtype is torch.float64


NARROW = torch.ones(2)
"""From before, as data of a file is."""


def test_what_is_no_floating_point_stays() -> None:
    with in_float64(torch.float32):
        assert torch.arange(3).dtype is torch.int64
        assert (torch.arange(3) > 1).dtype is torch.bool


def test_torchs_default_is_put_back_whatever_happens() -> None:
    with pytest.raises(KeyError), in_float64(torch.float32):
        raise KeyError
    assert torch.get_default_dtype() is torch.float32
