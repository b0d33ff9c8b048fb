"""Numbers as people write them: read, or refused with what is allowed."""

import pytest

from bench.errors import UsageError
from bench.units import number_from, share_from, whole_number_from


@pytest.mark.parametrize(
    ("value", "share"),
    [("3%", 0.03), (" 0.03 ", 0.03), (".5 %", 0.005), (0.1, 0.1), ("1e-2", 0.01)],
)
def test_share_is_a_number_or_text_with_or_without_a_sign(value: object, share: float) -> None:
    assert share_from("--margin", value, "margin") == share


@pytest.mark.parametrize("text", ["0", "2.5", "1e3", "3E-2", "007"])
def test_number_in_range_is_read(text: str) -> None:
    assert number_from("--budget", text, 0, 1000) == float(text)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        "1001",
        "nan",
        "inf",
        "1e999",
        "1_0",
        "\N{ARABIC-INDIC DIGIT THREE}",
        "3%",
        True,
        None,
    ],
)
def test_what_is_no_number_in_range_is_refused_with_the_range_and_its_unit(value: object) -> None:
    with pytest.raises(UsageError) as caught:
        number_from("--budget", value, 0, 1000, "seconds")
    assert str(caught.value) == (f"--budget: {value!r} is not a number of seconds from 0 to 1000")


def test_whole_number_is_read_up_to_both_ends() -> None:
    assert [whole_number_from("-n", text, 1, 2**63) for text in ("1", str(2**63))] == [1, 2**63]


@pytest.mark.parametrize("text", ["0", "2.5", "1e1", "-1", "11", "1_0", "", "9" * 5000])
def test_what_is_no_whole_number_in_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        whole_number_from("--replicates", text, 1, 10)
    assert str(caught.value) == f"--replicates: {text!r} is not a whole number from 1 to 10"
