"""Cases and their ids: one id a case, one case an id."""

import re

import pytest
from hypothesis import given

from bench.devices import DEVICES
from bench.errors import UsageError
from bench.matrix.axes import AXES
from bench.matrix.case import (
    DISPATCH,
    LATENCY,
    THROUGHPUT,
    WHOLE,
    Case,
    case_from_id,
)
from bench.matrix.compilation import COMPILATIONS, GRAPH_KINDS
from bench.matrix.default_step import DEFAULT
from bench.matrix.step import PHASES, StepDescription
from tests.cases import SERIES, sumnet
from tests.matrix.strategies import CASES, own_cases

ID = "cpu/float32/b2/sgd/default/compile-off/h10/t1"


def test_the_default_case_has_this_id() -> None:
    assert sumnet().id == ID


def test_an_id_shows_every_axis_in_order() -> None:
    case = sumnet(
        device="cuda:1",
        dtype="bfloat16",
        batch=1024,
        optimizer="adam",
        implementation="fused",
        compile="on",
        hidden=256,
        threads=4,
    )
    assert case.id == "cuda:1/bfloat16/b1024/adam/fused/compile-on/h256/t4"
    assert list(case.axes) == list(AXES)
    assert list(case.axes.values()) == [
        "sumnet",
        "cuda:1",
        "bfloat16",
        1024,
        "adam",
        "fused",
        "on",
        256,
        4,
    ]


def test_the_defaults_of_a_case_are_those_of_the_axes() -> None:
    assert sumnet().axes == {name: axis.default for name, axis in AXES.items()}


@pytest.mark.parametrize(
    ("device", "kind"), [("cpu", "cpu"), ("mps", "mps"), ("cuda", "cuda"), ("cuda:12", "cuda")]
)
def test_the_kind_is_the_device_without_its_index(device: str, kind: str) -> None:
    assert sumnet(device=device).kind == kind


@pytest.mark.parametrize("name", COMPILATIONS)
def test_the_compilation_is_the_entry_of_its_name(name: str) -> None:
    assert sumnet(compile=name).compilation is COMPILATIONS[name]


def test_the_series_are_the_three_phases_the_whole_step_and_those_of_host_and_device() -> None:
    assert PHASES == ("forward", "backward", "step")
    assert WHOLE == "train_step"
    assert [DISPATCH, LATENCY, THROUGHPUT] == ["dispatch", "latency", "throughput"]
    assert (*PHASES, WHOLE, DISPATCH, LATENCY, THROUGHPUT) == SERIES


@pytest.mark.parametrize(
    ("case", "phases"),
    [
        (sumnet(), PHASES),
        (sumnet(compile="on", optimizer="adam"), PHASES),
        (sumnet(optimizer="lbfgs"), ()),
        (sumnet(device="cuda", compile="graph"), ()),
    ],
    ids=lambda value: value.id if isinstance(value, Case) else "",
)
def test_phases_are_timed_where_the_step_can_be_taken_apart(
    case: Case, phases: tuple[str, ...]
) -> None:
    assert case.phases == phases
    assert tuple(series for series in case.series if series in PHASES) == phases


@pytest.mark.parametrize(
    ("compilation", "replays"),
    [
        *(("off", False), ("on", False), ("step", False), ("graph", True)),
        *(("on+reduce-overhead", True), ("loss+max-autotune", True)),
    ],
)
def test_graphs_launch_the_kernels_of_some_ways_to_compile_where_a_device_has_graphs(
    compilation: str, replays: bool
) -> None:
    assert sumnet(device="cuda:1", compile=compilation).replays == replays
    assert not sumnet(compile=compilation).replays
    assert not sumnet(device="xpu", compile=compilation).replays


def test_the_subject_marks_steps_on_the_devices_that_have_graphs() -> None:
    assert {*GRAPH_KINDS} == {kind for kind, device in DEVICES.items() if device.graphs}


@pytest.mark.parametrize(("device", "ahead"), [("cpu", 0), ("mps", 3), ("cuda", 3), ("cuda:1", 3)])
def test_host_and_device_have_series_where_the_host_runs_ahead(device: str, ahead: int) -> None:
    assert sumnet(device=device).series == SERIES[: 4 + ahead]


