"""Presets: named selections of cases, and how a selection is narrowed or widened by axis."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import UsageError
from bench.matrix.axes import AXES, Value
from bench.matrix.case import Case
from sumnet.optimizers import IMPLEMENTATIONS, OPTIMIZERS

Grid = Mapping[str, Sequence[Value]]

BATCHES = (2, 64, 1024, 16384, 262144)


@dataclass(frozen=True)
class Preset:
    """A union of grids, the replicates each case gets, and the seconds to spend on all."""

    help: str
    grids: tuple[Grid, ...]
    replicates: int
    budget_s: float


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
    "standard": Preset(
        "every axis around the common cases, in under five minutes",
        (
            {"batch": BATCHES, "optimizer": ("sgd", "adam")},
            {"batch": (2, 1024), "optimizer": tuple(OPTIMIZERS), "implementation": IMPLEMENTATIONS},
            {"batch": (2, 1024, 262144), "dtype": ("float64", "bfloat16"), "optimizer": ("adam",)},
            {"batch": (2, 1024, 16384), "optimizer": ("sgd", "adam"), "compile": ("on",)},
            {"batch": (1024, 16384), "hidden": (256,), "optimizer": ("adam",)},
            {"batch": (16384, 262144), "optimizer": ("adam",), "threads": (2,)},
        ),
        replicates=5,
        budget_s=260,
    ),
    "full": Preset(
        "every dtype, batch, optimizer, implementation and compile mode with every other",
        (
            {
                "dtype": ("float32", "float64", "bfloat16"),
                "batch": BATCHES,
                "optimizer": tuple(OPTIMIZERS),
                "implementation": IMPLEMENTATIONS,
                "compile": ("off", "on"),
            },
        ),
        replicates=3,
        budget_s=2400,
    ),
}

DEFAULT_PRESET = "quick"


def select(preset: str, chosen: Mapping[str, str]) -> list[Case]:
    """The preset's cases; each axis in `chosen` takes the given comma-separated values instead.

    Raises UsageError for an unknown preset or axis value.
    """
    if preset not in PRESETS:
        raise UsageError(f"--preset: {preset!r} is not a preset; allowed: {', '.join(PRESETS)}")
    override = {name: AXES[name].values(text) for name, text in chosen.items()}
    cases: dict[Case, None] = {}
    for grid in PRESETS[preset].grids:
        axes = {name: (axis.default,) for name, axis in AXES.items()} | dict(grid) | override
        for values in itertools.product(*axes.values()):
            point: dict[str, Any] = dict(zip(axes, values, strict=True))
            cases[Case(**point)] = None
    return list(cases)
