"""Presets: what they select, and how axes narrow or widen a selection."""

import itertools

import msgspec
import pytest

from bench.devices import DEVICES
from bench.devices.facts import DeviceFacts, Facts
from bench.errors import UsageError
from bench.matrix.axes import AXES
from bench.matrix.case import Case, case_from_id
from bench.matrix.compilation import COMPILATIONS
from bench.matrix.optimizers import IMPLEMENTATIONS, OPTIMIZERS
from bench.matrix.precision import PRECISIONS
from bench.matrix.presets import (
    BATCHES,
    DEFAULT_PRESET,
    LARGE,
    PRESETS,
    compile_timed,
)
from bench.matrix.presets import select as select_values
from bench.matrix.support import unsupported_reason
from sumnet.data import TUTORIAL_PAIRS
from tests.cases import sumnet

PLAIN = Facts(
    torch="2.13.0",
    cores=2,
    isolates_compiled=True,
    devices={
        **{kind: (DeviceFacts(unavailable=f"no {kind}"),) for kind in DEVICES},
        "cpu": (DeviceFacts(memory_bytes=8 * 2**30),),
    },
)
TABLES = {
    "device": tuple(DEVICES),
    "dtype": PRECISIONS,
    "batch": (*BATCHES, *LARGE),
    "optimizer": OPTIMIZERS,
    "implementation": IMPLEMENTATIONS,
    "compile": COMPILATIONS,
}

every_preset = pytest.mark.parametrize("name", PRESETS)


def select(preset: str, chosen: dict[str, str]) -> list[Case]:
    """The selection, of values as they are typed."""
    return select_values(preset, {name: AXES[name].values(text) for name, text in chosen.items()})


def test_seed_is_exactly_the_tutorials_case() -> None:
    expected = sumnet(
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


@pytest.mark.parametrize("name", ["seed", "quick", "standard"])
def test_all_of_an_everyday_preset_runs_on_a_plain_machine(name: str) -> None:
    assert [case.id for case in select(name, {}) if unsupported_reason(case, PLAIN)] == []


def test_most_of_full_runs_on_a_plain_machine() -> None:
    cases = select("full", {})
    assert sum(unsupported_reason(case, PLAIN) is None for case in cases) > len(cases) / 2


def test_every_preset_holds_the_tutorials_case() -> None:
    for name in PRESETS:
        assert sumnet() in select(name, {}), name


def test_the_default_preset_exists() -> None:
    assert DEFAULT_PRESET in PRESETS


@pytest.mark.parametrize("axis", TABLES)
def test_full_meets_every_value_of_the_axis(axis: str) -> None:
    assert {case.axes[axis] for case in select("full", {})} == {*TABLES[axis]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("optimizer", "implementation"),
        ("optimizer", "compile"),
        ("dtype", "compile"),
        ("device", "batch"),
    ],
)
def test_full_meets_every_pair_of_values_of_two_axes(one: str, other: str) -> None:
    met = {(case.axes[one], case.axes[other]) for case in select("full", {})}
    assert {*itertools.product(TABLES[one], TABLES[other])} <= met


@every_preset
@pytest.mark.parametrize("devices", ["cuda", "cuda:1", "mps", "cpu,cuda"])
def test_grids_for_accelerators_are_added_where_one_is_named(name: str, devices: str) -> None:
    def elsewhere(cases: list[Case]) -> set[Case]:
        return {msgspec.structs.replace(case, device="") for case in cases}

    more = elsewhere(select(name, {"device": devices})) - elsewhere(select(name, {"device": "cpu"}))
    assert bool(more) == bool(PRESETS[name].accelerated) == (name == "standard")
    assert elsewhere(select(name, {})) == elsewhere(select(name, {"device": "cpu"}))


def test_an_accelerator_is_also_given_what_only_it_can_do_and_batches_as_large_as_it_is() -> None:
    cases = select("standard", {"device": "cuda"})
    assert {case.device for case in cases} == {"cuda"}
    for batch in LARGE:
        assert sumnet(device="cuda", batch=batch, optimizer="adam", dtype="bfloat16") in cases
    assert sumnet(device="cuda", batch=2**20, hidden=256, dtype="tf32") in cases
    captured = sumnet(device="cuda", optimizer="adam", implementation="capturable", compile="graph")
    assert captured in cases


def test_compile_times_of_full_are_of_its_common_compiled_cases() -> None:
    timed = compile_timed("full", select("full", {}))
    assert {*timed} == {
        sumnet(batch=batch, optimizer=optimizer, compile=scope).id
        for batch, optimizer, scope in (
            (1024, "sgd", "on"),
            (1024, "sgd", "loss"),
            (1024, "sgd", "step"),
            (1024, "adam", "on"),
            (16384, "adam", "on"),
        )
    }
    assert len(timed) == 5


@every_preset
@pytest.mark.parametrize(
    "chosen", [{}, {"compile": "off"}, {"batch": "1024"}, {"optimizer": "adam", "compile": "on"}]
)
def test_compile_times_are_of_selected_cases_that_are_compiled(
    name: str, chosen: dict[str, str]
) -> None:
    cases = select(name, chosen)
    timed = compile_timed(name, cases)
    assert {*timed} <= {case.id for case in cases if case.compilation.compiles}
    assert len(timed) == len({*timed})


def test_compile_times_are_measured_on_an_accelerator_too() -> None:
    on_cpu = compile_timed("full", select("full", {"device": "cpu"}))
    on_cuda = compile_timed("full", select("full", {"device": "cuda"}))
    assert on_cuda == [text.replace("cpu/", "cuda/") for text in on_cpu]


@pytest.mark.parametrize(
    ("axis", "text", "values"),
    [
        ("batch", "7", {7}),
        ("batch", "7,9", {7, 9}),
        ("dtype", "float64", {"float64"}),
        ("optimizer", "adamw, sgd", {"adamw", "sgd"}),
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
        sumnet(dtype=dtype, batch=batch) for dtype in ("float64", "float32") for batch in (3, 5)
    ]


@every_preset
def test_duplicates_vanish(name: str) -> None:
    defaults = {axis.name: str(axis.default) for axis in AXES.values()}
    cases = select(name, defaults | {"batch": "4,4,8,4"})
    assert cases == [sumnet(batch=4), sumnet(batch=8)]


def test_a_case_two_grids_share_comes_once_at_its_first_place() -> None:
    adam = sumnet(batch=1024, optimizer="adam")
    quick = select("quick", {"dtype": "float32"})
    assert quick.count(adam) == 1
    assert quick.index(adam) < quick.index(sumnet(optimizer="adam", implementation="fused"))


@pytest.mark.parametrize(
    ("axis", "text", "wrong"),
    [
        ("batch", "2,zero", "zero"),
        ("optimizer", "sgd,lion", "lion"),
        ("implementation", "single", "single"),
        ("dtype", "float8", "float8"),
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
