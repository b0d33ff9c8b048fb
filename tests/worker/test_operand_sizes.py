"""Work by the size of operands, in phases of any name."""

import pytest
import torch

from bench.matrix.case import WHOLE
from bench.protocol.profile import Moved
from bench.worker.dispatch_trace import count_work
from bench.worker.loop import Loop, loop_over
from bench.worker.profile.profiler import count_phases
from sumnet.steps import Step
from tests.cases import sumnet

SMALL, LARGE = torch.ones(10), torch.ones(1000)


def test_operators_are_gathered_by_the_power_of_two_below_their_bytes() -> None:
    def call() -> None:
        SMALL + 1.0  # 80 bytes
        SMALL + SMALL.clone()  # 80, and 120
        LARGE * 2.0  # 8000
        SMALL.view(2, 5)

    work = count_work(call)[1]
    assert work.moved == (Moved(64, 3, 280), Moved(4096, 1, 8000))
    assert work.bytes == 280 + 8000


def test_what_moves_nothing_has_no_size() -> None:
    assert count_work(lambda: SMALL.view(2, 5))[1].moved == ()


def test_every_phase_of_a_step_is_counted_by_its_own_name() -> None:
    weight = torch.nn.Parameter(torch.ones(8, 8))
    phases = {
        "load": lambda: torch.ones(4, 8),
        "forward": lambda rows: (rows @ weight).sum(),
        "backward": lambda loss: loss.backward(),
        "clear": lambda: setattr(weight, "grad", None),
    }
    step = Step(phases=phases, state=[weight])
    loop = loop_over(step, sumnet())
    works = count_phases(loop, tuple(phases))
    assert list(works) == list(phases)
    assert works["forward"].flops == 2 * 4 * 8 * 8
    assert works["clear"] == count_work(lambda: None)[1]


@pytest.mark.parametrize("trained", [0, 3])
def test_a_whole_step_is_counted_whole_even_where_a_graph_replays_it(trained: int) -> None:
    """A replay runs no operators: its phases do, for once."""
    calls = {"multiply": lambda _: LARGE * 2.0, "add": lambda row: row + 1.0}

    def train_step() -> None:
        if not trained:
            calls["add"](calls["multiply"](None))

    loop = Loop(Step(run=train_step), calls, train_step, trained=trained)
    works = count_phases(loop, (WHOLE,))
    assert {name: work.moved for name, work in works.items()} == {WHOLE: (Moved(4096, 2, 16_000),)}
