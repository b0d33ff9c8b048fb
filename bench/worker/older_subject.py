"""A revision of the default step from before steps were described, which has a loop of its own.

So that it can be the base of a comparison. Its loop is timed as it is.
"""

import inspect
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

from ..matrix.case import Case
from ..matrix.step import PHASES
from .loop import Loop


def older_loop(
    train: ModuleType, case: Case, lr: float | None, before_steps: Callable[[], object]
) -> Loop:
    """The loop that a case means there; `train` is that revision's module with `build_loop`."""
    knows = "before_steps" in inspect.signature(train.build_loop).parameters
    hooks: dict[str, Any] = {"before_steps": before_steps} if knows else {}
    built = train.build_loop(
        case.own_values["batch"],
        hidden=case.own_values["hidden"],
        optimizer=case.optimizer,
        implementation=case.implementation,
        lr=lr,
        device=case.device,
        precision=case.dtype,
        compilation=case.compile,
        **hooks,
    )
    if not knows:
        before_steps()
    calls = (lambda _: built.forward(), built.backward, lambda _: built.step())
    step: Any = SimpleNamespace(
        model=built.model,
        loss=built.forward,
        optimizer=None,
        phases={},
        run=None,
        state=(),
        samples=case.own_values["batch"],
        lr_scale=1.0,
    )
    return Loop(
        step,
        dict(zip(PHASES, calls, strict=True)),
        built.train_step,
        built.optimizer,
        built.scaler,
        getattr(built, "trained", 0),
    )
