"""The batches: shapes, dtypes, true sums, and the same numbers for the same seed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sumnet.data import TUTORIAL_PAIRS, batch_from_pairs, random_batch

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
finite = st.floats(-1e300, 1e300)


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=20))
def test_batch_holds_the_given_pairs_and_their_true_sums(pairs: list[tuple[float, float]]) -> None:
    batch = batch_from_pairs(pairs, dtype=torch.float64)
    assert batch.pairs.tolist() == [list(pair) for pair in pairs]
    assert batch.sums.tolist() == [[first + second] for first, second in pairs]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_random_batch_has_pairs_beside_a_column_of_sums(size: int, dtype: torch.dtype) -> None:
    batch = random_batch(size, dtype=dtype)
    assert (batch.pairs.shape, batch.sums.shape) == ((size, 2), (size, 1))
    assert (batch.pairs.dtype, batch.sums.dtype) == (dtype, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_given_pairs_take_the_dtype_asked_for(dtype: torch.dtype) -> None:
    batch = batch_from_pairs(TUTORIAL_PAIRS, dtype=dtype)
    assert (batch.pairs.dtype, batch.sums.dtype) == (dtype, dtype)


@pytest.mark.parametrize("seed", [0, 1])
def test_random_batch_of_two_is_the_tutorials(seed: int) -> None:
    batch = random_batch(2, seed=seed)
    assert batch.pairs.tolist() == [[1, 2], [3, 4]]
    assert batch.sums.tolist() == [[3], [7]]


def test_random_batch_of_one_is_the_tutorials_first_pair() -> None:
    batch = random_batch(1)
    assert (batch.pairs.tolist(), batch.sums.tolist()) == ([[1, 2]], [[3]])


@pytest.mark.parametrize("size", [1, 2, 3, 17, 1000])
def test_smaller_batch_is_a_prefix_of_a_larger_one(size: int) -> None:
    small, large = random_batch(size, seed=5), random_batch(1024, seed=5)
    assert torch.equal(small.pairs, large.pairs[:size])
    assert torch.equal(small.sums, large.sums[:size])


def test_drawn_pairs_lie_in_the_unit_square_and_differ() -> None:
    drawn = random_batch(1000, dtype=torch.float64).pairs[2:]
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert len(set(drawn.flatten().tolist())) == drawn.numel()


def test_same_seed_gives_the_same_batch_and_another_seed_another() -> None:
    assert torch.equal(random_batch(9, seed=3).pairs, random_batch(9, seed=3).pairs)
    assert not torch.equal(random_batch(9, seed=3).pairs, random_batch(9, seed=4).pairs)


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_every_dtype_sees_the_same_numbers_rounded_once(dtype: torch.dtype) -> None:
    exact, rounded = random_batch(64, dtype=torch.float64), random_batch(64, dtype=dtype)
    assert torch.equal(rounded.pairs, exact.pairs.to(dtype))
    assert torch.equal(rounded.sums, exact.sums.to(dtype))


def test_drawing_a_batch_leaves_torchs_own_generator_alone() -> None:
    before = torch.get_rng_state()
    random_batch(8, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
