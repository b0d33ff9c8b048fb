"""docs/own-steps.md: its blocks are steps that train, and the first is as short as it says."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from sumnet.steps import Step
from tests.cases import declared

PAGE = Path(__file__).parents[2] / "docs" / "own-steps.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)


class MyNet(nn.Sequential):
    """Any model of images of 32 by 32."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * 32 * 32, width), nn.Linear(width, 10))


@pytest.fixture(params=BLOCKS, ids=lambda block: re.findall(r"def (\w+)\(device", block)[0])
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Step:
    library = ModuleType("mylib")
    vars(library)["MyNet"] = MyNet
    monkeypatch.setitem(sys.modules, "mylib", library)
    namespace: dict[str, Any] = {}
    exec(compile(request.param, str(PAGE), "exec"), namespace)
    declaration = declared(namespace)
    first = {name: axis.values[0] for name, axis in declaration.axes.items()}
    return declaration.build(first, "cpu", torch.float32)


def test_block_is_a_step_that_trains(step: Step) -> None:
    model = step.model or next(part for part in step.state if isinstance(part, nn.Module))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    train(step)
    changed = [not torch.equal(*both) for both in zip(before, model.parameters(), strict=True)]
    assert all(changed)


def train(step: Step) -> None:
    """One step, as the page says that it is taken."""
    if step.run:
        step.run()
    elif step.loss and step.model:
        step.loss().backward()
        torch.optim.SGD(step.model.parameters(), lr=0.1).step()
    returned = None
    for phase in step.phases.values():
        returned = phase(returned) if phase.__code__.co_argcount else phase()


def test_first_block_has_fifteen_lines_at_most() -> None:
    assert len(BLOCKS[0].splitlines()) <= 15
