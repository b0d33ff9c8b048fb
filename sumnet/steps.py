"""How a training step is described: `Step`, and the decorator that declares one.

Importing this does not import torch, so that a tool may read declarations without waiting for it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Value = str | int | float | bool

SUITES = ("step", "device", "dtype", "optimizer", "implementation", "compile", "threads")
"""The axes that the suite has for every step, and the name of the step."""
GIVEN = ("device", "dtype")
"""Those of them that a factory may take."""
NAME = re.compile(r"[a-z][a-z0-9_]*", re.IGNORECASE)
TEXT = re.compile(r"[A-Za-z0-9_.+=-]+")
DECLARED = "__training_step__"


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
    and a load_state_dict, and tensors. `lr_scale` multiplies the suite's learning rates.
    `reference` knows what the suite could only measure of the step; see `Reference`.
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
        forms = [form for form in ("loss", "phases", "run") if locals()[form] is not None]
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
            wrong = [name for name in phases if not NAME.fullmatch(name) or name == "train_step"]
            if wrong or not phases:
                raise TypeError(f"phases= names each phase by a word of its own, not {wrong or {}}")
        if samples is not None and (isinstance(samples, bool) or samples < 1):
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
    axes: Mapping[str, tuple[Value, ...]]
    """Its own axes, in order, each with the values it is measured at unless others are asked for."""
    takes: tuple[str, ...]
    """Those of GIVEN that the factory takes."""
    summary: str = ""
    """The first line of the factory's docstring."""

    def build(self, own: Mapping[str, Value], device: str, dtype: torch.dtype) -> Step:
        """The step at these values of its own axes. Raises TypeError where it makes no Step."""
        given = {name: value for name, value in (("device", device), ("dtype", dtype))}
        step = self.factory(**own, **{name: given[name] for name in self.takes})
        if not isinstance(step, Step):
            raise TypeError(f"{self.name} returns {type(step).__name__}: return a Step")
        return step


def training_step(**axes: Sequence[Value]) -> Callable[[Callable[..., Step]], Callable[..., Step]]:
    """Declare that a function builds a training step.

    The function takes `device`, perhaps `dtype` (a torch.dtype: of parameters and data), and every
    axis named here. Each axis is a list of values of one type: whole numbers, numbers, words or
    booleans. Raises TypeError, naming what is wrong.
    """
    values = {name: _values(name, given) for name, given in axes.items()}

    def declare(factory: Callable[..., Step]) -> Callable[..., Step]:
        name = factory.__name__
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


def declared(namespace: Mapping[str, Any]) -> list[Declaration]:
    """The steps declared in a module's namespace, in its order, each once."""
    found = [getattr(value, DECLARED, None) for value in namespace.values()]
    return list({d.name: d for d in found if isinstance(d, Declaration)}.values())


def _values(name: str, given: Sequence[Value]) -> tuple[Value, ...]:
    if name in SUITES:
        raise TypeError(
            f"{name} is an axis that the suite has for every step: call yours otherwise"
        )
    if not NAME.fullmatch(name):
        raise TypeError(f"{name!r} cannot name an axis: use letters, digits and _")
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise TypeError(f"{name}={given!r}: an axis is a list of values")
    kinds = {type(value) for value in given}
    if not kinds <= {str, int, float, bool} or (len(kinds) > 1 and kinds != {int, float}):
        raise TypeError(
            f"{name}={given!r}: the values of an axis are of one type, numbers or words"
        )
    if wrong := [value for value in given if not TEXT.fullmatch(str(value))]:
        raise TypeError(f"{name}={wrong[0]!r}: letters, digits and _ . + = - make a value")
    if kinds == {int, float}:
        given = [float(value) for value in given]
    return tuple(dict.fromkeys(given))
