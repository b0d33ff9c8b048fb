"""The axes of a step's own: how their values are read, and written in an id."""

from typing import Any

import pytest

from bench.errors import UsageError
from bench.matrix.axes import axes_of, columns_of, prefix_of, selectable
from bench.matrix.case import case_from_id, case_of
from bench.matrix.default_step import DEFAULT, described
from bench.matrix.presets import select
from bench.matrix.step import OWN, OwnAxis, StepDescription, Traits
from sumnet.steps import DECLARED, Axis, Step, training_step

COUNT = OwnAxis("width", (64, 16), short="width")
SMALL = OwnAxis("rows", (8,), short="r", most=1000)
RATE = OwnAxis("drop", (0.5, 0.1), short="drop")
WORD = OwnAxis("act", ("relu", "gelu"), short="act")
SWITCH = OwnAxis("clip", (True, False), short="clip")
ALL = StepDescription("mynet", (COUNT, RATE, WORD, SWITCH))


@pytest.mark.parametrize(
    ("axis", "texts"),
    [
        (COUNT, {"64": 64, "7": 7, "0": 0, "-3": -3}),
        (SMALL, {"8": 8, "1000": 1000}),
        (RATE, {"0.5": 0.5, "2": 2.0, "1e-3": 1e-3, "-0.1": -0.1}),
        (WORD, {"relu": "relu", "gelu": "gelu"}),
        (SWITCH, {"true": True, "false": False}),
    ],
    ids=lambda value: value.name if isinstance(value, OwnAxis) else "",
)
def test_a_value_is_read_in_the_type_of_those_declared(
    axis: OwnAxis, texts: dict[str, Any]
) -> None:
    known = axes_of(StepDescription("mynet", (axis,)))[axis.name]
    read = {text: known.value(text) for text in texts}
    assert read == texts
    assert {type(value) for value in read.values()} == {type(axis.values[0])}
    assert known.default == axis.values[0]


@pytest.mark.parametrize(
    ("axis", "text", "allowed"),
    [
        (COUNT, "1.5", "a whole number"),
        (COUNT, "064", "a whole number"),
        (COUNT, "wide", "a whole number"),
        (SMALL, "1001", "a whole number from 1 to 1000"),
        (SMALL, "0", "a whole number from 1 to 1000"),
        (RATE, "half", "a number"),
        (RATE, "nan", "a number"),
        (WORD, "silu", "relu, gelu"),
        (SWITCH, "True", "true, false"),
    ],
)
def test_another_text_is_refused_with_what_is_allowed(
    axis: OwnAxis, text: str, allowed: str
) -> None:
    known = axes_of(StepDescription("mynet", (axis,)))[axis.name]
    with pytest.raises(UsageError, match=f"--{axis.name}: '{text}' .*allowed: {allowed}"):
        known.value(text)


def test_the_first_stands_among_the_suites_and_the_others_before_the_threads() -> None:
    assert list(axes_of(ALL)) == [
        *("workload", "device", "dtype", "width"),
        *("optimizer", "implementation", "compile", "drop", "act", "clip", "threads"),
    ]
    assert list(axes_of(StepDescription("bare"))) == [
        *("workload", "device", "dtype", "optimizer", "implementation", "compile", "threads")
    ]


def test_an_id_has_each_value_behind_the_name_of_its_axis() -> None:
    case = case_of(ALL, {"width": 16, "drop": 0.1, "clip": False})
    assert case.id == (
        "mynet/cpu/float32/width16/sgd/default/compile-off/drop0.1/act-relu/clip-false/t1"
    )
    assert case_from_id(case.id, [ALL]) == case


def test_a_short_name_stands_before_numbers_alone() -> None:
    assert [prefix_of(axis) for axis in (COUNT, SMALL, RATE, WORD, SWITCH)] == [
        *("width", "r", "drop", "act-", "clip-")
    ]
    assert prefix_of(OwnAxis("width", (64,))) == "width"


def test_a_declaration_is_described_as_it_is_declared() -> None:
    def mynet(device: str, rows: int, act: str) -> Step:
        """A net."""
        raise AssertionError

    training_step(rows=Axis([8], "rows of data", "r", 1000), act=["relu"])(mynet)
    assert described(vars(mynet)[DECLARED]) == StepDescription(
        "mynet",
        (OwnAxis("rows", (8,), "rows of data", "r", 1000), OwnAxis("act", ("relu",), short="act")),
        summary="A net.",
    )


# Selections


OTHER = StepDescription("other", (WORD,), Traits(form="run", phases=()))


def test_a_step_is_measured_at_the_values_it_declares() -> None:
    cases = select("quick", {}, [ALL])
    assert len(cases) == 2 * 2 * 2 * 2
    assert len({case.id for case in cases}) == len(cases)
    assert {case.workload for case in cases} == {"mynet"}
    assert {case.optimizer for case in cases} == {"sgd"}


def test_a_step_that_lacks_a_chosen_axis_is_measured_as_it_is() -> None:
    cases = select("quick", {"width": (5,), "act": ("relu",)}, [ALL, OTHER])
    assert {case.own_values.get("width") for case in cases} == {5, None}
    assert [case.id for case in cases if case.workload == "other"] == [
        "other/cpu/float32/act-relu/own/default/compile-off/t1"
    ]


def test_steps_are_chosen_by_name() -> None:
    cases = select("quick", {"workload": ("other",)}, [ALL, OTHER])
    assert {case.workload for case in cases} == {"other"}
    assert {case.optimizer for case in cases} == {OWN}


def test_the_default_step_has_the_grids_of_the_preset_beside_others() -> None:
    assert select("quick", {}, [DEFAULT, OTHER]) == select("quick", {}) + select(
        "quick", {}, [OTHER]
    )


def test_the_axes_of_several_steps_are_each_there_once_and_in_an_order_that_suits_all() -> None:
    assert set(selectable([ALL, OTHER])) == {*axes_of(ALL), *axes_of(OTHER)}
    assert columns_of([{"width": 1, "act": "a"}, {"act": "a"}, {"batch": 2, "width": 3}]) == (
        *("workload", "device", "dtype", "width", "act", "batch"),
        *("optimizer", "implementation", "compile", "threads"),
    )