@given(CASES)
def test_the_series_of_any_case_hold_the_whole_step_and_keep_their_order(case: Case) -> None:
    assert WHOLE in case.series
    assert [*case.series] == [series for series in SERIES if series in case.series]


@given(CASES)
def test_an_id_reads_back_as_its_case(case: Case) -> None:
    assert case_from_id(case.id) == case


@given(own_cases())
def test_an_id_of_a_users_step_reads_back_as_its_case(drawn: tuple[StepDescription, Case]) -> None:
    step, case = drawn
    assert case_from_id(case.id, [DEFAULT, step]) == case
    assert case_from_id(case.id, [step]) == case


@given(CASES, own_cases())
def test_an_id_says_which_step_it_is_of(case: Case, drawn: tuple[StepDescription, Case]) -> None:
    step, own = drawn
    assert case_from_id(case.id, [step, DEFAULT]) == case
    assert own.id.startswith(f"{step.name}/")


@given(CASES, CASES)
def test_different_cases_have_different_ids(one: Case, other: Case) -> None:
    assert (one.id == other.id) == (one == other)


@given(CASES)
def test_an_id_can_be_typed_without_quotes(case: Case) -> None:
    assert re.fullmatch(r"[a-z0-9:/+-]+", case.id)


@pytest.mark.parametrize("text", ["", "cpu", ID + "/", "/" + ID, ID + "/x", ID.rpartition("/")[0]])
def test_an_id_of_another_length_is_refused_and_an_example_given(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        case_from_id(text)
    assert str(refusal.value) == (
        f"{text!r} is not a case id: it has {text.count('/') + 1} parts, not 8; "
        f"an id looks like {ID}"
    )


@pytest.mark.parametrize(
    ("part", "wrong", "said"),
    [
        ("cpu", "tpu", "--device: 'tpu' is not a value; allowed: cpu, cuda, cuda:INDEX, mps"),
        ("cpu", "CPU", "--device: 'CPU' is not a value"),
        ("cpu", "", "--device: '' is not a value"),
        ("float32", "float8", "--dtype: 'float8' is not a value; allowed: float32"),
        ("float32", "torch.float32", "--dtype: 'torch.float32' is not a value"),
        ("b2", "2", "'2' should start with 'b'"),
        ("b2", "", "'' should start with 'b'"),
        ("b2", "b", "--batch: '' is not a value; allowed: a whole number from 1 to 4194304"),
        ("b2", "b0", "--batch: '0' is not a value"),
        ("b2", "b02", "--batch: '02' is not a value"),
        ("b2", "bb2", "--batch: 'b2' is not a value"),
        ("b2", "b4194305", "--batch: '4194305' is not a value"),
        ("sgd", "lion", "--optimizer: 'lion' is not a value; allowed: sgd, sgd-momentum"),
        ("default", "slow", "--implementation: 'slow' is not a value; allowed: default"),
        ("compile-off", "off", "'off' should start with 'compile-'"),
        ("compile-off", "compile-maybe", "--compile: 'maybe' is not a value; allowed: off, on"),
        ("compile-off", "compile-on+fast", "--compile: 'on+fast' is not a value"),
        ("compile-off", "compile-on+default", "--compile: 'on+default' is not a value"),
        ("h10", "10", "'10' should start with 'h'"),
        ("h10", "h-10", "--hidden: '-10' is not a value"),
        ("h10", "h4097", "--hidden: '4097' is not a value"),
        ("t1", "h1", "'h1' should start with 't'"),
        ("t1", "t1 ", "--threads: '1 ' is not a value"),
        ("t1", "t1025", "--threads: '1025' is not a value; allowed: a whole number from 1 to 1024"),
    ],
)
def test_a_malformed_id_is_refused_naming_the_part(part: str, wrong: str, said: str) -> None:
    parts = ID.split("/")
    parts[parts.index(part)] = wrong
    text = "/".join(parts)
    with pytest.raises(UsageError) as refusal:
        case_from_id(text)
    assert str(refusal.value).startswith(f"{text!r} is not a case id: {said}")


@given(CASES)
def test_parts_in_another_order_are_no_id(case: Case) -> None:
    with pytest.raises(UsageError, match="is not a case id"):
        case_from_id("/".join(reversed(case.id.split("/"))))
