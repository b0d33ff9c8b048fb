"""Cases of the default step, and of others."""

from typing import Any

from bench.matrix.case import AHEAD, WHOLE, Case, case_of
from bench.matrix.default_step import DEFAULT
from bench.matrix.step import PHASES, OwnAxis, StepDescription, Traits

SERIES = (*PHASES, WHOLE, *AHEAD)
"""All that a case of the default step can have."""
MYNET = StepDescription(
    "mynet",
    (OwnAxis("width", (64, 16), short="width"), OwnAxis("act", ("relu", "gelu"), short="act")),
)
"""A step whose loop is the suite's, with axes of its own."""
GAN = StepDescription(
    "gan",
    (OwnAxis("width", (64,), short="width"), OwnAxis("clip", (True, False), short="clip")),
    Traits(form="phases", phases=("load", "discriminator", "generator")),
)
"""A step with phases of its own."""
TRAINER = StepDescription("trainer", traits=Traits(form="run", phases=()))
"""A step that can only be run as a whole, with no axes of its own."""


def sumnet(**axes: Any) -> Case:
    """The case of the default step with these values of its axes."""
    return case_of(DEFAULT, axes)
