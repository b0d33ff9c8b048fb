"""How a training step is described: `Step`, and the decorator that declares one.

Importing this does not import torch, so that a tool may read declarations without waiting for it.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Value = str | int | float | bool

SUITES = ("workload", "device", "dtype", "optimizer", "implementation", "compile", "threads")
"""The axes that the suite has for every step, and the name of the step."""
GIVEN = ("device", "dtype")
"""Those of them that a factory may take."""
SERIES = ("train_step", "dispatch", "latency", "throughput")
"""What the suite times beside a step's phases."""
NAME = re.compile(r"[a-z][a-z0-9_]*", re.IGNORECASE)
LARGEST = {int: 2**53, float: 1e18, bool: 1}
"""Up to here files keep numbers as they are."""
TEXT = re.compile(r"[A-Za-z0-9_.+=-]+")
DECLARED = "__training_step__"


@dataclass(frozen=True)
class Axis:
    """An axis of a step's own."""

    values: Sequence[Value]
    """Those it is measured at unless others are asked for; the first is the default."""
    help: str = ""
    short: str = ""
    """What stands before a number in a case's id; the axis's name unless given."""
    most: int | None = None
    """The largest whole number that may be asked for."""


class Step:
    """One training step, built and ready to be run. It takes one of four forms.

    `Step(model, loss=f)`: the suite builds the optimizer, calls `f` for the loss, and does the
    rest: backward, the optimizer's step, the clearing of gradients.
    `Step(model, loss=f, optimizer=o)`: likewise, with the step's own optimizer.
    `Step(phases={"load": f, ...}, state=[...])`: the step's own phases, called in this order. One
    that takes an argument is given what the phase before it returned.
    `Step(run=f, state=[...])`: `f` is the whole step.

    `samples` is how many examples a step trains on. `state` names what else training changes, so
    that it can be put back between blocks: modules, optimizers and whatever else has a state_dict
    and a load_state_dict, and tensors. `lr_scale` multiplies the suite's learning rates, but for
    optimizers that scale their updates themselves.
    Raises TypeError for any other combination.
    """

    def __init__(
        self,
        model: torch.nn.Module | None = None,
        *,
        loss: Callable[[], torch.Tensor] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        phases: Mapping[str, Callable[..., Any]] | None = None,
        run: Callable[[], object] | None = None,
        state: Sequence[Any] = (),
        samples: int | None = None,
        lr_scale: float = 1.0,
    ) -> None:
        for name, call in {"loss": loss, "run": run, **(phases or {})}.items():
            if call is not None and not callable(call):
                raise TypeError(f"{name}= is a function to call, not {type(call).__name__}")
        if not isinstance(state, list | tuple):
            raise TypeError(
                f"state= is a list of what training changes, not {type(state).__name__}"
            )
        forms = {"loss": loss, "phases": phases, "run": run}
        forms = {name: given for name, given in forms.items() if given is not None}
        if len(forms) != 1:
            given = " and ".join(f"{form}=" for form in forms) or "none of them"
            raise TypeError(f"a Step has one of loss=, phases= and run=, and this has {given}")
        if loss is not None and model is None:
            raise TypeError("Step(loss=...) needs the model that the loss is of, as first argument")
        if optimizer is not None and loss is None:
            raise TypeError(
                "Step(optimizer=...) goes with loss=; name it in state= beside the rest"
            )
        if phases is not None:
            wrong = [name for name in phases if not NAME.fullmatch(name) or name in SERIES]
            if wrong or not phases:
                raise TypeError(f"phases= names each phase by a word of its own, not {wrong or {}}")
        if samples is not None and (type(samples) is not int or samples < 1):
            raise TypeError(f"samples= is how many examples a step trains on, not {samples!r}")
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.phases = dict(phases or {})
        self.run = run
        self.state = tuple(state)
        self.samples = samples
        self.lr_scale = lr_scale


