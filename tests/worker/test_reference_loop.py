"""The reference loops: the same work every time, and which cases read which."""

import inspect

import pytest
import torch

from bench.devices import device_named
from bench.protocol.reference_loops import DISPATCH, LARGE_BYTES, MEMORY, reference_loops_for
from bench.worker.reference_loop import ReferenceLoop, build_reference_loops, read_loop


class ScriptedClock:
    def __init__(self, durations: list[int]) -> None:
        self._durations = iter(durations)
        self._now = 0
        self._marks: list[int] = []

    def mark(self) -> None:
        self._marks.append(self._now)
        self._now += next(self._durations, 0)

    def read(self) -> list[int]:
        return self._marks


def parameters_of(reference_loop: ReferenceLoop) -> list[torch.Tensor]:
    parameters = inspect.getclosurevars(reference_loop.loop).nonlocals["parameters"]
    assert isinstance(parameters, list)
    return parameters


@pytest.mark.parametrize("name", [DISPATCH, MEMORY])
def test_the_work_never_changes_however_often_it_is_done(name: str) -> None:
    reference_loop = build_reference_loops()[name]
    before = [parameter.detach().clone() for parameter in parameters_of(reference_loop)]
    for _ in range(100):
        reference_loop.loop()
    after = parameters_of(reference_loop)
    assert all(torch.equal(was, now) for was, now in zip(before, after, strict=True))
    assert all(parameter.grad is None for parameter in after), "no gradient adds up"


@pytest.mark.parametrize("name", [DISPATCH, MEMORY])
def test_the_work_is_that_of_a_training_step(name: str) -> None:
    """Every parameter gets a gradient that is not all zeros, in float32 on the CPU."""
    reference_loop = build_reference_loops()[name]
    gradients: list[torch.Tensor] = []
    for parameter in parameters_of(reference_loop):
        parameter.register_hook(lambda gradient: gradients.append(gradient.clone()))  # type: ignore[no-untyped-call]
    reference_loop.loop()
    assert len(gradients) == 3
    for gradient in gradients:
        assert gradient.any()
        assert (gradient.dtype, gradient.device.type) == (torch.float32, "cpu")


def test_two_builds_do_the_same_work() -> None:
    for name in (DISPATCH, MEMORY):
        one, other = (parameters_of(build_reference_loops()[name]) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        assert all(a is not b for a, b in zip(one, other, strict=True))


def test_the_memory_loop_moves_more_than_a_large_cases_activations() -> None:
    rows = {
        name: inspect.getclosurevars(reference_loop.loop).nonlocals["pairs"].shape[0]
        for name, reference_loop in build_reference_loops().items()
    }
    hidden, item = 10, 4
    assert rows[MEMORY] * hidden * item > LARGE_BYTES > rows[DISPATCH] * hidden * item


@pytest.mark.parametrize("activation_bytes", [80, LARGE_BYTES])
def test_small_cases_read_the_one_bound_by_dispatch(activation_bytes: int) -> None:
    assert reference_loops_for(activation_bytes) == (DISPATCH,)


@pytest.mark.parametrize("activation_bytes", [LARGE_BYTES + 1, 2**40])
def test_large_cases_read_both(activation_bytes: int) -> None:
    assert reference_loops_for(activation_bytes) == (DISPATCH, MEMORY)


def test_every_reference_loop_of_a_case_is_built() -> None:
    assert set(reference_loops_for(2**40)) == set(build_reference_loops())


@pytest.mark.parametrize(
    ("durations", "reading"),
    [
        ([999, 40, 30, 20, 10], 20),
        ([0, 10, 20, 30, 40], 20),
        ([5, 7, 7, 7, 7], 7),
        ([0, 10, 9999, 11, 9999], 11),
    ],
)
def test_a_reading_is_the_lower_quartile_of_its_calls_but_the_first(
    durations: list[int], reading: int
) -> None:
    calls = 0

    def loop() -> None:
        nonlocal calls
        calls += 1

    assert read_loop(ReferenceLoop(loop, settling=3, calls=4), ScriptedClock(durations)) == reading
    assert calls == 3 + 5


def test_a_reading_of_each_loop_is_a_time() -> None:
    clock = device_named("cpu").clock()
    for reference_loop in build_reference_loops().values():
        assert reference_loop.calls >= 4, "else the lower quartile is the minimum"
        assert read_loop(reference_loop, clock) > 0
