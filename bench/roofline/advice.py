"""At most three sentences on what a table of limits suggests, each backed by its numbers."""

from typing import Any

import pandas as pd

from ..devices import kind_of
from ..matrix.optimizers import OPTIMIZERS
from ..matrix.step import OWN
from ..stats.frame import axes_in, samples_axis

SENTENCES = 3
WORTH = 1.2
"""A gain smaller than this is not worth a sentence."""
NEARLY = 1.5
"""How much longer a step may take for a larger batch that is called nearly free."""
FEWER_OPERATORS = {"compile": "on", "implementation": "fused"}
"""Axis to the value of it that launches fewer operators."""


def limits_advice(limits: pd.DataFrame) -> list[str]:
    """On one series of a limit_frame: its cases that have a time and a limit."""
    known = limits[limits["headroom"].notna()]
    several = known["run"].nunique() > 1
    known = known.assign(name=known["case"] + " in " + known["run"] if several else known["case"])
    bandwidth, compute = (
        _worst(known, known["bound"] == name) for name in ("bandwidth", "compute")
    )
    sentences = [
        _overhead(known),
        _larger_batch(known),
        None if bandwidth is None else _bandwidth(bandwidth),
        None
        if compute is None
        else f"{compute['name']} is bound by compute: it takes {compute['headroom']:.3g} times "
        "what its FLOP take at the peak of matmul in its dtype.",
    ]
    return [sentence for sentence in sentences if sentence is not None][:SENTENCES]


def _worst(known: pd.DataFrame, chosen: "pd.Series[bool]") -> "pd.Series[Any] | None":
    """Of the chosen rows, that furthest above its limit."""
    rows = known[chosen]
    return None if rows.empty else rows.iloc[rows["headroom"].argmax()]


def _overhead(known: pd.DataFrame) -> str | None:
    """On the case furthest above a limit of overhead, and what fewer operators did to it."""
    eager = (known["compile"] == "off") & (known["implementation"] != "fused")
    worst = _worst(known, (known["bound"] == "overhead") & eager)
    if worst is None:
        return None
    others = max(worst["bandwidth_ns"], worst["compute_ns"]) / worst["measured_ns"]
    fact = (
        f"{worst['name']} is bound by overhead: at the ceilings, its bytes and FLOP take "
        f"{others:.1%} of its time"
    )
    ratios = []
    for axis, value in FEWER_OPERATORS.items():
        same = ["run", *(name for name in axes_in(known) if name != axis)]
        twins = known[(known[same] == worst[same]).all(axis=1) & (known[axis] == value)]
        ratios += [
            f"{axis}={value} takes {time / worst['measured_ns']:.2f} times as long"
            for time in twins["measured_ns"]
        ]
    if ratios:
        return f"{fact}; {' and '.join(ratios)}."
    if worst["optimizer"] == OWN:
        return f"{fact}."
    spec = OPTIMIZERS[worst["optimizer"]]
    possible = {
        "compile=on": spec.compilable,
        "implementation=fused": spec.torch_class in kind_of(worst["device"]).fused,
    }
    untried = " and ".join(option for option, holds in possible.items() if holds)
    return f"{fact}; not measured with fewer operators: {untried}." if untried else f"{fact}."


def _larger_batch(known: pd.DataFrame) -> str | None:
    """On how far the batch can grow before a step takes NEARLY times as long."""
    best, sentence = 1.0, None
    if (axis := samples_axis(known)) is None:
        return None
    others = [name for name in axes_in(known) if name != axis]
    for _, group in known.groupby(["run", *others], sort=False):
        least = group.iloc[group[axis].argmin()]
        free = group[group["measured_ns"] <= NEARLY * least["measured_ns"]]
        largest = free.iloc[free[axis].argmax()]
        grown = largest[axis] / least[axis]
        if grown > best:
            longer = largest["measured_ns"] / least["measured_ns"]
            best, sentence = (
                grown,
                f"A larger batch is nearly free: {largest['name']} takes {longer:.2f} times as "
                f"long as {axis} {least[axis]}, for {grown:.4g} times the samples.",
            )
    return sentence


def _bandwidth(worst: "pd.Series[Any]") -> str:
    """On the case that less traffic would help most."""
    fact = (
        f"{worst['name']} is bound by bandwidth: it takes {worst['headroom']:.3g} times its limit"
    )
    saved = worst["limit_ns"] / worst["fused_ns"]
    if worst["compile"] != "off" or not saved >= WORTH:  # nor without a cost model
        return f"{fact}."
    return f"{fact}, and fusing its operators would lower that limit {saved:.3g}-fold."
