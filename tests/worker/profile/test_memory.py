"""The peak of memory on a CPU, counted from what tensors ask for."""

from collections.abc import Callable

import pytest
import torch

from bench.devices.cpu import Cpu
from bench.worker.loop import Loop
from bench.worker.profile.memory import allocation_peak
from sumnet.steps import Step
from tests.loops import build_loop

KIB = 2**10


def peak_of(run: Callable[[], object], *state: object) -> int:
    step = Step(run=run, state=state)
    return allocation_peak(Loop(step, {}, run), Cpu(), lambda: None)


def floats(kib: int) -> torch.Tensor:
    return torch.empty(kib * KIB // 4)


def test_it_is_the_most_that_is_held_at_once() -> None:
    def run() -> None:
        first = floats(64)
        second = floats(32)
        del first
        floats(16)
        del second

    assert peak_of(run) == 96 * KIB


def test_what_a_step_finds_held_is_none_of_it() -> None:
    held = floats(1024)
    assert peak_of(lambda: floats(8).add_(held[0])) == 8 * KIB


def test_what_a_step_puts_in_place_of_what_it_found_counts() -> None:
    """As gradients that are cleared only before the next backward pass."""
    held = [floats(64)]

    def run() -> None:
        held.clear()
        held.append(floats(64))

    assert peak_of(run) == 64 * KIB


def test_an_optimizers_state_counts_and_each_tensor_once() -> None:
    weight = torch.nn.Parameter(floats(64))
    optimizer = torch.optim.SGD([weight], momentum=0.9)
    weight.grad = floats(64)
    optimizer.step()
    optimizer.zero_grad()
    (state,) = optimizer.state.values()
    state["again"] = state["momentum_buffer"]
    assert peak_of(lambda: floats(8), optimizer) == (64 + 8) * KIB


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lbfgs"])
def test_it_is_the_same_twice_but_for_scalars(optimizer: str) -> None:
    peaks = []
    for _ in range(2):
        loop = build_loop(batch=1024, optimizer=optimizer)
        loop.train_step()
        peaks.append(allocation_peak(loop, Cpu(), lambda: None))
    # The profiler does not always see a scalar of LBFGS given back before the next is made.
    assert peaks[0] == pytest.approx(peaks[1], abs=256)
    assert min(peaks) > 3 * 1024 * 10 * 4


def test_steps_begin_with_what_is_put_back_and_leave_that() -> None:
    log: list[str] = []
    step = Step(run=lambda: log.append("step"))
    allocation_peak(Loop(step, {}, lambda: log.append("step")), Cpu(), lambda: log.append("back"))
    assert (log[0], log[-1]) == ("back", "back")
    assert log.count("back") == 2
