"""Numbers as people read them."""

import math

import pytest

from bench.units import factor, memory, rate, share


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (65536, "64 KiB"),
        (1536, "1.5 KiB"),
        (2**28, "256 MiB"),
        (2**30, "1 GiB"),
        (math.nan, "-"),
    ],
)
def test_memory_has_a_binary_prefix(count: float, text: str) -> None:
    assert memory(count) == text


@pytest.mark.parametrize(
    ("part", "text"),
    [(0.0, "0%"), (0.001, "<1%"), (0.0049, "<1%"), (0.006, "1%"), (0.12, "12%"), (1.5, "150%")],
)
def test_share_of_next_to_nothing_is_not_shown_as_nothing(part: float, text: str) -> None:
    assert share(part) == text
    assert share(math.nan) == "-"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.9, "0.9x"), (1.0, "1x"), (4.123, "4.12x"), (99.94, "99.9x"), (1090.4, "1,090x")],
)
def test_factor_has_three_digits_or_all_whole_ones(ratio: float, text: str) -> None:
    assert factor(ratio) == text
    assert factor(math.nan) == "-"


def test_rates_of_accelerators_have_a_prefix_too() -> None:
    assert rate(4.1e14) == "410 T"
