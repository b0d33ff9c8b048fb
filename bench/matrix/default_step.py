"""The default step, which ships with the suite: the one place that names it.

What is known of it beforehand is here too; of any other step it has to be measured.
"""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from sumnet import costs
from sumnet.steps import DECLARED, NAME, TEXT, Declaration
from sumnet.training import lr_scale, sumnet

from .step import OwnAxis, StepDescription

if TYPE_CHECKING:
    from .case import Case

PACKAGE = "sumnet"
"""The folder that it is loaded from, for either side of a comparison."""
DECLARATION: Declaration = vars(sumnet)[DECLARED]

__all__ = ["DECLARATION", "DECLARED", "DEFAULT", "NAME", "PACKAGE", "TEXT", "Catalogue"]


def described(declaration: Declaration) -> StepDescription:
    """A declaration in words that travel between processes; what building it shows is not known."""
    axes = tuple(
        OwnAxis(name, tuple(axis.values), axis.help, axis.short, axis.most)
        for name, axis in declaration.axes.items()
    )
    return StepDescription(declaration.name, axes, summary=declaration.summary)


DEFAULT = described(DECLARATION)


class Catalogue(NamedTuple):
    """The steps that can be asked for, and where they are declared."""

    steps: tuple[StepDescription, ...] = (DEFAULT,)
    file: str = ""
    """Below `root`; empty for the default step."""
    root: Path | None = None
    """The folder that they are loaded from; None for the default step's own."""


def is_known(case: "Case") -> bool:
    """Whether what is known of the default step holds for a case."""
    return case.workload == DEFAULT.name


def operators(case: "Case") -> dict[str, list[costs.Op]]:
    """Phase to its operators; of the phases that train the net alone."""
    return costs.operators(**_own(case))


def least_elements(case: "Case") -> dict[str, int]:
    """Phase to the numbers that it has to read and write, were it one operator."""
    return costs.least_elements(**_own(case))


def peak_elements(case: "Case") -> tuple[int, int]:
    """The numbers a step holds at its peak: as they are stored, and as they are computed."""
    return costs.peak_elements(**_own(case))


def activations(case: "Case") -> int:
    """Numbers in its hidden units."""
    return costs.activations(**_own(case))


def parameters(case: "Case") -> costs.Parameters:
    """How many its net has."""
    return costs.parameters(int(case.own_values["hidden"]))


def samples(case: "Case") -> int:
    """Examples that a step trains on."""
    return int(case.own_values["batch"])


def learning_rate_scale(case: "Case") -> float:
    """What its net's width makes of learning rates."""
    return lr_scale(int(case.own_values["hidden"]))


def reference() -> ModuleType:
    """The step in float64, by hand. It imports torch."""
    from sumnet import reference

    return reference


def _own(case: "Case") -> dict[str, int]:
    return {name: int(value) for name, value in case.own_values.items()}
