"""What the numbers of a table say to do: at most three sentences, each of which it bears out."""

from typing import Any

import pandas as pd

from bench.matrix.axes import AXES
from sumnet.optimizers import OPTIMIZERS

SENTENCES = 3
WORTH = 1.2
"""A gain smaller than this is not worth a sentence."""
NEARLY = 1.5
"""How much longer a step may take for a larger batch that is called nearly free."""
TWINS = {"compile": "on", "implementation": "fused"}
"""Axis to the value of it that may help."""


def limits_advice(limits: pd.DataFrame) -> list[str]:
    """Of one series of a limit_frame, the cases that have a time and a limit."""
    known = limits[limits["headroom"].notna()]
    names = known["case"]
    if known["run"].nunique() > 1:
        names = known["case"] + " in " + known["run"]
    known = known.assign(name=names)
    sentences = [
        *_overhead(known),
        *_larger_batch(known),
        *_bandwidth(known[known["bound"] == "bandwidth"]),
        *_compute(known[known["bound"] == "compute"]),
    ]
    return sentences[:SENTENCES]


def _overhead(known: pd.DataFrame) -> list[str]:
    """The case furthest above a limit of overhead, and what was measured of fewer operators."""
    plain = known[
        (known["bound"] == "overhead")
        & (known["compile"] == "off")
        & (known["implementation"] != "fused")
    ]
    if plain.empty:
        return []
    worst = plain.iloc[plain["headroom"].argmax()]
    others = max(worst["bandwidth_ns"], worst["compute_ns"]) / worst["measured_ns"]
    said = (
        f"{worst['name']} is bound by overhead: at the ceilings its bytes and FLOP would take "
        f"{others:.1%} of its time"
    )
    ratios = [
        f"{axis}={value} takes {row['measured_ns'] / worst['measured_ns']:.2f} times as long"
        for axis, value in TWINS.items()
        for _, row in _twins(known, worst, axis, value).iterrows()
    ]
    if ratios:
        return [f"{said}; {' and '.join(ratios)}."]
    spec = OPTIMIZERS[worst["optimizer"]]
    untried = [
        *(["compile=on"] if spec.compilable else []),
        *(["implementation=fused"] if worst["device"].split(":")[0] in spec.fused else []),
    ]
    if not untried:
        return [f"{said}."]
    return [f"{said}; {' and '.join(untried)} would make fewer operators, and are not measured."]


def _twins(rows: pd.DataFrame, row: "pd.Series[Any]", axis: str, value: str) -> pd.DataFrame:
    """The rows that differ from this one in that axis alone, and have that value of it."""
    same = ["run", *(name for name in AXES if name != axis)]
    return rows[(rows[same] == row[same]).all(axis=1) & (rows[axis] == value)]


def _larger_batch(known: pd.DataFrame) -> list[str]:
    """How far the batch can grow before a step takes NEARLY times as long."""
    best: tuple[float, str] | None = None
    keys = ["run", "device", "dtype", "optimizer", "implementation", "compile", "hidden", "threads"]
    for _, group in known.groupby(keys, sort=False):
        ordered = group.sort_values("batch")
        least = ordered.iloc[0]
        free = ordered[ordered["measured_ns"] <= NEARLY * least["measured_ns"]]
        largest = free.iloc[-1]
        grown = largest["batch"] / least["batch"]
        if grown > 1 and (best is None or grown > best[0]):
            longer = largest["measured_ns"] / least["measured_ns"]
            best = (
                grown,
                (
                    f"A larger batch is nearly free: {largest['name']} takes {longer:.2f} times as "
                    f"long as batch {least['batch']}, for {grown:.4g} times the pairs."
                ),
            )
    return [] if best is None else [best[1]]


def _bandwidth(bound: pd.DataFrame) -> list[str]:
    """The case that less traffic would help most."""
    if bound.empty:
        return []
    worst = bound.iloc[bound["headroom"].argmax()]
    saved = worst["limit_ns"] / worst["fused_ns"]
    if worst["compile"] != "off" or saved < WORTH:
        return [
            f"{worst['name']} is bound by bandwidth and takes {worst['headroom']:.3g} times what "
            "moving its operands does at least."
        ]
    return [
        f"{worst['name']} is bound by bandwidth: it takes {worst['headroom']:.3g} times its limit, "
        f"and fusing its operators would lower that limit {saved:.3g}-fold."
    ]


def _compute(bound: pd.DataFrame) -> list[str]:
    if bound.empty:
        return []
    worst = bound.iloc[bound["headroom"].argmax()]
    return [
        f"{worst['name']} is bound by arithmetic: it takes {worst['headroom']:.3g} times what its "
        "FLOP would at the rate of products it is held against."
    ]
