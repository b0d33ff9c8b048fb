"""What a chart shows, and where roofs, lines and names stand in it. All scales are logarithmic."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from bench.matrix.axes import AXES
from bench.report.charts import Range, decades
from bench.stats.frame import RUN, varying
from bench.units import duration, factor, rate

WIDTH, HEIGHT = 420, 340
"""Of a panel, in pixels."""
LINE = 13.0
"""How high a line of a name is, in pixels."""
LEADER = 40.0
"""Between the last case of a panel and the names beside it, in pixels."""

PLACE = [RUN, "device", "threads"]
"""What has roofs of its own, and so panels of its own."""


def stretched(span: Range, share: float) -> Range:
    """The range with so much more of its length above it."""
    return span[0], span[1] * 10 ** (share * decades(span))


def points_of(whole: pd.DataFrame) -> pd.DataFrame:
    """What has a limit and a time, with where it is drawn and what it says when pointed at."""
    points = whole.dropna(subset=["limit_ns", "measured_ns"]).copy()
    points["intensity"] = points["flops"] / points["bytes"]
    points["speed"] = points["flops"] / points["measured_ns"] * 1e9
    names = [name for name in varying(points) if name not in (*PLACE, "batch")]
    points["configuration"] = [_configuration(row, names) for _, row in points.iterrows()]
    for time in ("measured", "limit", "overhead", "bandwidth", "compute"):
        points[time] = points[f"{time}_ns"].map(duration)
    points["size"] = points["batch"].map("{:,}".format)
    points["over"] = points["headroom"].map(factor)
    points["fused_over"] = points["fused_headroom"].map(factor)
    points["reached"] = [f"{rate(speed)}FLOP/s" for speed in points["speed"]]
    points["per_byte"] = points["intensity"].map("{:.3g}".format)
    return points


def _configuration(row: "pd.Series[Any]", names: Sequence[str]) -> str:
    """What tells a case from others of its batch size; what is torch's own choice goes unsaid."""
    told = [name for name in names if name != "optimizer" and row[name] != AXES[name].default]
    return " ".join([row["optimizer"], *(f"{AXES[name].prefix}{row[name]}" for name in told)])


def roofline_ranges(points: pd.DataFrame, roofs: Sequence[pd.DataFrame]) -> tuple[Range, Range]:
    """Of intensity, FLOP per byte, and of speed, FLOP/s.

    Around all points, and the ridges of each place's roofs with room for names.
    """
    intensity = points["intensity"].min() / 10, points["intensity"].max() * 3
    speed = points["speed"].min(), points["speed"].max()
    for of_place in roofs:
        bandwidths, computes = values(of_place, "bandwidth"), values(of_place, "compute")
        if bandwidths and computes:
            intensity = intensity[0], max(intensity[1], 20 * max(computes) / min(bandwidths))
        starts = [bandwidth * intensity[0] for bandwidth in bandwidths]
        speed = min([speed[0], *starts]), max([speed[1], *computes])
    return intensity, stretched((speed[0] / 2, speed[1]), 2 * LINE / HEIGHT)


def values(roofs: pd.DataFrame, kind: str) -> list[float]:
    """Of the roofs of one kind."""
    return [float(value) for value in roofs.loc[roofs["kind"] == kind, "value"]]


def roof_lines(roofs: pd.DataFrame, intensity: Range, speed: Range) -> pd.DataFrame:
    """From (x, y) to (x2, y2): a slope up to the highest roof, which begins at the first ridge."""
    bandwidths, computes = values(roofs, "bandwidth"), values(roofs, "compute")
    widest = max(bandwidths, default=math.inf)
    highest = max(computes, default=speed[1])
    slope = roofs["kind"] == "bandwidth"
    value = roofs["value"]
    return roofs.assign(
        x=np.where(slope, intensity[0], np.maximum(value / widest, intensity[0])),
        x2=np.where(slope, highest / value, intensity[1]),
        y=np.where(slope, value * intensity[0], value),
        y2=np.where(slope, highest, value),
    )


def steepness(intensity: Range, speed: Range) -> float:
    """Of a slope as it is seen, in degrees."""
    return math.degrees(math.atan2(HEIGHT / decades(speed), WIDTH / decades(intensity)))


def roof_names(lines: pd.DataFrame, speed: Range) -> pd.DataFrame:
    """The lines that get a name, each also for those below it with no room for one in between.

    `lines`: of one kind, the highest first.
    """
    room = decades(speed) * 1.25 * LINE / HEIGHT  # a sloped name needs the quarter
    group = (np.log10(lines["value"]).diff() < -room).cumsum()
    heads: pd.DataFrame = lines[~group.duplicated()]
    return heads.assign(name=list(lines.groupby(group)["name"].agg(_joined)))


def _joined(names: "pd.Series[str]") -> str:
    told = list(names)
    return " / ".join(told if len(told) < 3 else [told[0], "...", told[-1]])


def line_ends(points: pd.DataFrame, headroom: Range) -> pd.DataFrame:
    """The last case of each configuration, and at which height beside the panel its name stands.

    Names move until none overlap. Where there are more than fit, those with the most cases stay.
    """
    ends = points.sort_values("batch").drop_duplicates("configuration", keep="last")
    cases = ends["configuration"].map(points["configuration"].value_counts())
    fitting = cases.sort_values(ascending=False, kind="stable").index[: int(HEIGHT / LINE)]
    ends = ends.loc[fitting].sort_values("headroom")
    line = decades(headroom) * LINE / HEIGHT
    least = np.arange(len(ends)) * line
    lowest, highest = np.log10(headroom)[0] + line / 2, np.log10(headroom)[1] - line / 2
    moved = isotonic_regression(np.log10(ends["headroom"]) - least).x
    return ends.assign(name_at=10 ** (np.clip(moved, lowest, highest - least[-1]) + least))
