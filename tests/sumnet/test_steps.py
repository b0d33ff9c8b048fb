"""How a step is described: what is refused, and what a declaration holds."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sumnet.steps import DECLARED, GIVEN, SUITES, Axis, Declaration, Step, training_step

MODEL = torch.nn.Linear(2, 1)


def loss() -> torch.Tensor:
    return MODEL(torch.ones(1, 2)).sum()


def declaration(factory: Callable[..., Step], **axes: Any) -> Declaration:
    found: Declaration = vars(training_step(**axes)(factory))[DECLARED]
    return found


# A step


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ({"model": MODEL, "loss": loss}, "loss"),
        ({"model": MODEL, "loss": loss, "optimizer": torch.optim.SGD(MODEL.parameters())}, "loss"),
        ({"phases": {"load": loss}}, "phases"),
        ({"run": loss, "state": [MODEL], "samples": 3}, "run"),
    ],
)
def test_a_step_has_one_of_the_forms(given: dict[str, Any], form: str) -> None:
    step = Step(**given)
    assert bool(getattr(step, form))
    assert [name for name in ("loss", "phases", "run") if getattr(step, name)] == [form]
    assert step.samples == given.get("samples")
    assert step.state == tuple(given.get("state", ()))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ("loss=", "phases=", "run=", "none of them")),
        ({"model": MODEL}, ("none of them",)),
        ({"model": MODEL, "loss": loss, "run": loss}, ("loss= and run=",)),
        ({"phases": {"load": loss}, "run": loss}, ("phases= and run=",)),
        ({"loss": loss}, ("the model",)),
        ({"run": loss, "optimizer": torch.optim.SGD(MODEL.parameters())}, ("state=",)),
        ({"phases": {}}, ("phases=",)),
        ({"phases": {"load it": loss}}, ("phases=", "load it")),
        ({"phases": {"train_step": loss}}, ("phases=", "train_step")),
        *(
            ({"run": loss, "samples": samples}, ("samples=", repr(samples)))
            for samples in (0, -1, True)
        ),
    ],
)
def test_any_other_combination_is_refused_and_named(
    given: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(TypeError) as refused:
        Step(**given)
    assert [word for word in words if word not in str(refused.value)] == []


# Its axes


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ([32, 256], (32, 256)),
        ([0.5, 1], (0.5, 1.0)),
        ((True, False), (True, False)),
        (["relu", "gelu", "relu"], ("relu", "gelu")),
        (Axis([2], "pairs", "b", 4), (2,)),
    ],
)
def test_an_axis_is_a_list_of_values_of_one_type_each_once(
    given: Any, values: tuple[Any, ...]
) -> None:
    def step(device: str, width: Any) -> Step:
        return Step(run=loss)

    axis = declaration(step, width=given).axes["width"]
    assert axis.values == values
    assert {type(value) for value in axis.values} == {type(values[0])}
    named = isinstance(given, Axis)
    assert (axis.help, axis.short, axis.most) == (
        ("pairs", "b", 4) if named else ("", "width", None)
    )


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        *((name, [1], (name, "suite")) for name in SUITES),
        ("größe", [1], ("größe", "letters")),
        ("width", [], ("width=[]", "list of values")),
        ("width", "relu", ("width='relu'", "list of values")),
        ("width", 3, ("width=3", "list of values")),
        ("width", {1, 2}, ("width=", "list of values")),
        ("width", [1, "two"], ("width=", "one type")),
        ("width", [1, True], ("width=", "one type")),
        ("width", [None], ("width=", "one type")),
        ("width", [(1, 2)], ("width=", "one type")),
        ("width", ["a/b"], ("width='a/b'", "letters")),
        ("width", [""], ("width=''", "letters")),
    ],
)
def test_what_is_no_axis_is_refused_and_named(
    name: str, given: Any, words: tuple[str, ...]
) -> None:
    with pytest.raises(TypeError) as refused:
        training_step(**{name: given})
    assert [word for word in words if word not in str(refused.value)] == []


# A declaration


def test_a_declaration_has_the_functions_name_its_axes_and_its_first_line() -> None:
    def mynet(device: str, batch: int, width: int = 3) -> Step:
        """A net.

        With more to say of it.
        """
        return Step(run=loss)

    found = declaration(mynet, batch=[1, 2])
    assert (found.name, found.summary, list(found.axes)) == ("mynet", "A net.", ["batch"])
    assert found.takes == ("device",)


@pytest.mark.parametrize(
    ("factory", "takes"),
    [
        (lambda batch: Step(run=loss, state=[]), ()),
        (lambda device, batch: Step(run=loss, state=[device]), ("device",)),
        (lambda batch, dtype: Step(run=loss, state=[dtype]), ("dtype",)),
        (lambda batch, dtype, device: Step(run=loss, state=[device, dtype]), GIVEN),
    ],
)
def test_a_function_is_given_the_device_and_the_dtype_where_it_takes_them(
    factory: Callable[..., Step], takes: tuple[str, ...]
) -> None:
    factory.__name__ = "mynet"
    found = declaration(factory, batch=[1])
    assert found.takes == takes
    given = {"device": "cpu", "dtype": torch.float64}
    step = found.build({"batch": 1}, "cpu", torch.float64)
    assert step.state == tuple(given[name] for name in takes)


def test_a_function_of_any_keywords_is_given_all() -> None:
    given: dict[str, Any] = {}

    def step(**arguments: Any) -> Step:
        given.update(arguments)
        return Step(run=loss)

    declaration(step, batch=[1]).build({"batch": 4}, "cpu", torch.float32)
    assert given == {"batch": 4, "device": "cpu", "dtype": torch.float32}


def test_an_axis_that_a_function_does_not_take_is_refused() -> None:
    def mynet(device: str) -> Step:
        return Step(run=loss)

    with pytest.raises(TypeError, match=r"mynet .*width"):
        training_step(width=[1])(mynet)


def test_an_argument_that_nothing_gives_is_refused() -> None:
    def mynet(device: str, width: int) -> Step:
        return Step(run=loss)

    with pytest.raises(TypeError, match=r"mynet .*width"):
        training_step()(mynet)


def test_a_function_that_returns_no_step_is_refused_when_it_is_built() -> None:
    def mynet(device: str) -> Any:
        return MODEL

    with pytest.raises(TypeError, match=r"mynet .*Linear"):
        declaration(mynet).build({}, "cpu", torch.float32)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (lambda: Step(run=3), "run="),
        (lambda: Step(torch.nn.Linear(1, 1), loss=torch.ones(())), "loss="),
        (lambda: Step(phases={"load": "file"}), "load="),
        (lambda: Step(phases={"latency": loss}), "latency"),
        (lambda: Step(run=loss, state=torch.nn.Linear(1, 1)), "state="),
        (lambda: Step(run=loss, samples=32.5), "32.5"),
        (lambda: training_step(lambda device: None), "@training_step()"),
        (lambda: training_step()(Step), "a function"),
        (lambda: training_step(clip=[float("inf"), 1.0]), "inf"),
        (lambda: training_step(batch=Axis([0, 4], most=8)), "most=8"),
        (lambda: training_step(batch=Axis([4], short="k/")), "k/"),
        (lambda: training_step()(_hidden), "_hidden"),
    ],
)
def test_what_could_not_be_measured_or_read_back_is_refused(
    made: Callable[[], object], named: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(named)):
        made()


def _hidden(device: str) -> Step:
    return Step(run=loss)
