"""Presets: named selections of cases, and how a selection is narrowed or widened by axis."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ..devices import DEVICES, kind_of
from .axes import AXES, axes_of
from .case import Case, case_of
from .compilation import COMPILATIONS
from .default_step import DEFAULT
from .optimizers import IMPLEMENTATIONS, OPTIMIZERS
from .precision import PRECISIONS
from .step import StepDescription, Value

Grid = Mapping[str, Sequence[Value]]

BATCHES = (2, 64, 1024, 16384, 262144)
LARGE = (2**20, 2**22)
"""Where a fast accelerator is no longer bound by its host."""
COMMON = ("sgd", "sgd-momentum", "adam", "adamw")


@dataclass(frozen=True)
class Preset:
    """A union of grids of the default step, the replicates each case gets, and the seconds to spend
    on all. Another step has one grid: the values that its axes are declared with."""

    help: str
    grids: tuple[Grid, ...]
    replicates: int
    budget_s: float
    accelerated: tuple[Grid, ...] = ()
    """Grids that are added where --device names an accelerator."""
    compile_timed: tuple[Grid, ...] = ()
    """Compiled cases whose compile times are measured too."""


PRESETS: dict[str, Preset] = {
    "seed": Preset("the tutorial's exact case", ({},), replicates=3, budget_s=9),
    "quick": Preset(
        "batch sizes, optimizers and the fused step, in under a minute",
        (
            {"batch": (2, 1024, 16384), "optimizer": ("sgd", "adam")},
            {"optimizer": ("adam",), "implementation": ("foreach", "fused")},
            {"batch": (1024,), "optimizer": ("adam",), "dtype": ("float64", "bfloat16")},
        ),
        replicates=7,
        budget_s=45,
    ),
    "gate": Preset(
        "the 24 series that the gate judges",
        ({"batch": (2, 1024, 16384), "optimizer": ("sgd", "adam")},),
        replicates=7,
        budget_s=30,
    ),
    "standard": Preset(
        "every axis around the common cases, in under five minutes",
        (
            {"batch": BATCHES, "optimizer": ("sgd", "adam")},
            {
                "batch": (2, 1024),
                "optimizer": COMMON,
                "implementation": ("default", "foreach", "fused"),
            },
            {"batch": (2, 1024, 262144), "dtype": ("float64", "bfloat16"), "optimizer": ("adam",)},
            {"batch": (2, 1024, 16384), "optimizer": ("sgd", "adam"), "compile": ("on",)},
            {"batch": (1024, 16384), "hidden": (256,), "optimizer": ("adam",)},
            {"batch": (16384, 262144), "optimizer": ("adam",), "threads": (2,)},
        ),
        replicates=5,
        budget_s=260,
        accelerated=(
            {"batch": LARGE, "optimizer": ("sgd", "adam")},
            {"batch": LARGE, "dtype": ("bfloat16", "amp-bfloat16"), "optimizer": ("adam",)},
            # Ten units are too few for matrix units to be used.
            {"batch": (16384, 2**20), "hidden": (256,), "dtype": ("float32", "tf32", "bfloat16")},
            {"batch": (2, 1024), "optimizer": ("adam",), "implementation": ("for-loop",)},
            {
                "batch": (2, 1024, *LARGE),
                "optimizer": ("adam",),
                "implementation": ("capturable",),
                "compile": ("off", "graph"),
            },
        ),
    ),
    "full": Preset(
        "every value of every axis, and the pairs of axes that matter, in under an hour",
        (
            {
                "batch": (1024,),
                "optimizer": tuple(OPTIMIZERS),
                "implementation": tuple(IMPLEMENTATIONS),
            },
            {"batch": (1024,), "optimizer": tuple(OPTIMIZERS), "compile": tuple(COMPILATIONS)},
            {"batch": (1024,), "dtype": tuple(PRECISIONS), "compile": tuple(COMPILATIONS)},
            {"device": tuple(DEVICES), "batch": (*BATCHES, *LARGE), "optimizer": ("adam",)},
            {"batch": BATCHES, "dtype": tuple(PRECISIONS)},
            {
                "batch": BATCHES,
                "optimizer": ("sgd", "adam"),
                "implementation": ("default", "fused"),
            },
            {"batch": BATCHES, "optimizer": ("sgd", "adam"), "compile": ("on",)},
            {"batch": (64, 16384), "hidden": (10, 64, 256, 1024, 4096)},
            {"batch": (16384, 262144, 2**20), "optimizer": ("adam",), "threads": (1, 2)},
        ),
        replicates=3,
        budget_s=1800,
        compile_timed=(
            {"batch": (1024,), "compile": ("on", "loss", "step")},
            {"batch": (1024,), "optimizer": ("adam",), "compile": ("on",)},
            {"batch": (16384,), "optimizer": ("adam",), "compile": ("on",)},
        ),
    ),
}

DEFAULT_PRESET = "quick"
GATE_PRESET = "gate"


def select(preset: str, chosen: Grid, steps: Sequence[StepDescription] = (DEFAULT,)) -> list[Case]:
    """The preset's cases of these steps; each axis in `chosen` takes the given values instead.

    A step that lacks an axis of its own that is chosen is measured as it is.
    """
    asked = PRESETS[preset]
    wanted = chosen.get("workload")
    others = {name: values for name, values in chosen.items() if name != "workload"}
    found: list[Case] = []
    for step in steps:
        if wanted is not None and step.name not in wanted:
            continue
        axes = axes_of(step)
        own = {name: values for name, values in others.items() if name in axes}
        grids: tuple[Grid, ...] = ({axis.name: axis.values for axis in step.axes},)
        if step.name == DEFAULT.name:
            accelerated = any(kind_of(str(name)).asynchronous for name in own.get("device", ()))
            grids = asked.grids + (asked.accelerated if accelerated else ())
        found += [case for grid in grids for case in _cases(step, {**grid, **own})]
    return list(dict.fromkeys(found))


def compile_timed(preset: str, cases: Iterable[Case]) -> list[str]:
    """The ids of those cases whose compile times the preset asks for, on whatever device."""
    wanted = {case for grid in PRESETS[preset].compile_timed for case in _cases(DEFAULT, grid)}
    cpu = AXES["device"].default
    return [c.id for c in cases if msgspec.structs.replace(c, device=cpu) in wanted]


def _cases(step: StepDescription, grid: Grid) -> Iterator[Case]:
    names = [name for name in axes_of(step) if name in grid]
    for values in itertools.product(*(grid[name] for name in names)):
        yield case_of(step, dict(zip(names, values, strict=True)))
