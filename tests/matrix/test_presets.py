"""Presets: what they select, and how axes narrow or widen a selection."""

import pytest

from bench.errors import UsageError
from bench.matrix.axes import AXES
from bench.matrix.case import Case, case_from_id
from bench.matrix.presets import DEFAULT_PRESET, PRESETS, select
from bench.matrix.support import Facts, unsupported_reason
from sumnet.data import TUTORIAL_PAIRS

every_preset = pytest.mark.parametrize("name", PRESETS)


def test_seed_is_exactly_the_tutorials_case() -> None:
    expected = Case(
        device="cpu",
        dtype="float32",
        batch=len(TUTORIAL_PAIRS),
        optimizer="sgd",
        implementation="default",
        compile="off",
        hidden=10,
        threads=1,
    )
    assert select("seed", {}) == [expected]
    assert expected.id == "cpu/float32/b2/sgd/default/compile-off/h10/t1"


@every_preset
def test_the_cases_of_a_preset_are_distinct_valid_and_read_back(name: str) -> None:
    cases = select(name, {})
    ids = [case.id for case in cases]
    assert cases
    assert len(set(ids)) == len(ids)
    assert [case_from_id(text) for text in ids] == cases


@every_preset
def test_a_preset_says_what_it_is_and_gives_every_case_replicates_and_time(name: str) -> None:
    preset = PRESETS[name]
    assert preset.help
    assert preset.replicates >= 3, "fewer make no interval"
    assert preset.budget_s > 0


@every_preset
def test_most_of_a_preset_runs_on_a_plain_machine(name: str) -> None:
    facts = Facts("2.13.0", 2, 8 * 2**30, "g++", True, {"cpu": None})
    cases = select(name, {})
    refused = [case for case in cases if unsupported_reason(case, facts)]
    assert len(refused) <= len(cases) / 4
    assert all(case.compile == "on" and case.implementation == "fused" for case in refused)


def test_every_preset_holds_the_tutorials_case() -> None:
    for name in PRESETS:
        assert Case() in select(name, {}), name


def test_the_default_preset_exists() -> None:
    assert DEFAULT_PRESET in PRESETS


def test_full_is_every_value_of_its_axes_with_every_other() -> None:
    cases = select("full", {})
    assert len(cases) == 3 * 5 * 4 * 3 * 2
    assert {case.dtype for case in cases} == {"float32", "float64", "bfloat16"}
    assert {case.compile for case in cases} == {"off", "on"}
    assert Case(dtype="bfloat16", batch=262144, optimizer="adamw", compile="on") in cases


@pytest.mark.parametrize(
    ("axis", "text", "values"),
    [
        ("batch", "7", {7}),
        ("batch", "7,9", {7, 9}),
        ("dtype", "float64", {"float64"}),
        ("optimizer", "adamw, sgd", {"adamw", "sgd"}),
        ("device", "cuda:1", {"cuda:1"}),
        ("threads", "1,2", {1, 2}),
    ],
)
@every_preset
def test_a_chosen_axis_takes_the_given_values_instead_of_the_presets(
    name: str, axis: str, text: str, values: set[object]
) -> None:
    others = [other for other in AXES if other != axis]

    def elsewhere(cases: list[Case]) -> set[tuple[object, ...]]:
        return {tuple(case.axes[other] for other in others) for case in cases}

    cases = select(name, {axis: text})
    assert {case.axes[axis] for case in cases} == values
    assert elsewhere(cases) == elsewhere(select(name, {})), "the other axes stay as they were"


def test_several_axes_are_chosen_at_once() -> None:
    assert select("seed", {"batch": "3,5", "dtype": "float64,float32"}) == [
        Case(dtype=dtype, batch=batch) for dtype in ("float64", "float32") for batch in (3, 5)
    ]


@every_preset
def test_duplicates_vanish(name: str) -> None:
    defaults = {axis.name: str(axis.default) for axis in AXES.values()}
    cases = select(name, defaults | {"batch": "4,4,8,4"})
    assert cases == [Case(batch=4), Case(batch=8)]


def test_a_case_two_grids_share_comes_once_at_its_first_place() -> None:
    adam = Case(batch=1024, optimizer="adam")
    quick = select("quick", {"dtype": "float32"})
    assert quick.count(adam) == 1
    assert quick.index(adam) < quick.index(Case(optimizer="adam", implementation="fused"))


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError) as refusal:
        select("fast", {})
    assert str(refusal.value) == (
        "--preset: 'fast' is not a preset; allowed: seed, quick, standard, full"
    )


@pytest.mark.parametrize(
    ("axis", "text", "wrong"),
    [
        ("batch", "2,zero", "zero"),
        ("optimizer", "sgd,lion", "lion"),
        ("dtype", "float16", "float16"),
        ("device", "gpu", "gpu"),
        ("compile", "yes", "yes"),
    ],
)
def test_an_unknown_value_is_refused_with_those_there_are(axis: str, text: str, wrong: str) -> None:
    with pytest.raises(UsageError) as refusal:
        select("seed", {axis: text})
    assert str(refusal.value) == (
        f"--{axis}: {wrong!r} is not a value; allowed: {AXES[axis].allowed}"
    )
