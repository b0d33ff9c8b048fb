"""A resident case: where every block of it starts, and what it says of itself."""

import dataclasses
import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bench.matrix.case import PHASES, WHOLE, Case
from bench.measure.metronome import DISPATCH, LARGE_BYTES, MEMORY
from bench.measure.protocol import PHASES_KIND, WHOLE_KIND
from bench.measure.resident import WARMUP_WINDOW, Resident
from bench.measure.verify import STEPS, InvalidCase
from sumnet.optimizers import OPTIMIZERS
from sumnet.train import TrainingLoop, build_loop

COMPILERS = (os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++"),)


def state(loop: TrainingLoop) -> list[torch.Tensor]:
    """Copies of every tensor that training changes, and of the gradients there are."""
    tensors: list[torch.Tensor] = [*loop.model.parameters()]
    for parameter in loop.model.parameters():
        entry = loop.optimizer.state[parameter]
        tensors += [entry[name] for name in sorted(entry) if torch.is_tensor(entry[name])]
        tensors += [] if parameter.grad is None else [parameter.grad]
    return [tensor.detach().clone() for tensor in tensors]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def loop_of(resident: Resident) -> TrainingLoop:
    return resident._loop


EVERY_IMPLEMENTATION = [
    (name, implementation)
    for name, spec in OPTIMIZERS.items()
    for implementation in spec.implementations
]


@pytest.mark.parametrize(("optimizer", "implementation"), EVERY_IMPLEMENTATION)
def test_every_block_starts_where_verification_left_the_training(
    optimizer: str, implementation: str
) -> None:
    resident = Resident(Case(optimizer=optimizer, implementation=implementation))
    verified = build_loop(optimizer=optimizer, implementation=implementation)
    for _ in range(STEPS):
        verified.train_step()
    for kind in (PHASES_KIND, WHOLE_KIND, PHASES_KIND):
        resident.restore()
        assert same(state(loop_of(resident)), state(verified)), "bit by bit"
        resident.time(kind, 8)
        assert not same(state(loop_of(resident)), state(verified))


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adams_step_counters_are_put_back_too(optimizer: str) -> None:
    resident = Resident(Case(optimizer=optimizer))
    resident.time(PHASES_KIND, 8)
    resident.restore()
    counters = [entry["step"].item() for entry in loop_of(resident).optimizer.state.values()]
    assert counters == [STEPS] * 4
    resident.time(WHOLE_KIND, 8)
    counters = [entry["step"].item() for entry in loop_of(resident).optimizer.state.values()]
    assert counters == [STEPS + 9] * 4


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_two_blocks_time_the_same_numbers(dtype: str) -> None:
    resident = Resident(Case(dtype=dtype, optimizer="sgd-momentum", batch=64))
    ends = []
    for _ in range(2):
        resident.restore()
        resident.time(WHOLE_KIND, 12)
        ends.append(state(loop_of(resident)))
    assert same(*ends)


def test_the_loop_is_built_as_the_case_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def recording(batch: int, **options: Any) -> TrainingLoop:
        asked.append((batch, options))
        return build_loop(batch, **options)

    monkeypatch.setattr("bench.measure.resident.build_loop", recording)
    Resident(Case(dtype="float64", batch=5, optimizer="adam", implementation="fused", hidden=7))
    assert asked == [
        (
            5,
            {
                "hidden": 7,
                "optimizer": "adam",
                "implementation": "fused",
                "lr": 0.01,
                "device": "cpu",
                "dtype": torch.float64,
                "compiled": False,
            },
        )
    ]


def test_a_block_holds_the_series_of_its_kind() -> None:
    resident = Resident(Case())
    phases, whole = resident.time(PHASES_KIND, 9), resident.time(WHOLE_KIND, 11)
    assert {series: len(values) for series, values in phases.items()} == dict.fromkeys(PHASES, 9)
    assert {series: len(values) for series, values in whole.items()} == {WHOLE: 11}


def test_a_resident_case_says_how_it_was_prepared() -> None:
    case = Case(batch=3)
    prepared = Resident(case).prepared()
    assert prepared.case == case.id
    assert prepared.step_ns > 0
    assert prepared.warmup_steps >= 2 * (WARMUP_WINDOW + 1), "one window to compare with another"
    assert prepared.warmup_steps % (WARMUP_WINDOW + 1) == 0
    assert 0 < prepared.loss_ratio < 0.9
    assert prepared.graphs == 0
    assert prepared.metronomes == (DISPATCH,)


def test_the_metronomes_of_a_case_follow_from_its_activations() -> None:
    rows = LARGE_BYTES // (4 * 10)
    assert Resident(Case(batch=rows)).metronomes == (DISPATCH,)
    assert Resident(Case(batch=rows + 1)).metronomes == (DISPATCH, MEMORY)
    assert Resident(Case(batch=rows // 8, hidden=100)).metronomes == (DISPATCH, MEMORY)


def test_warming_up_goes_on_as_long_as_steps_get_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    medians = iter([1000, 900, 800, 700, 690, 695, 100])
    monkeypatch.setattr(
        "bench.measure.resident.time_steps",
        lambda loop, clock, samples: {WHOLE: [next(medians)] * samples},
    )
    prepared = Resident(Case()).prepared()
    assert prepared.step_ns == 690, "twice it fell by less than 3 % of 700"
    assert prepared.warmup_steps == 6 * (WARMUP_WINDOW + 1)


def test_warming_up_ends_after_its_time_though_steps_get_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    medians = iter([10**9 // 2**n for n in range(1, 30)])
    monkeypatch.setattr(
        "bench.measure.resident.time_steps",
        lambda loop, clock, samples: {WHOLE: [next(medians)] * samples},
    )
    assert Resident(Case()).prepared().warmup_steps == WARMUP_WINDOW + 1


def test_a_case_that_does_not_learn_is_not_resident(monkeypatch: pytest.MonkeyPatch) -> None:
    def idle(*arguments: Any, **options: Any) -> TrainingLoop:
        return dataclasses.replace(build_loop(*arguments, **options), step=lambda: None)

    monkeypatch.setattr("bench.measure.resident.build_loop", idle)
    with pytest.raises(InvalidCase, match="the loss does not fall"):
        Resident(Case())


def test_a_compiled_case_that_captured_nothing_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    def eager(*arguments: Any, compiled: bool, **options: Any) -> TrainingLoop:
        return build_loop(*arguments, **options)

    monkeypatch.setattr("bench.measure.resident.build_loop", eager)
    with pytest.raises(InvalidCase) as invalid:
        Resident(Case(compile="on"))
    assert str(invalid.value) == "torch.compile captured nothing of the loss"


@pytest.fixture(scope="module")
def compiled() -> Iterator[Resident]:
    yield Resident(Case(compile="on"))
    torch._dynamo.reset()


@pytest.mark.skipif(
    not any(compiler and shutil.which(compiler) for compiler in COMPILERS),
    reason="torch.compile needs a C++ compiler: neither $CXX nor the default was found",
)
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")
def test_a_compiled_case_captures_its_loss_and_its_step_and_starts_every_block_alike(
    compiled: Resident,
) -> None:
    prepared = compiled.prepared()
    assert prepared.graphs >= 2
    assert prepared.loss_ratio == pytest.approx(Resident(Case()).prepared().loss_ratio, rel=0.01)
    compiled.restore()
    before = state(loop_of(compiled))
    compiled.time(PHASES_KIND, 8)
    assert not same(state(loop_of(compiled)), before)
    compiled.restore()
    assert same(state(loop_of(compiled)), before)
    assert compiled.prepared().graphs == prepared.graphs
