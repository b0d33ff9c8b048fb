"""The axes: which texts are values, and what is said of those that are not."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.matrix.axes import AXES, Axis
from bench.matrix.compilation import COMPILATIONS
from bench.matrix.optimizers import IMPLEMENTATIONS, OPTIMIZERS
from bench.matrix.precision import PRECISIONS
from bench.matrix.step import OWN

NAMES = (
    "workload",
    "device",
    "dtype",
    "batch",
    "optimizer",
    "implementation",
    "compile",
    "hidden",
    "threads",
)
LARGEST = {"batch": 2**22, "hidden": 4096, "threads": 1024}

every_count = pytest.mark.parametrize(("name", "largest"), LARGEST.items())


def test_these_are_the_axes_in_the_order_an_id_has_them() -> None:
    assert tuple(AXES) == NAMES
    assert [axis.name for axis in AXES.values()] == list(NAMES)


@pytest.mark.parametrize("axis", AXES.values(), ids=lambda axis: axis.name)
def test_the_default_of_an_axis_is_a_value_of_it(axis: Axis) -> None:
    assert axis.value(str(axis.default)) == axis.default


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("dtype", tuple(PRECISIONS)),
        ("optimizer", (*OPTIMIZERS, OWN)),
        ("implementation", tuple(IMPLEMENTATIONS)),
        ("compile", tuple(COMPILATIONS)),
    ],
)
def test_a_named_value_is_read_as_it_is_written(name: str, values: tuple[str, ...]) -> None:
    assert AXES[name].values(",".join(values)) == values
    for value in values:
        with pytest.raises(UsageError):
            AXES[name].value(value.upper())


@pytest.mark.parametrize("text", ["cpu", "mps", "cuda", "cuda:0", "cuda:7", "cuda:12"])
def test_a_device_is_read_as_torch_writes_it(text: str) -> None:
    assert AXES["device"].value(text) == text


@pytest.mark.parametrize(
    "text", ["", "gpu", "CPU", "cpu:0", "mps:0", "cuda:", "cuda:-1", "cuda:01", "cuda:x", "xcuda"]
)
def test_a_device_torch_would_not_know_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cpu, cuda, cuda:INDEX, mps"):
        AXES["device"].value(text)


@every_count
def test_a_count_is_a_whole_number_up_to_its_largest(name: str, largest: int) -> None:
    axis = AXES[name]
    assert [axis.value(str(n)) for n in (1, 2, largest)] == [1, 2, largest]
    with pytest.raises(UsageError, match=f"a whole number from 1 to {largest}"):
        axis.value(str(largest + 1))


@every_count
@pytest.mark.parametrize(
    "text", ["", "0", "-1", "+1", "1.0", "1e3", "01", " 1", "1\n", "1_000", "٣", "x"]
)
def test_a_count_has_one_way_of_being_written(name: str, largest: int, text: str) -> None:
    """Two ways to write one value would make two ids of one case."""
    with pytest.raises(UsageError, match=f"a whole number from 1 to {largest}"):
        AXES[name].value(text)


def test_a_count_of_thousands_of_digits_is_refused_as_any_other() -> None:
    with pytest.raises(UsageError, match="a whole number from 1 to 1024"):
        AXES["threads"].value("9" * 5000)


@pytest.mark.parametrize("name", NAMES)
def test_a_refusal_names_the_option_the_value_and_what_is_allowed(name: str) -> None:
    with pytest.raises(UsageError) as refusal:
        AXES[name].value("+nonsense")
    assert str(refusal.value) == (
        f"--{name}: '+nonsense' is not a value; allowed: {AXES[name].allowed}"
    )


def test_what_is_allowed_is_listed_value_by_value() -> None:
    assert AXES["optimizer"].allowed.split(", ") == [*OPTIMIZERS, OWN]
    assert AXES["dtype"].allowed.split(", ") == list(PRECISIONS)


@given(st.lists(st.integers(1, 2**22), min_size=1))
def test_a_list_keeps_the_order_given_and_each_value_once(numbers: list[int]) -> None:
    seen: list[int] = []
    for number in numbers:
        if number not in seen:
            seen.append(number)
    assert AXES["batch"].values(" , ".join(map(str, numbers))) == tuple(seen)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("", "''"), ("2,", "''"), ("2,,4", "''"), ("2;4", "'2;4'"), ("2,b4", "'b4'")],
)
def test_one_wrong_value_of_a_list_is_named(text: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"--batch: {wrong} is not a value")):
        AXES["batch"].values(text)
