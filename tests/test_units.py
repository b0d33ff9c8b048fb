"""Numbers as people write and read them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.units import (
    Reader,
    check_within_margin,
    duration,
    factor,
    memory,
    number,
    one_of,
    percent,
    rate,
    share,
    share_in,
    some_of,
    whole_number,
)

SHARE = share_in("from 0.1% to 20%", lambda share: 0.001 <= share <= 0.2)


def refusal(read: Reader, value: object) -> str:
    with pytest.raises(UsageError) as caught:
        read("--option", value)
    assert str(caught.value).startswith(f"--option: {value!r} is not {read.allowed}")
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "read"),
    [("3%", 0.03), (" 0.03 ", 0.03), (".5 %", 0.005), (0.1, 0.1), ("1e-2", 0.01), ("1.1%", 0.011)],
)
def test_share_is_a_number_or_text_with_or_without_a_sign(value: object, read: float) -> None:
    assert SHARE("--alpha", value) == read


@given(st.integers(10, 2000))
def test_share_reads_the_same_in_per_cent_and_as_a_number(hundredths: int) -> None:
    per_cent, text = f"{hundredths // 100}.{hundredths % 100:02}%", f"{hundredths / 10_000:.4f}"
    assert SHARE("--alpha", per_cent) == SHARE("--alpha", text)


@given(st.text(max_size=6))
def test_no_text_is_anything_but_a_share_in_range_or_refused(text: str) -> None:
    try:
        assert 0.001 <= SHARE("--alpha", text) <= 0.2
    except UsageError as error:
        assert repr(text) in str(error)


@pytest.mark.parametrize("text", ["0", "2.5", "1e3", "3E-2", "007"])
def test_number_in_range_is_read(text: str) -> None:
    assert number(0, 1000)("--budget", text) == float(text)


@pytest.mark.parametrize(
    "value",
    [
        *("", "-1", "1001", "nan", "inf", "1e999", "1_0", "\N{ARABIC-INDIC DIGIT THREE}", "3%"),
        *(True, None, [], 10**400, math.nan),
    ],
)
def test_what_is_no_number_in_range_is_refused_with_the_range_and_its_unit(value: object) -> None:
    assert "a number of seconds from 0 to 1000" in refusal(number(0, 1000, "seconds"), value)


def test_whole_number_is_read_up_to_both_ends() -> None:
    read = whole_number(1, 2**63)
    assert [read("-n", text) for text in ("1", str(2**63))] == [1, 2**63]


@pytest.mark.parametrize("text", ["0", "2.5", "1e1", "-1", "11", "1_0", "", "9" * 5000])
def test_what_is_no_whole_number_in_range_is_refused(text: str) -> None:
    assert "a whole number from 1 to 10" in refusal(whole_number(1, 10), text)


def test_words_are_read_one_or_several() -> None:
    assert one_of("a", "b")("--which", "b") == "b"
    assert some_of("a", "b")("--which", "b, a") == ("b", "a")
    assert "one of a, b" in refusal(one_of("a", "b"), "a,b")
    assert "a list of a, b" in refusal(some_of("a", "b"), "a,c")


def test_threshold_above_the_margin_is_refused() -> None:
    check_within_margin("--margin", 0.03, {"threshold": 0.03})
    with pytest.raises(UsageError, match=r"--margin: threshold is 3%, .* margin of 2\.5%"):
        check_within_margin("--margin", 0.025, {"threshold": 0.03})


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


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0.4, "0.4 ns"),
        (999, "999 ns"),
        (1e3, "1 us"),
        (128_400, "128.4 us"),
        (128_449, "128.4 us"),
        (12_345, "12.35 us"),
        (999_999, "1000 us"),
        (1e6, "1 ms"),
        (1_234_567_890, "1.235 s"),
        (90e9, "90 s"),
        (math.nan, "-"),
    ],
)
def test_duration_has_four_digits_and_a_unit(ns: float, text: str) -> None:
    assert duration(ns) == text


@pytest.mark.parametrize(
    ("half", "text"), [(0.0, "0.0%"), (0.0123, "1.2%"), (math.log(2.5), "150.0%"), (math.nan, "-")]
)
def test_half_width_is_a_percentage(half: float, text: str) -> None:
    assert percent(half) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [
        (0.25, "0.25"),
        (16.04, "16"),
        (999.4, "999"),
        (999.7, "1 k"),
        (7_123, "7.12 k"),
        (999_700, "1 M"),
        (7_944_000, "7.94 M"),
        (2.5e9, "2.5 G"),
        (math.nan, "-"),
    ],
)
def test_rate_has_three_digits_and_a_prefix(per_second: float, text: str) -> None:
    assert rate(per_second) == text
