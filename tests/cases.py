"""Cases of the default step, and of others."""

import inspect
from collections.abc import Mapping
from typing import Any

from bench.matrix.case import AHEAD, WHOLE, Case, case_of
from bench.matrix.default_step import DEFAULT
from bench.matrix.step import PHASES, OwnAxis, StepDescription, Traits
from sumnet.steps import DECLARED, Declaration

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


def declared(namespace: Mapping[str, Any]) -> Declaration:
    """The one step that a module declares."""
    functions = [value for value in namespace.values() if inspect.isfunction(value)]
    (found,) = [vars(f)[DECLARED] for f in functions if DECLARED in vars(f)]
    assert isinstance(found, Declaration)
    return found
