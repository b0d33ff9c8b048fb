"""The cost model against torch: its own counter of FLOP, and the operands of every operator."""

from collections.abc import Iterator

import pytest
import torch

from bench.devices.cpu import Cpu
from bench.matrix.case import (
    WHOLE,
    Case,
)
from bench.matrix.optimizers import OPTIMIZERS
from bench.matrix.step import PHASES
from bench.protocol.profile import Work
from bench.roofline.costs import STEP_COSTS, as_run, eager, fused, total
from bench.worker.profile.profiler import count_phases, state_elements
from tests.cases import sumnet
from tests.loops import build_loop

TRAINS = [name for name, spec in OPTIMIZERS.items() if spec.dense and not spec.matrices]
WARM = 20
"""Steps after which an optimizer has all its state, and RAdam corrects its variance."""


def paths(optimizer: str) -> Iterator[str]:
    yield "default"
    if OPTIMIZERS[optimizer].torch_class in Cpu.fused:
        yield "fused"


def counted(case: Case) -> tuple[dict[str, Work], int]:
    """What a step was counted to do by phase, and how much state its optimizer keeps."""
    loop = build_loop(
        case.own_values["batch"],
        hidden=case.own_values["hidden"],
        optimizer=case.optimizer,
        implementation=case.implementation,
        precision=case.dtype,
    )
    for _ in range(WARM):
        loop.train_step()
    return count_phases(loop, PHASES if case.phases else (WHOLE,)), state_elements(loop.optimizer)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("hidden", [10, 64, 256])
@pytest.mark.parametrize("batch", [2, 1024])
def test_forward_and_backward_do_what_the_model_says(batch: int, hidden: int, dtype: str) -> None:
    case = sumnet(batch=batch, hidden=hidden, dtype=dtype)
    work, state = counted(case)
    for phase in ("forward", "backward"):
        model = total(eager(case, state)[phase])
        assert model.products == work[phase].flops
        assert model.bytes == pytest.approx(work[phase].bytes, rel=0.2)


COUNTERS = 9 * 4 * 4
"""What ASGD moves of its step size and average's weight, bytes: nine operands for each of four
tensors, of float32 whatever the dtype. At ten units in bfloat16 they are a fifth of its step."""


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("hidden", [10, 64, 256])
@pytest.mark.parametrize(
    ("optimizer", "implementation"), [(name, path) for name in TRAINS for path in paths(name)]
)
def test_step_moves_what_the_model_says(
    optimizer: str, implementation: str, hidden: int, dtype: str
) -> None:
    case = sumnet(dtype=dtype, optimizer=optimizer, implementation=implementation, hidden=hidden)
    work, state = counted(case)
    parts = as_run(case, implementation, state)
    (name, ops) = ("step", parts["step"])
    if not case.phases:
        name, ops = WHOLE, [op for phase in PHASES for op in parts[phase]]
    model = total(ops)
    assert model.products == pytest.approx(work[name].flops)
    unmodelled = COUNTERS if optimizer == "asgd" else 0
    assert model.bytes == pytest.approx(work[name].bytes - unmodelled, rel=0.2)


def test_model_at_ten_units_is_the_one_that_is_written_down() -> None:
    case, parameters = sumnet(batch=1000, optimizer="adam"), 41
    parts, least = eager(case, 2 * parameters), fused(case, 2 * parameters)
    assert total(parts["forward"]).flops == 73 * 1000
    assert total(parts["backward"]).flops == 104 * 1000
    assert total(parts["step"]).flops == pytest.approx(13 * parameters)
    assert total(parts["forward"]).bytes == 4 * (47 * 1000 + parameters)
    assert total(parts["backward"]).bytes == 4 * (78 * 1000 + 50)
    assert [op.bytes for op in least["forward"]] == [4 * (3 * 1000 + 42)]
    assert [op.bytes for op in least["backward"]] == [4 * (3 * 1000 + 82)]
    assert [op.bytes for op in least["step"]] == [4 * 7 * parameters]
    assert [op.bytes for op in fused(sumnet(), 0)["step"]] == [4 * 3 * parameters]


@pytest.mark.parametrize("optimizer", TRAINS)
def test_one_operator_moves_no_more_than_several_and_computes_as_much(optimizer: str) -> None:
    case = sumnet(batch=64, optimizer=optimizer, hidden=64)
    _, state = counted(case)
    parts, least = eager(case, state), fused(case, state)
    for phase in PHASES:
        assert total(least[phase]).bytes <= total(parts[phase]).bytes
        assert total(least[phase]).flops == pytest.approx(total(parts[phase]).flops)


def test_under_autocast_activations_have_the_size_of_the_products() -> None:
    cast, stored = sumnet(batch=1024, dtype="amp-bfloat16"), sumnet(batch=1024)
    assert 2 * total(eager(cast, 0)["forward"]).bytes == total(eager(stored, 0)["forward"]).bytes
    assert eager(cast, 0)["step"] == eager(stored, 0)["step"]


@pytest.mark.parametrize("dtype", ["amp-bfloat16", "amp-float16"])
@pytest.mark.parametrize("batch", [2, 1024])
def test_under_autocast_casts_and_unscaling_are_not_in_the_model(batch: int, dtype: str) -> None:
    """So that it is no more than what is moved, and nearly all of it where rows are many."""
    case = sumnet(dtype=dtype, batch=batch, hidden=256)
    work, state = counted(case)
    for phase, ops in eager(case, state).items():
        model = total(ops)
        assert model.products == work[phase].flops
        assert model.bytes <= work[phase].bytes
        if batch > 2 and phase != "step":
            assert model.bytes == pytest.approx(work[phase].bytes, rel=0.02)


def test_every_optimizer_that_trains_has_its_cost() -> None:
    assert sorted(STEP_COSTS) == sorted(TRAINS)


def test_state_is_counted_without_the_steps_it_counts() -> None:
    loop = build_loop(2, optimizer="adam")
    loop.train_step()
    assert state_elements(loop.optimizer) == 2 * 41
    assert all(torch.is_tensor(entry["step"]) for entry in loop.optimizer.state.values())
