"""What the numbers of a table say to do: at most three sentences, each of which it bears out."""

import math
from typing import Any

import pandas as pd

from bench.measure.breakdown import StepProfile

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
    overhead = known[known["bound"] == "overhead"]
    bandwidth = known[known["bound"] == "bandwidth"]
    sentences = [
        *_overhead(overhead),
        *_larger_batch(known),
        *_bandwidth(bandwidth),
        *_compute(known[known["bound"] == "compute"]),
    ]
    return sentences[:SENTENCES]


def _overhead(bound: pd.DataFrame) -> list[str]:
    """The case that fewer operators would help most, and what was measured of that."""
    plain = bound[(bound["compile"] == "off") & (bound["implementation"] != "fused")]
    if plain.empty:
        return []
    worst = plain.iloc[plain["fused_headroom"].argmax()]
    others = max(worst["bandwidth_ns"], worst["compute_ns"]) / worst["measured_ns"]
    said = (
        f"{worst['case']} is bound by overhead: at the ceilings its bytes and FLOP would take "
        f"{others:.1%} of its time"
    )
    gains = [
        (row["measured_ns"] / worst["measured_ns"], f"{axis}={value}")
        for axis, value in TWINS.items()
        for _, row in _twins(bound, worst, axis, value)
    ]
    if gains and min(gains)[0] < 1 / WORTH:
        ratio, name = min(gains)
        return [f"{said}: {name} was measured to take {ratio:.2f} times as long."]
    if gains:
        told = " and ".join(f"{name} takes {ratio:.2f} times as long" for ratio, name in gains)
        return [f"{said}; {told}."]
    return [
        f"{said}: fewer operators help, by --compile on or --implementation fused, worth at most "
        f"{worst['fused_headroom']:.3g}x."
    ]


def _twins(
    rows: pd.DataFrame, row: "pd.Series[Any]", axis: str, value: str
) -> list[tuple[Any, "pd.Series[Any]"]]:
    """The rows that differ from this one in that axis alone, and have that value of it."""
    axes = ["run", "device", "dtype", "batch", "optimizer", "hidden", "threads", *TWINS]
    same = [name for name in axes if name != axis]
    found = rows[(rows[same] == row[same]).all(axis=1) & (rows[axis] == value)]
    return list(found.iterrows())


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
                    f"A larger batch is nearly free: {largest['case']} takes {longer:.2f} times as "
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
            f"{worst['case']} is bound by bandwidth and takes {worst['headroom']:.3g} times what "
            "moving its operands does at least."
        ]
    return [
        f"{worst['case']} is bound by bandwidth: it takes {worst['headroom']:.3g} times its limit, "
        f"and fusing its operators would lower that limit {saved:.3g}-fold."
    ]


def _compute(bound: pd.DataFrame) -> list[str]:
    if bound.empty:
        return []
    worst = bound.iloc[bound["headroom"].argmax()]
    return [
        f"{worst['case']} is bound by arithmetic and reaches {1 / worst['headroom']:.0%} of the "
        f"peak of {worst['dtype']}."
    ]


def profile_advice(profile: StepProfile) -> list[str]:
    """Of one case's profile."""
    name, phase = max(profile.phases.items(), key=lambda item: item[1].share)
    outside = 1 - phase.in_operators
    sentences = []
    if len(profile.phases) > 1:
        sentences.append(f"{name} is the largest phase, {phase.share:.0%} of the step.")
    if outside >= phase.in_operators:
        sentences.append(
            f"{outside:.0%} of {name} lies outside its operators, in Python and bookkeeping: fewer "
            "calls help more than faster ones."
        )
    elif phase.operators:
        top = phase.operators[0]
        sentences.append(f"{top.name} alone is {top.share:.0%} of {name}, in {top.calls} calls.")
    calls = {phase_name: of.ops + of.nodes for phase_name, of in profile.phases.items()}
    most = max(calls, key=lambda phase_name: calls[phase_name])
    if calls[most] > math.ceil(sum(calls.values()) / 2) and len(calls) > 1:
        sentences.append(
            f"{most} gives out {calls[most]} of the step's {sum(calls.values())} operators and "
            "nodes."
        )
    return sentences[:SENTENCES]
