"""A revision of the default step from before steps were described: it has a loop of its own."""

import shutil
from pathlib import Path

from bench.protocol.subject import ROOT

TRAIN = """
from typing import Any, NamedTuple

import torch

from .data import random_batch
from .model import SumNet, initial_net


class TrainingLoop(NamedTuple):
    model: SumNet
    optimizer: torch.optim.Optimizer
    forward: Any
    backward: Any
    step: Any
    train_step: Any
    scaler: None = None


def build_loop(
    batch,
    *,
    hidden,
    optimizer="sgd",
    implementation="default",
    lr=None,
    device="cpu",
    precision="float32",
    compilation="off",
    before_steps=lambda: None,
):
    assert (optimizer, implementation, compilation) == ("sgd", "default", "off")
    dtype = getattr(torch, precision)
    net = initial_net(hidden).to(device, dtype)
    pairs, sums = random_batch(batch, device=device, dtype=dtype)
    sgd = torch.optim.SGD(net.parameters(), lr=0.01 if lr is None else lr)
    criterion = torch.nn.MSELoss()

    def forward():
        return criterion(net(pairs), sums)

    def backward(loss):
        loss.backward()

    def step():
        sgd.step()
        sgd.zero_grad(set_to_none=True)

    def train_step():
        backward(forward())
        step()

    before_steps()
    return TrainingLoop(net, sgd, forward, backward, step, train_step)
"""
HOOK = ("    before_steps=lambda: None,\n", "    before_steps()\n")
"""What the revisions before that lack."""


def older_subject(folder: Path, *, hook: bool = True) -> Path:
    """Make such a revision in a folder; of one that is older still without `hook`."""
    package = folder / "sumnet"
    package.mkdir(parents=True)
    for name in ("data.py", "model.py"):
        shutil.copy(ROOT / "sumnet" / name, package)
    train = TRAIN
    for line in () if hook else HOOK:
        assert line in train
        train = train.replace(line, "")
    (package / "__init__.py").touch()
    (package / "train.py").write_text(train)
    return folder
