"""A case: one point in the matrix, with an id that can be typed, filtered on, and read back."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ..devices import kind_of
from ..errors import UsageError
from .axes import AXES, SUITES, axes_of, ordered, prefix_of, word_of
from .compilation import COMPILATIONS, Compilation
from .default_step import DEFAULT, NAME, TEXT
from .optimizers import OPTIMIZERS
from .step import COLUMNS, OWN, StepDescription, Traits, Value

WHOLE = "train_step"
DISPATCH, LATENCY, THROUGHPUT = "dispatch", "latency", "throughput"
AHEAD = (DISPATCH, LATENCY, THROUGHPUT)
"""What differs from the whole step only where the host runs ahead of the device: what a step costs
the host, a step that is waited for, and a step among many waited for at once."""
PEAK_MEMORY = "peak memory"
"""What the gate judges beside times."""


def is_phase(series: str) -> bool:
    """Whether a series is one of a step's phases."""
    return series not in (WHOLE, *AHEAD, PEAK_MEMORY)


class OwnValue(msgspec.Struct, frozen=True, array_like=True):
    """The value of one of a step's own axes, and what stands before it in an id."""

    axis: str
    value: Value
    prefix: str

    def __str__(self) -> str:
        return f"{self.prefix}{word_of(self.value)}"


class Case(msgspec.Struct, frozen=True, omit_defaults=True):
    """One configuration of a training step: a value for each of its axes."""

    workload: str = DEFAULT.name
    device: str = "cpu"
    dtype: str = "float32"
    optimizer: str = "sgd"
    implementation: str = "default"
    compile: str = "off"
    threads: int = 1
    own: tuple[OwnValue, ...] = tuple(
        OwnValue(axis.name, axis.values[0], prefix_of(axis)) for axis in DEFAULT.axes
    )
    """Of the step's own axes, in their order."""
    traits: Traits = Traits()

    @property
    def own_values(self) -> dict[str, Value]:
        """Axis name to value, of its own axes."""
        return {own.axis: own.value for own in self.own}

    @property
    def axes(self) -> dict[str, Value]:
        """Axis name to value, of all axes in their order."""
        own = self.own_values
        return {name: own[name] if name in own else getattr(self, name) for name in ordered(own)}

    def but(self, values: Mapping[str, Any]) -> "Case":
        """This case with other values of the axes named; it has each of them."""
        own = tuple(msgspec.structs.replace(o, value=values.get(o.axis, o.value)) for o in self.own)
        suites = {name: value for name, value in values.items() if name in SUITES}
        return msgspec.structs.replace(self, own=own, **suites)

    @property
    def kind(self) -> str:
        """Of its device: `cuda` for `cuda:1`."""
        return self.device.partition(":")[0]

    @property
    def compilation(self) -> Compilation:
        return COMPILATIONS[self.compile]

    @property
    def closure(self) -> bool:
        """Whether its optimizer's step calls the forward and backward pass itself."""
        return self.optimizer != OWN and OPTIMIZERS[self.optimizer].closure

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases its step can be timed by; none where it cannot be split."""
        return () if self.closure or self.compilation.captured else self.traits.phases

    @property
    def replays(self) -> bool:
        """Whether graphs launch its kernels: all modes but the default one record them."""
        asked = self.compilation
        return (asked.captured or asked.mode != "default") and kind_of(self.device).graphs

    @property
    def series(self) -> tuple[str, ...]:
        """What is timed of it: its phases, the whole, and where the host runs ahead, AHEAD."""
        ahead = AHEAD if kind_of(self.device).asynchronous else ()
        return (*self.phases, WHOLE, *ahead)

    @property
    def id(self) -> str:
        """For example `cpu/float32/b1024/adam/default/compile-off/h10/t1`.

        The name of a step other than the default one stands before that.
        """
        own = {o.axis: str(o) for o in self.own}
        parts = [
            own[name] if name in own else f"{SUITES[name].prefix}{getattr(self, name)}"
            for name in ordered(own)
        ]
        return "/".join(parts if self.workload != DEFAULT.name else parts[1:])


def case_of(step: StepDescription, values: Mapping[str, Any]) -> Case:
    """The case of a step with these values of its axes; the others have their defaults."""
    own = tuple(
        OwnValue(axis.name, values.get(axis.name, axis.values[0]), prefix_of(axis))
        for axis in step.axes
    )
    optimizer = (
        {"optimizer": OWN} if step.traits.form != "loss" or step.traits.own_optimizer else {}
    )
    suites = {name: value for name, value in values.items() if name in SUITES}
    return Case(**{**optimizer, **suites, "workload": step.name}, own=own, traits=step.traits)


def case_from_id(text: str, steps: Iterable[StepDescription] = (DEFAULT,)) -> Case:
    """The case, of one of these steps, whose id is `text`. Raises UsageError."""
    known = {step.name: step for step in steps}
    name, _, rest = text.partition("/")
    step = known.get(name)
    if step is None:
        step, rest = known.get(DEFAULT.name), text
    if step is None:
        raise UsageError(
            f"{text!r} is not a case id: there is no step {name!r}; the file of steps, which is "
            f"named or in pyproject.toml, declares {', '.join(known)}"
        )
    axes = {axis_name: axis for axis_name, axis in axes_of(step).items() if axis_name != "workload"}
    parts = rest.split("/")
    if len(parts) != len(axes):
        raise UsageError(
            f"{text!r} is not a case id: it has {len(parts)} parts, not {len(axes)}; "
            f"an id looks like {case_of(step, {}).id}"
        )
    values: dict[str, Any] = {}
    for axis, part in zip(axes.values(), parts, strict=True):
        if not part.startswith(axis.prefix):
            raise UsageError(
                f"{text!r} is not a case id: {part!r} should start with {axis.prefix!r}"
            )
        try:
            values[axis.name] = axis.value(part.removeprefix(axis.prefix))
        except UsageError as error:
            raise UsageError(f"{text!r} is not a case id: {error}") from None
    return case_of(step, values)


def is_consistent(case: Case) -> bool:
    """Whether a case that was read has values that its axes allow, and no two of one name.

    Nor two phases, or what no step could be declared with.
    """
    own, phases = [o.axis for o in case.own], case.traits.phases
    suites = ((SUITES[name], getattr(case, name)) for name in SUITES)
    return (
        all(axis.parse(str(value)) == value for axis, value in suites)
        and len({*own, *SUITES, *COLUMNS}) == len(own) + len(SUITES) + len(COLUMNS)
        and all(NAME.fullmatch(o.axis) and TEXT.fullmatch(str(o)) for o in case.own)
        and len({*phases}) == len(phases)
        and all(map(is_phase, phases))
        and (case.workload != DEFAULT.name or _is_default_steps(case))
    )


def _is_default_steps(case: Case) -> bool:
    own = case.own_values
    return (
        list(own) == [axis.name for axis in DEFAULT.axes]
        and all(AXES[name].parse(str(value)) == value for name, value in own.items())
        and case.traits.phases == DEFAULT.traits.phases
    )
