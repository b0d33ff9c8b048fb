"""A revision from before steps were described: the base of a comparison may be one."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.protocol.subject import subject_hash
from bench.worker.steps import Steps
from tests.cases import sumnet
from tests.loops import build_loop, forward, update, weights
from tests.older import older_subject

both = pytest.mark.parametrize("hook", [True, False], ids=["with hook", "older still"])


@pytest.fixture(autouse=True)
def modules_as_they_were() -> Iterator[None]:
    """A worker loads but one revision of the package."""
    ours = {name: m for name, m in sys.modules.items() if name.split(".")[0] == "sumnet"}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "sumnet"]:
        del sys.modules[name]
    sys.modules.update(ours)


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_its_loop_trains_as_the_step_of_today(tmp_path: Path, hook: bool, dtype: str) -> None:
    today = build_loop(5, hidden=7, precision=dtype)
    case = sumnet(batch=5, hidden=7, dtype=dtype)
    loop = Steps(older_subject(tmp_path, hook=hook), "").loop(case)
    assert tuple(loop.phases) == case.phases
    assert (loop.trained, loop.scaler, loop.step.samples) == (0, None, 5)
    assert torch.equal(forward(loop), forward(today))
    for _ in range(3):
        loop.train_step()
        today.train_step()
    loop.backward()
    update(loop)
    today.train_step()
    assert all(map(torch.equal, weights(loop), weights(today)))


@both
def test_what_comes_before_steps_is_called_once_and_before_any(tmp_path: Path, hook: bool) -> None:
    steps, called = Steps(older_subject(tmp_path, hook=hook), ""), []
    loop = steps.loop(sumnet(), before_steps=lambda: called.append(torch.get_num_threads()))
    assert len(called) == 1
    loop.train_step()
    assert len(called) == 1


def test_its_rate_is_the_one_that_is_given(tmp_path: Path) -> None:
    loop = Steps(older_subject(tmp_path), "").loop(sumnet(), lr=0.25)
    assert loop.optimizer is not None
    assert loop.optimizer.defaults["lr"] == 0.25


def test_its_hash_is_of_its_package(tmp_path: Path) -> None:
    folder = older_subject(tmp_path)
    assert Steps(folder, "").hash == subject_hash(folder / "sumnet")
