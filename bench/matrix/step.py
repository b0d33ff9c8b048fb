"""What the suite knows of a training step: its own axes, and what building it once showed."""

import msgspec

from ..figures import Count, Number, Whole

Value = str | Whole | Number | bool

PHASES = ("forward", "backward", "step")
"""Of a step whose loop is the suite's."""
OWN = "own"
"""The optimizer of a step that brings its own."""


COLUMNS = (
    *("run", "machine", "torch", "environment", "case", "series", "status", "samples", "reason"),
    *("marks", "flags", "floors", "slower", "replicates", "joules", "name", "configuration"),
)
"""Names of columns in tables of cases, which no axis can have."""


class Traits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What building a step shows of it. The defaults are those of a dense net with biases that
    leaves its loop and its optimizer to the suite."""

    form: str = "loss"
    """How it is described: by its "loss", its "phases", or its whole "run"."""
    phases: tuple[str, ...] = PHASES
    """None where only the whole step can be run."""
    own_optimizer: bool = False
    takes_dtype: bool = True
    matrices: bool = False
    """Whether every parameter is a matrix."""
    sparse: bool = False
    """Whether every gradient is sparse."""
    parameter_bytes: Count = 0
    """Of all parameters; 0 where that is not known."""


class OwnAxis(msgspec.Struct, frozen=True):
    """An axis of a step's own."""

    name: str
    values: tuple[Value, ...]
    """Those it is measured at unless others are asked for; the first is the default."""
    help: str = ""
    short: str = ""
    """What stands before a number in a case's id."""
    most: int | None = None
    """The largest whole number that may be asked for."""


class StepDescription(msgspec.Struct, frozen=True):
    """A step that can be asked for."""

    name: str
    axes: tuple[OwnAxis, ...] = ()
    traits: Traits = Traits()
    summary: str = ""
    error: str | None = None
    """Why it cannot be built, where it cannot."""