@dataclass(frozen=True)
class Declaration:
    """A step as `training_step` declares it."""

    name: str
    factory: Callable[..., Step]
    axes: Mapping[str, Axis]
    """Its own axes by name, in order."""
    takes: tuple[str, ...]
    """Those of GIVEN that the factory takes."""
    summary: str = ""
    """The first line of the factory's docstring."""

    def build(self, own: Mapping[str, Value], device: str, dtype: torch.dtype) -> Step:
        """The step at these values of its own axes. Raises TypeError where it makes no Step."""
        given = {"device": device, "dtype": dtype}
        step = self.factory(**own, **{name: given[name] for name in self.takes})
        if not isinstance(step, Step):
            raise TypeError(f"{self.name} returns {type(step).__name__}: return a Step")
        return step


def training_step(
    *wrong: object,
    **axes: Sequence[Value] | Axis,
) -> Callable[[Callable[..., Step]], Callable[..., Step]]:
    """Declare that a function builds a training step.

    The function takes `device`, perhaps `dtype` (a torch.dtype: of parameters and data), and every
    axis named here. An axis is a list of values of one type (whole numbers, numbers, words or
    booleans), or an Axis, which says more of it. Raises TypeError, naming what is wrong.
    """
    if wrong:
        raise TypeError("write @training_step() with brackets, and axes by their names in them")
    values = {name: _axis(name, given) for name, given in axes.items()}

    def declare(factory: Callable[..., Step]) -> Callable[..., Step]:
        if not inspect.isfunction(factory):
            raise TypeError(f"@training_step() goes before a function, not {factory!r}")
        name = factory.__name__
        if not NAME.fullmatch(name):
            raise TypeError(f"{name} cannot name a step: begin it with a letter")
        parameters = inspect.signature(factory).parameters
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if lacking := [axis for axis in values if axis not in parameters and not open_ended]:
            raise TypeError(f"{name} does not take {', '.join(lacking)}, which it has as axes")
        unknown = [
            p.name
            for p in parameters.values()
            if p.default is p.empty
            and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
            and p.name not in (*GIVEN, *values)
        ]
        if unknown:
            raise TypeError(
                f"{name} takes {', '.join(unknown)}, which nothing gives: name it as an axis in "
                "training_step(), or give it a default"
            )
        summary = (inspect.getdoc(factory) or "").partition("\n")[0]
        takes = tuple(axis for axis in GIVEN if axis in parameters or open_ended)
        vars(factory)[DECLARED] = Declaration(name, factory, values, takes, summary)
        return factory

    return declare


def _axis(name: str, given: Sequence[Value] | Axis) -> Axis:
    if name in SUITES:
        raise TypeError(
            f"{name} is an axis that the suite has for every step: name yours otherwise"
        )
    if not NAME.fullmatch(name):
        raise TypeError(f"{name!r} cannot name an axis: use letters, digits and _")
    axis = given if isinstance(given, Axis) else Axis(given)
    values = axis.values
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise TypeError(f"{name}={values!r}: an axis is a list of values")
    kinds = {type(value) for value in values}
    if not kinds <= {str, int, float, bool} or (len(kinds) > 1 and kinds != {int, float}):
        raise TypeError(f"{name}={values!r}: an axis has values of one type, numbers or words")
    if wrong := [value for value in values if not TEXT.fullmatch(str(value))]:
        raise TypeError(f"{name}={wrong[0]!r}: letters, digits and _ . + = - make a value")
    kind = float if kinds == {int, float} else kinds.pop()
    if wrong := [v for v in values if isinstance(v, float) and not math.isfinite(v)]:
        raise TypeError(f"{name}={wrong[0]!r}: a value is a finite number")
    if wrong := [v for v in values if not isinstance(v, str) and abs(v) > LARGEST[type(v)]]:
        raise TypeError(f"{name}={wrong[0]!r}: a value is at most {LARGEST[type(wrong[0])]}")
    if axis.most is not None and not all(type(v) is int and 1 <= v <= axis.most for v in values):
        raise TypeError(f"{name}={values!r}: with most={axis.most}, values are from 1 to that")
    if axis.short and not NAME.fullmatch(axis.short):
        raise TypeError(f"{name}: short={axis.short!r} is not letters, digits and _")
    return replace(axis, values=tuple(dict.fromkeys(map(kind, values))), short=axis.short or name)
