"""The axes of the matrix. To add a value of an axis of the suite's, add it to its entry here."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..devices import device_names, is_device_name
from ..errors import UsageError
from ..figures import LARGEST
from .compilation import COMPILATIONS
from .default_step import DEFAULT
from .optimizers import IMPLEMENTATIONS, OPTIMIZERS
from .precision import PRECISIONS
from .step import OWN, OwnAxis, StepDescription, Value

__all__ = [
    "AXES",
    "Axis",
    "Value",
    "axes_of",
    "axis_named",
    "columns_of",
    "prefix_of",
    "selectable",
    "word_of",
    "written",
]


@dataclass(frozen=True)
class Axis:
    """A named list of values. `prefix` stands before a value in a case id."""

    name: str
    help: str
    default: Value
    parse: Callable[[str], Value | None]
    allowed: str
    prefix: str = ""

    def value(self, text: str) -> Value:
        """The value written as `text`. Raises UsageError, naming what is allowed."""
        value = self.parse(text)
        if value is None:
            raise UsageError(f"--{self.name}: {text!r} is not a value; allowed: {self.allowed}")
        return value

    def values(self, text: str) -> tuple[Value, ...]:
        """The values of a comma-separated list, each once, in the order given."""
        return tuple(dict.fromkeys(self.value(part.strip()) for part in text.split(",")))


def _one_of(name: str, help: str, values: tuple[str, ...], prefix: str = "") -> Axis:
    return Axis(
        name,
        help,
        values[0],
        lambda text: text if text in values else None,
        ", ".join(values),
        prefix,
    )


def _count(name: str, help: str, default: int, maximum: int, prefix: str) -> Axis:
    def parse(text: str) -> int | None:
        canonical = re.fullmatch(r"[1-9][0-9]{0,9}", text)
        return int(text) if canonical and int(text) <= maximum else None

    return Axis(name, help, default, parse, f"a whole number from 1 to {maximum}", prefix)


SUITES: dict[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis(
            "workload",
            "which training step",
            DEFAULT.name,
            lambda text: text if re.fullmatch(r"[A-Za-z]\w*", text) else None,
            "the name of a step",
        ),
        Axis(
            "device",
            "where it runs",
            "cpu",
            lambda text: text if is_device_name(text) else None,
            device_names(),
        ),
        _one_of("dtype", "of parameters and data, or amp: of products alone", tuple(PRECISIONS)),
        _one_of("optimizer", "which optimizer; own: the step's", (*OPTIMIZERS, OWN)),
        _one_of(
            "implementation", "of the optimizer's step; default: torch's", tuple(IMPLEMENTATIONS)
        ),
        _one_of(
            "compile",
            "what torch.compile gets, and its mode; graph: the step as one CUDA graph",
            tuple(COMPILATIONS),
            "compile-",
        ),
        _count("threads", "torch's intra-op threads", 1, 1024, "t"),
    )
}
"""Those that every step has."""
BEFORE, BETWEEN, AFTER = (
    ("workload", "device", "dtype"),
    ("optimizer", "implementation", "compile"),
    ("threads",),
)
"""Where they stand: the first of a step's own axes comes between BEFORE and BETWEEN, the others
between BETWEEN and AFTER."""


def prefix_of(axis: OwnAxis) -> str:
    """What stands before its values in an id: numbers have a short one, words the whole name."""
    is_number = type(axis.values[0]) in (int, float)
    return axis.short or axis.name if is_number else f"{axis.name}-"


def ordered(own: Iterable[str]) -> list[str]:
    """The names of all axes of a step with these of its own, in their order."""
    names = list(own)
    return [*BEFORE, *names[:1], *BETWEEN, *names[1:], *AFTER]


def axes_of(step: StepDescription) -> dict[str, Axis]:
    """The axes of a step: the suite's, and its own."""
    own = {axis.name: _own(axis) for axis in step.axes}
    return {name: SUITES.get(name) or own[name] for name in ordered(own)}


def _own(axis: OwnAxis) -> Axis:
    kind, most = type(axis.values[0]), axis.most
    prefix, default = prefix_of(axis), axis.values[0]
    if kind is int and most is not None:
        return _count(axis.name, axis.help, int(default), most, prefix)
    words = {word_of(value): value for value in axis.values}

    def parse(text: str) -> Value | None:
        if kind is int and re.fullmatch(r"0|-?[1-9][0-9]{0,17}", text):
            whole = int(text)
            return whole if abs(whole) <= LARGEST[int] else None
        if kind is float and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", text):
            number = float(text)
            return number if abs(number) <= LARGEST[float] else None
        return words.get(text)

    allowed = {int: "a whole number", float: "a number"}.get(kind, ", ".join(words))
    return Axis(axis.name, axis.help, default, parse, allowed, prefix)


def word_of(value: Value) -> str:
    """A value as it is typed, and as tables have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


AXES = axes_of(DEFAULT)
"""Those of the default step."""


def axis_named(name: str) -> Axis:
    """The axis of that name, as tables know it: of a step that they know no more of, its values
    alone count."""
    return AXES.get(name) or Axis(name, "", "", lambda text: text, "a value", name)


def written(name: str, value: Value) -> str:
    """A value of the axis of that name, as an id has it: with what tells it from others."""
    if name in AXES:
        return f"{AXES[name].prefix}{value}"
    return f"{name}{value}" if type(value) in (int, float) else f"{name}-{word_of(value)}"


def selectable(steps: Iterable[StepDescription]) -> dict[str, Axis]:
    """The axes that a selection of these steps can be narrowed by: each under its name."""
    found: dict[str, Axis] = {}
    for step in steps:
        found |= {name: axis for name, axis in axes_of(step).items() if name not in found}
    return found


def columns_of(own: Iterable[Mapping[str, object]]) -> tuple[str, ...]:
    """The axes of several cases, given the own ones of each, in an order that suits all."""
    known = [list(names) for names in own]
    firsts = dict.fromkeys(names[0] for names in known if names)
    others = dict.fromkeys(name for names in known for name in names[1:] if name not in firsts)
    return (*BEFORE, *firsts, *BETWEEN, *others, *AFTER)
