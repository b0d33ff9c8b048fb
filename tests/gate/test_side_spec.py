"""How --base and --head are worded, and which cases they make of each case."""

import pytest

from bench.errors import UsageError
from bench.gate.side_spec import Wanted, axes_differ, comparisons, wanted
from bench.matrix.axes import AXES
from bench.matrix.case import Case
from bench.matrix.comparison import Comparison

NOTHING = Wanted(None, {})


def refusal(option: str, *words: str) -> str:
    with pytest.raises(UsageError) as caught:
        wanted(option, words)
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "subject", "axes"),
    [
        ([], None, {}),
        (["v1.0"], "v1.0", {}),
        (["../other checkout"], "../other checkout", {}),
        (["compile=on"], None, {"compile": "on"}),
        (["batch=64", "HEAD~1", "threads=2"], "HEAD~1", {"batch": 64, "threads": 2}),
        (["device=cuda:1"], None, {"device": "cuda:1"}),
    ],
)
def test_words_are_a_subject_and_values_of_axes(
    words: list[str], subject: str | None, axes: dict[str, object]
) -> None:
    assert wanted("head", words) == Wanted(subject, axes)  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["base", "head"])
def test_two_subjects_are_refused(option: str) -> None:
    told = f"--{option}: 'v1' and 'v2': a side has one subject"
    assert refusal(option, "v1", "batch=2", "v2") == told


@pytest.mark.parametrize("word", ["speed=high", "=on", "Batch=2"])
def test_unknown_axis_is_refused_with_those_there_are(word: str) -> None:
    told = refusal("base", word)
    assert told.startswith(f"--base: {word!r}: there is no axis ")
    assert told.endswith(f"allowed: {', '.join(AXES)}")


@pytest.mark.parametrize("word", ["batch=0", "batch=many", "compile=yes", "dtype=", "batch=2,64"])
def test_value_that_the_axis_lacks_is_refused(word: str) -> None:
    name, _, text = word.partition("=")
    assert f"{text!r} is not a value; allowed: " in refusal("head", word)
    assert name in refusal("head", word)


def test_axis_that_is_given_twice_is_refused() -> None:
    assert refusal("base", "batch=2", "batch=64") == "--base: batch is given twice"


# Comparisons


def test_without_axes_each_case_meets_itself() -> None:
    cases = [Case(), Case(batch=64)]
    assert comparisons(cases, NOTHING, Wanted("v1", {})) == [
        Comparison(case, case) for case in cases
    ]


def test_value_that_one_side_names_is_the_cases_own_on_the_other() -> None:
    cases = [Case(), Case(batch=64)]
    on = [Case(compile="on"), Case(batch=64, compile="on")]
    assert comparisons(cases, NOTHING, Wanted(None, {"compile": "on"})) == [
        Comparison(*both) for both in zip(cases, on, strict=True)
    ]
    assert comparisons(cases, Wanted(None, {"compile": "on"}), NOTHING) == [
        Comparison(*both) for both in zip(on, cases, strict=True)
    ]


def test_values_of_both_sides_replace_the_cases() -> None:
    base, head = Wanted(None, {"threads": 1}), Wanted(None, {"threads": 2, "optimizer": "adam"})
    assert comparisons([Case(threads=4)], base, head) == [
        Comparison(Case(), Case(threads=2, optimizer="adam"))
    ]


def test_cases_that_come_to_the_same_are_one_contest() -> None:
    cases = [Case(batch=batch) for batch in (2, 64, 1024)]
    found = comparisons(cases, Wanted(None, {"batch": 2}), Wanted(None, {"batch": 64}))
    assert found == [Comparison(Case(batch=2), Case(batch=64))]


def test_step_that_is_not_split_meets_one_that_is_as_a_whole() -> None:
    (found,) = comparisons([Case()], NOTHING, Wanted(None, {"optimizer": "lbfgs"}))
    assert found.series == ("train_step",)


# Whether they differ


@pytest.mark.parametrize(
    ("base", "head", "differ"),
    [
        ({}, {}, False),
        ({}, {"compile": "on"}, True),
        ({"compile": "on"}, {}, True),
        ({"batch": 2}, {"batch": 64}, True),
        ({"batch": 2}, {"batch": 2, "threads": 2}, True),
    ],
)
def test_sides_differ_where_they_name_different_axes(
    base: dict[str, object], head: dict[str, object], differ: bool
) -> None:
    assert axes_differ(Wanted("v1", base), Wanted(None, head)) == differ  # type: ignore[arg-type]


def test_sides_that_name_the_same_are_refused() -> None:
    both = {"compile": "on", "threads": 2}
    with pytest.raises(UsageError, match=r"^--base and --head are both compile=on, threads=2: let"):
        axes_differ(Wanted("v1", both), Wanted("v2", dict(reversed(both.items()))))  # type: ignore[arg-type]
