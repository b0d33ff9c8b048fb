"""How --base and --head are worded, and which cases they make of each case."""

from typing import Any

import pytest

from bench.errors import UsageError
from bench.gate.side_spec import OURS, SideSpec, comparisons, parse_side
from bench.matrix.axes import AXES
from bench.matrix.comparison import Comparison
from tests.cases import sumnet

BASE, HEAD = SideSpec("base"), SideSpec("head")


def with_axes(**axes: str) -> SideSpec:
    return SideSpec("base", axes=axes)


def refusal(option: str, *words: str, **more: Any) -> str:
    with pytest.raises(UsageError) as caught:
        parse_side(option, words, **more)
    return str(caught.value)


def refused_values(option: str, word: str) -> str:
    """What is said of a value, once it is known which steps there are."""
    with pytest.raises(UsageError) as caught:
        comparisons([sumnet()], parse_side(option, [word]), parse_side("other", []))
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "subject", "axes"),
    [
        ([], None, {}),
        (["v1.0"], "v1.0", {}),
        (["../other checkout"], "../other checkout", {}),
        (["compile=on"], None, {"compile": "on"}),
        (["batch=64", "HEAD~1", "threads=2"], "HEAD~1", {"batch": "64", "threads": "2"}),
        (["device=cuda:1"], None, {"device": "cuda:1"}),
    ],
)
def test_words_are_a_subject_and_values_of_axes(
    words: list[str], subject: str | None, axes: dict[str, str]
) -> None:
    assert parse_side("head", words) == SideSpec("head", subject, axes)


@pytest.mark.parametrize("option", ["base", "head"])
def test_two_subjects_are_refused(option: str) -> None:
    reported = f"--{option}: 'v1' and 'v2': a side has one subject"
    assert refusal(option, "v1", "batch=2", "v2") == reported


@pytest.mark.parametrize("word", ["speed=high", "=on", "Batch=2"])
def test_unknown_axis_is_refused_with_those_there_are(word: str) -> None:
    reported = refused_values("base", word)
    assert reported.startswith(f"--base: {word!r}: there is no axis ")
    assert reported.endswith(f"allowed: {', '.join(AXES)}")


@pytest.mark.parametrize("word", ["batch=0", "batch=many", "compile=yes", "dtype=", "batch=2,64"])
def test_value_that_the_axis_lacks_is_refused(word: str) -> None:
    name, _, text = word.partition("=")
    reported = refused_values("head", word)
    assert f"--{name}: {text!r} is not a value; allowed: " in reported
    assert reported.startswith(f"--head: {word!r}: ")


def test_axis_that_is_given_twice_is_refused() -> None:
    assert refusal("base", "batch=2", "batch=64") == "--base: batch is given twice"


# Comparisons


def test_without_axes_each_case_meets_itself() -> None:
    cases = [sumnet(), sumnet(batch=64)]
    assert comparisons(cases, SideSpec("base", "v1"), HEAD) == [
        Comparison(case, case) for case in cases
    ]


def test_value_that_one_side_names_is_the_cases_own_on_the_other() -> None:
    cases = [sumnet(), sumnet(batch=64)]
    on = [sumnet(compile="on"), sumnet(batch=64, compile="on")]
    assert comparisons(cases, BASE, with_axes(compile="on")) == [
        Comparison(*both) for both in zip(cases, on, strict=True)
    ]
    assert comparisons(cases, with_axes(compile="on"), BASE) == [
        Comparison(*both) for both in zip(on, cases, strict=True)
    ]


def test_values_of_both_sides_replace_the_cases() -> None:
    base, head = with_axes(threads="1"), with_axes(threads="2", optimizer="adam")
    assert comparisons([sumnet(threads=4)], base, head) == [
        Comparison(sumnet(), sumnet(threads=2, optimizer="adam"))
    ]


def test_cases_that_come_to_the_same_are_one_comparison() -> None:
    cases = [sumnet(batch=batch) for batch in (2, 64, 1024)]
    found = comparisons(cases, with_axes(batch="2"), with_axes(batch="64"))
    assert found == [Comparison(sumnet(batch=2), sumnet(batch=64))]


def test_step_that_is_not_split_meets_one_that_is_as_a_whole() -> None:
    (found,) = comparisons([sumnet()], BASE, with_axes(optimizer="lbfgs"))
    assert found.series == ("train_step",)


def test_sides_that_name_the_same_values_are_refused() -> None:
    both = with_axes(compile="on", threads="2"), with_axes(threads="2", compile="on")
    with pytest.raises(UsageError, match=r"^--base and --head are both compile=on, threads=2: let"):
        comparisons([sumnet()], *both)
    assert comparisons([sumnet()], both[0], with_axes(compile="on"))


# The interpreter and the environment


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (["OMP_NUM_THREADS"], "'OMP_NUM_THREADS' is not NAME=VALUE"),
        (["=1"], "'=1' is not NAME=VALUE"),
        ([""], "'' is not NAME=VALUE"),
        (["A=1", "A=2"], "A is given twice"),
        *(([f"{name}=1"], f"{name} cannot be set: {why}") for name, why in OURS.items()),
    ],
)
def test_settings_must_be_the_sides_to_make(settings: list[str], why: str) -> None:
    assert refusal("base", settings=settings).startswith(f"--base-env: {why}")


@pytest.mark.parametrize("version", ["", "two", "-r x", ">=2", "2.12.0 numpy", "2.12.0;", "--help"])
def test_torch_must_be_a_version(version: str) -> None:
    assert f"--base-torch: {version!r} is no version" in refusal("base", torch=version)


def test_torch_and_interpreter_do_not_go_together() -> None:
    why = refusal("base", torch="2.12.0", python="python")
    assert why.startswith("--base-torch and --base-python: ")


@pytest.mark.parametrize("text", ["", "-", "--all", "--output=x"])
@pytest.mark.parametrize("option", ["base", "head"])
def test_subject_is_never_an_option_of_git(option: str, text: str) -> None:
    reported = f"--{option}: {text!r} is neither a revision nor a folder; name one"
    assert refusal(option, text) == reported
