"""The table of options: what is made of it agrees with it, and with what uses it."""

import argparse
import inspect
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytest_benchmark.plugin import pytest_addoption as declare_benchmark_options

from bench.cli import verbs
from bench.cli.verbs import BODIES
from bench.compare.verdicts import StoredRules
from bench.errors import UsageError
from bench.gate.settings import BUDGET_S, KEYS, Settings
from bench.matrix.axes import AXES
from bench.options import (
    OPTIONS,
    PYPROJECT,
    PYTEST,
    VERBS,
    Option,
    options_of,
    parser_of,
    selected,
    values_of,
)
from bench.records.gate_report import Rules
from bench.stats.frame import STATISTICS
from tests.cases import sumnet
from tests.reference_page import reference_page

ROOT = Path(__file__).parents[1]
FRONTS = (*VERBS, PYTEST, PYPROJECT)


def option(front: str, name: str) -> Option:
    (found,) = (entry for entry in options_of(front) if entry.name == name)
    return found


def asked(verb: str, *words: str) -> argparse.Namespace:
    return values_of(verb, vars(parser_of(verb).parse_intermixed_args(words)))


def test_committed_page_is_what_the_table_makes() -> None:
    made = reference_page() + "\n"
    assert (ROOT / "docs" / "cli.md").read_text() == made, (
        "python -m tests.reference_page > docs/cli.md"
    )


def test_every_verb_has_a_body_and_every_option_a_front() -> None:
    assert BODIES.keys() == VERBS.keys()
    for entry in OPTIONS:
        assert entry.fronts and set(entry.fronts.split()) <= set(FRONTS), entry.name


@pytest.mark.parametrize("front", FRONTS)
def test_no_front_has_two_options_of_one_name(front: str) -> None:
    names = Counter(entry.name for entry in options_of(front))
    assert names and set(names.values()) == {1}


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_is_in_its_help_and_in_the_page(verb: str) -> None:
    help, page = parser_of(verb).format_help(), reference_page()
    for entry in options_of(verb):
        assert entry.flag in help and entry.flag.replace("|", r"\|") in page


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_is_used_by_its_body(verb: str) -> None:
    """Or by the plan or the selection that the verb asks for; settings go as a whole."""
    from bench.suite import measurement, plan

    uses = (BODIES[verb], verbs._measure, verbs._show, plan, measurement, selected)
    source = "".join(map(inspect.getsource, uses))
    for entry in options_of(verb):
        by_name = entry.name in AXES or (verb == "regress" and entry.name in KEYS)
        assert by_name or f"asked.{entry.name}" in source, entry.name


def test_choices_are_those_of_the_rooms_that_take_them() -> None:
    for front, name, words in (
        ("compare", "statistic", STATISTICS),
        ("rank", "statistic", STATISTICS),
    ):
        read = option(front, name).read
        assert read is not None and read.allowed == f"one of {', '.join(words)}"


def test_defaults_in_the_help_are_those_of_the_rules() -> None:
    for front, name, value in (
        ("compare", "margin", StoredRules().margin),
        ("compare", "threshold", StoredRules().threshold),
        ("regress", "margin", Rules().margin),
        ("regress", "threshold", Rules().threshold),
        ("regress", "alpha", Rules().alpha),
        ("regress", "budget", BUDGET_S),
    ):
        entry = option(front, name)
        assert entry.read is not None and entry.read("", entry.otherwise) == value
        assert entry.default is None
    assert Settings().but({}) == Settings()


def test_values_are_read_and_what_was_given_is_known() -> None:
    found = asked("compare", "a.json", "--by", "batch", "b.json", "--margin=4%", "--wide")
    assert found.files == [Path("a.json"), Path("b.json")]
    assert (found.by, found.margin, found.threshold) == ("batch", 0.04, None)
    assert (found.statistic, found.wide, found.limits) == ("quiet", True, False)
    assert found.results == Path("results")
    assert set(found.given) == {"RUN", "--by", "--margin", "--wide"}


def test_zero_is_a_value() -> None:
    found = asked("run", "--budget=0", "--order-seed=0")
    assert (found.budget, found.order_seed) == (0, 0)
    assert set(found.given) == {"--budget", "--order-seed"}


def test_option_that_may_be_repeated_is_a_list() -> None:
    assert asked("regress").base == []
    assert asked("regress", "--base=main", "--base", "threads=1").base == ["main", "threads=1"]


@pytest.mark.parametrize(
    ("verb", "word", "allowed"),
    [
        ("regress", "--margin=0", "above 0%"),
        ("regress", "--margin=3", "above 0%"),
        ("regress", "--alpha=", "from 0.1% to 20%"),
        ("regress", "--threshold=much", "from 0% to 50%"),
        ("regress", "--budget=1e9", "seconds from 10 to 86400"),
        ("regress", "--budget=50%", "seconds from 10 to 86400"),
        ("calibrate", "--pairs=18", "a whole number from 19 to 10000"),
        ("calibrate", "--replays=0", "a whole number from 100 to 1000000"),
        ("compare", "--margin=5", "above 0%"),
        ("trend", "--statistic=mean", "quiet, typical"),
    ],
)
def test_value_that_is_not_allowed_is_refused_by_its_name(
    verb: str, word: str, allowed: str
) -> None:
    flag, _, text = word.partition("=")
    with pytest.raises(UsageError) as caught:
        asked(verb, word)
    assert str(caught.value).startswith(f"{flag}: {text!r} is not ")
    assert allowed in str(caught.value)


def test_missing_argument_and_missing_value_are_wrong_usage() -> None:
    for words in (["repeatability"], ["compare", "--by"]):
        with pytest.raises(UsageError):
            asked(*words)


def test_options_are_not_abbreviated() -> None:
    _, others = parser_of("compare").parse_known_intermixed_args(["--stat=typical"])
    assert others == ["--stat=typical"]


def test_cases_are_those_named_or_those_selected() -> None:
    adam, sgd = sumnet(optimizer="adam").id, sumnet().id
    named = selected(asked("run", adam, sgd, adam))
    assert [case.id for case in named] == [adam, sgd]
    assert selected(asked("regress", "--preset=seed", "--batch=4,2")) == [
        sumnet(batch=4),
        sumnet(batch=2),
    ]


def test_options_of_pytest_and_pytest_benchmark_are_not_ours() -> None:
    """A front has each of its words once."""
    theirs: list[str] = []
    group = SimpleNamespace(addoption=lambda *names, **_: theirs.extend(names))
    declare_benchmark_options(
        SimpleNamespace(getgroup=lambda *_: group, addini=lambda *_, **__: None)
    )
    ours = {entry.flag for entry in options_of(PYTEST)}
    assert ours.isdisjoint(theirs)
