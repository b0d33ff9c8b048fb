"""Training steps under their machine's roofs, and how far each is from its limit."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import UsageError
from ..matrix.case import WHOLE
from ..report.charts import GREY, INK, PALE, configuration, not_drawn, page
from ..stats.frame import RUN, samples_axis, varying
from ..units import duration, factor, memory, rate
from .ceilings import Rates, Setting

if TYPE_CHECKING:  # it takes longer to import than a table to print
    import altair as alt

PLACE = [RUN, "device", "threads"]
"""What has roofs of its own, and so panels of its own."""
WIDTH, HEIGHT = 420, 340
"""Of a panel, in pixels."""
LINE = 15
"""How high a line of text is, in pixels."""
BOUNDS = {
    "overhead": ("#e69f00", "circle"),
    "bandwidth": ("#0072b2", "square"),
    "compute": (INK, "triangle-up"),
}
"""What sets a limit, to its colour and shape. The colours differ in lightness too."""
ROOF_NAMES = {"bandwidth": "bandwidth at", "compute": "matmul"}
TIMES = ("measured", "limit", "overhead", "bandwidth", "compute")
SHOWN = ("case", "run", "bound", *TIMES, "x limit", "x fused limit", "reached", "FLOP/B")
"""Of the step that is pointed at."""
Range = tuple[float, float]


def roofline(limits: pd.DataFrame, roofs: pd.DataFrame) -> "alt.VConcatChart":
    """A roofline and the headroom of whole steps, for each run, device and number of threads.

    `limits` is a limit_frame; `roofs` has a row for each roof: run, device, threads, kind
    ("bandwidth" in bytes/s or "compute" in FLOP/s), name (a working set, a dtype) and value.
    Raises UsageError where there is nothing to draw.
    """
    import altair as alt

    whole = limits[limits["series"] == WHOLE]
    limited, timed = whole["limit_ns"].notna(), whole["measured_ns"].notna()
    placed = (whole["flops"] > 0) & (whole["bytes"] > 0)
    drawn = whole[limited & timed & placed]
    if drawn.empty:
        reasons = whole["reason"].dropna().unique()
        missing = "nothing to draw: no case has FLOP, bytes, a time and a limit"
        raise UsageError("; ".join([missing, *reasons]))
    points = _points(drawn)
    look = _look(sorted(points["samples"].unique().tolist()))
    domain = _domain(points, roofs)
    headroom = min(0.8, points["headroom"].min() / 1.2), points["headroom"].max() * 1.2
    panels: list[alt.LayerChart] = []
    for place, there in points.groupby(PLACE, sort=False):
        run, device, threads = place
        own = roofs[(roofs[PLACE] == list(place)).all(axis=1)]
        title = f"{run}: {device}, {threads} thread{'' if threads == 1 else 's'}"
        panels += [
            _roofline_panel(there, own, *domain, look)
            .properties(title=alt.Title(title, subtitle="Roofline"))
            .add_params(alt.selection_interval(name=f"zoom_{len(panels)}", bind="scales")),
            _headroom_panel(there, headroom, look).properties(
                title=alt.Title(title, subtitle="Headroom")
            ),
        ]
    subtitle = [
        "Roofline: the FLOP/s that a step reaches, under the bandwidths and matrix products "
        "measured on the machine.",
        "Headroom: the measured time over the limit, the least time that those roofs and the "
        "overhead of its operators allow.",
        *not_drawn(
            {
                "without a limit": (~limited).sum(),
                "without a time": (limited & ~timed).sum(),
                "without known FLOP or bytes": (limited & timed & ~placed).sum(),
            }
        ),
    ]
    grid = alt.concat(*panels, columns=2, spacing=30)
    return page([grid], "Training steps and the limits of their machine", subtitle)


def roof_table(known: dict[Setting, Rates]) -> pd.DataFrame:
    """The bandwidths of the smallest and the largest working set, and the peak of each dtype."""
    rows: list[tuple[Any, ...]] = []
    for setting, rates in known.items():
        for size, value in (rates.bandwidths[0], rates.bandwidths[-1]):
            rows.append((*setting, "bandwidth", memory(size), value))
        for dtype, value in rates.peaks.items():
            rows.append((*setting, "compute", dtype, value))
    return pd.DataFrame(rows, columns=[*PLACE, "kind", "name", "value"])


def _points(drawn: pd.DataFrame) -> pd.DataFrame:
    """Where each step is drawn, and its tooltip."""
    points = drawn.assign(intensity=drawn["flops"] / drawn["bytes"])
    points["speed"] = points["flops"] / points["measured_ns"] * 1e9
    names = [name for name in varying(points) if name not in (*PLACE, samples_axis(points))]
    points["configuration"] = [configuration(row, names) for _, row in points.iterrows()]
    for time in TIMES:
        points[time] = points[f"{time}_ns"].map(duration)
    points["x limit"] = points["headroom"].map(factor)
    points["x fused limit"] = points["fused_headroom"].map(factor)
    points["reached"] = points["speed"].map(rate) + "FLOP/s"
    points["FLOP/B"] = points["intensity"].map("{:.3g}".format)
    return points


def _domain(points: pd.DataFrame, roofs: pd.DataFrame) -> tuple[Range, Range]:
    """Of FLOP per byte and of FLOP/s: around all points, and the ridges of all roofs."""
    values = roofs.groupby("kind")["value"]
    slowest, peak = float(values.min()["bandwidth"]), float(values.max()["compute"])
    left, right = points["intensity"].min() / 10, points["intensity"].max() * 3
    lowest, highest = min(points["speed"].min(), slowest * left), max(points["speed"].max(), peak)
    return (left, max(right, 20 * peak / slowest)), (lowest / 4, highest * 4)


def _roofline_panel(
    points: pd.DataFrame, roofs: pd.DataFrame, x: Range, y: Range, look: dict[str, Any]
) -> "alt.LayerChart":
    import altair as alt

    at = {
        "x": alt.X("intensity:Q", title="FLOP per byte moved")
        .scale(type="log", domain=x, nice=False)
        .axis(format="~g", tickCount=5, grid=False),
        "y": alt.Y("speed:Q", title="FLOP/s reached")
        .scale(type="log", domain=y, nice=False)
        .axis(format="~s", tickCount=6, grid=False),
    }
    lines = _roof_lines(roofs, x, y)
    names = lines.dropna(subset="label")
    slope = names["kind"] == "bandwidth"
    steepness = math.degrees(math.atan2(HEIGHT / _decades(y), WIDTH / _decades(x)))
    layers: list[alt.Chart] = [
        alt.Chart(lines)
        .mark_rule(color=PALE, clip=True)
        .encode(**at, x2="x2:Q", y2="y2:Q", tooltip=["roof:N", "reaches:N"]),
        alt.Chart(names[slope])
        .mark_text(align="left", baseline="bottom", dx=8, dy=-2, angle=-steepness % 360, clip=True)
        .encode(**at, text="label:N"),
        alt.Chart(names[~slope])
        .mark_text(align="right", baseline="bottom", dx=-4, dy=-2, clip=True)
        .encode(x="x2:Q", y=at["y"], text="label:N"),
        alt.Chart(points).mark_point(filled=True, clip=True).encode(**at, **look),
    ]
    return alt.LayerChart(layer=layers, width=WIDTH, height=HEIGHT)


def _roof_lines(roofs: pd.DataFrame, x: Range, y: Range) -> pd.DataFrame:
    """From (intensity, speed) to (x2, y2): slopes end at the highest peak, which begins there.

    The highest of roofs that leave no line of text between them has the label of all.
    """
    lines = roofs.sort_values(["kind", "value"], ascending=False)
    value, slope = lines["value"], lines["kind"] == "bandwidth"
    highest, widest = value[~slope].max(), value[slope].max()
    close = np.log10(value).groupby(lines["kind"]).diff() >= -_decades(y) * LINE / HEIGHT
    group = (~close).cumsum()
    prefix = lines["kind"].map(ROOF_NAMES)
    units = lines["kind"].map({"bandwidth": "B/s", "compute": "FLOP/s"})
    joined = lines.groupby(group)["name"].transform(", ".join)
    return lines.assign(
        intensity=np.where(slope, x[0], np.maximum(value / widest, x[0])),
        speed=np.where(slope, value * x[0], value),
        x2=np.where(slope, highest / value, x[1]),
        y2=np.where(slope, highest, value),
        label=(prefix + " " + joined).where(~group.duplicated()),
        roof=prefix + " " + lines["name"],
        reaches=value.map(rate) + units,
    )


def _headroom_panel(points: pd.DataFrame, domain: Range, look: dict[str, Any]) -> "alt.LayerChart":
    """A row for each configuration, that with the most headroom on top."""
    import altair as alt

    x = (
        alt.X("headroom:Q", title="measured / limit")
        .scale(type="log", domain=domain, nice=False)
        .axis(
            labelExpr="format(datum.value, '~g') + 'x'",
            values=[digit * 10**power for power in range(5) for digit in (1, 2, 5)],
        )
    )
    order = alt.EncodingSortField("headroom", op="max", order="descending")
    y = alt.Y("configuration:N", title=None, sort=order).axis(labelLimit=240)
    at = alt.Chart(points).encode(x=x, y=y)
    limit = alt.Chart(pd.DataFrame({"headroom": [1.0]})).mark_rule(color=INK).encode(x=x)
    rows = points["configuration"].nunique()
    layers: list[alt.Chart] = [
        limit,
        at.mark_line(color=PALE, strokeWidth=1, clip=True).encode(detail="configuration:N"),
        at.mark_point(filled=True, clip=True).encode(**look),
    ]
    return alt.LayerChart(layer=layers, width=WIDTH, height=max(HEIGHT, LINE * rows))


def _look(sizes: list[float]) -> dict[str, Any]:
    """How a step looks in either panel; `sizes` are the samples that steps train on."""
    import altair as alt

    colours, shapes = zip(*BOUNDS.values(), strict=True)
    legend = alt.Legend(title="bound by", symbolOpacity=1, symbolSize=80)
    size = (
        alt.Size("samples:Q", title="batch size")
        .scale(type="log", range=[25, 120])
        .legend(values=sizes, format=",d", symbolFillColor=GREY)
    )
    return {
        "color": alt.Color("bound:N", legend=legend).scale(domain=list(BOUNDS), range=colours),
        "shape": alt.Shape("bound:N", legend=legend).scale(domain=list(BOUNDS), range=shapes),
        "size": alt.value(60) if any(map(math.isnan, sizes)) else size,
        "opacity": alt.value(0.7),
        "tooltip": [alt.Tooltip(f"{name}:N") for name in SHOWN],
    }


def _decades(span: Range) -> float:
    return math.log10(span[1] / span[0])
