"""How far training steps are from what their machine allows, as a chart."""

from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.errors import UsageError
from bench.matrix.case import WHOLE
from bench.report.charts import LETTER, Range
from bench.roofline.layout import (
    HEIGHT,
    LEADER,
    PLACE,
    WIDTH,
    line_ends,
    points_of,
    roof_lines,
    roof_names,
    roofline_ranges,
    steepness,
    stretched,
)
from bench.units import rate

if TYPE_CHECKING:  # it takes longer to import than a table to print
    import altair as alt

BOUNDS = {
    "overhead": ("#e69f00", "circle"),
    "bandwidth": ("#0072b2", "square"),
    "compute": ("#1a1a1a", "triangle-up"),
}
"""What sets a limit, to its colour and shape. The colours differ in lightness too."""
TOLD = {
    "case": "case",
    "run": "run",
    "size": "batch",
    "measured": "measured",
    "limit": "limit",
    "over": "measured / limit",
    "fused_over": "measured / limit if fused",
    "bound": "bound by",
    "overhead": "overhead",
    "bandwidth": "bandwidth",
    "compute": "compute",
    "reached": "reached",
    "per_byte": "FLOP per byte",
}
"""What a case says when pointed at."""
ROUND = [digit * 10**power for power in range(5) for digit in (1, 2, 5)]
"""Where an axis of ratios has its marks."""


def roofline(limits: pd.DataFrame, roofs: pd.DataFrame) -> "alt.VConcatChart":
    """A roofline and the headroom over batch sizes, for each run, device and number of threads.

    `limits` has a row for each run, case and series, of which those of whole steps are drawn. Its
    columns: run, case, the axes, series, measured_ns, overhead_ns, bandwidth_ns, compute_ns,
    limit_ns (NaN where there is none), bound (a key of BOUNDS), headroom (measured over limit),
    fused_headroom, of one step flops and bytes, and reason (why there is no limit). `roofs` has a
    row for each roof: run, device, threads, kind ("bandwidth" in bytes/s or "compute" in FLOP/s),
    name and value.

    Raises UsageError where there is nothing to draw.
    """
    import altair as alt

    whole = limits[limits["series"] == WHOLE]
    points = points_of(whole)
    if points.empty:
        reasons = whole["reason"].dropna().unique()
        raise UsageError("; ".join(["nothing to draw: no case has a time and a limit", *reasons]))
    places = [
        (place, group, _roofs_at(roofs, place))
        for place, group in points.groupby(PLACE, sort=False)
    ]
    intensity, speed = roofline_ranges(points, [there for _, _, there in places])
    batch = points["batch"].min() / 1.5, points["batch"].max() * 1.5
    headroom = min(0.8, points["headroom"].min() / 1.3), points["headroom"].max() * 1.3
    room = LETTER * (points["configuration"].str.len().max() + 2)
    pointed = [_pointed(panel) for panel in range(2 * len(places))]
    look = _look(reduce(and_, pointed))
    rows = [
        alt.hconcat(
            _roofline_panel(group, there, intensity, speed, left, look),
            _headroom_panel(group, batch, headroom, room, right, look),
            spacing=30,
        ).properties(title=alt.Title(_place_name(place), anchor="start", offset=12))
        for (place, group, there), left, right in zip(
            places, pointed[::2], pointed[1::2], strict=True
        )
    ]
    chart: alt.VConcatChart = (
        alt.vconcat(*rows, spacing=30)
        .properties(title=_title(whole), background="white", padding=16)
        .configure_text(fontSize=10, color="#555555")
        .configure_axis(gridColor="#ececec", titleFontWeight="normal")
        .configure_legend(orient="top", direction="horizontal", titleOrient="left")
    )
    return chart


def _roofs_at(roofs: pd.DataFrame, place: Any) -> pd.DataFrame:
    """Those of one place, the highest first."""
    there: pd.Series[bool] = (roofs[PLACE] == list(place)).all(axis=1)
    return roofs[there].sort_values("value", ascending=False)


def _place_name(place: Any) -> str:
    run, device, threads = place
    return f"{run}: {device}, {threads} thread{'' if threads == 1 else 's'}"


def _title(whole: pd.DataFrame) -> "alt.Title":
    import altair as alt

    limited = whole["limit_ns"].notna()
    lacking = {"limit": ~limited, "time": limited & whole["measured_ns"].isna()}
    return alt.Title(
        "How far training steps are from what the machine allows",
        subtitle=[
            "Left: the arithmetic done in a second, under the roofs measured on the machine; a "
            "larger mark is a larger batch.",
            "Right: the time of a step over its limit, the shortest time that those roofs and the "
            "overhead of its operations allow.",
            *(
                f"{cases.sum()} {'case has' if cases.sum() == 1 else 'cases have'} no {what}: see "
                "the table."
                for what, cases in lacking.items()
                if cases.any()
            ),
        ],
        anchor="start",
        fontSize=16,
        subtitleColor="#555555",
        subtitlePadding=6,
        offset=16,
    )


def _roofline_panel(
    points: pd.DataFrame,
    roofs: pd.DataFrame,
    intensity: Range,
    speed: Range,
    pointed: "alt.Parameter",
    look: dict[str, Any],
) -> "alt.LayerChart":
    import altair as alt

    x = alt.X("x:Q", title="FLOP per byte moved").scale(type="log", domain=intensity, nice=False)
    y = alt.Y("y:Q", title="FLOP/s reached").scale(type="log", domain=speed, nice=False)
    at: dict[str, Any] = {
        "x": x.axis(format="~g", tickCount=5, grid=False),
        "y": y.axis(format="~s", tickCount=6, grid=False),
    }
    units = roofs["kind"].map({"bandwidth": "B/s", "compute": "FLOP/s"})
    lines = roof_lines(roofs, intensity, speed).assign(told=roofs["value"].map(rate) + units)
    slopes, flats = (
        alt.Chart(roof_names(lines[lines["kind"] == kind], speed)).encode(y=at["y"], text="name:N")
        for kind in ("bandwidth", "compute")
    )
    cases = alt.Chart(points.assign(x=points["intensity"], y=points["speed"]))
    return _panel(
        alt.Chart(lines)
        .mark_rule(color="#999999", clip=True)
        .encode(
            **at,
            x2="x2:Q",
            y2="y2:Q",
            tooltip=[alt.Tooltip("name:N", title="roof"), alt.Tooltip("told:N", title="at")],
        ),
        slopes.mark_text(
            align="left",
            baseline="bottom",
            angle=-steepness(intensity, speed) % 360,
            dx=8,
            dy=-2,
            clip=True,
        ).encode(x=at["x"]),
        flats.mark_text(align="right", baseline="bottom", dx=-4, dy=-2, clip=True).encode(x="x2:Q"),
        cases.mark_point(filled=True, clip=True).encode(
            **at,
            size=alt.Size("batch:Q", legend=None).scale(type="log", range=[25, 110]),
            **look,
        ),
        pointed=pointed,
        title="Roofline",
        width=WIDTH,
    )


def _headroom_panel(
    points: pd.DataFrame,
    batch: Range,
    headroom: Range,
    room: float,
    pointed: "alt.Parameter",
    look: dict[str, Any],
) -> "alt.LayerChart":
    """`room`: pixels for the names of lines, on the right."""
    import altair as alt

    names_at = stretched(batch, LEADER / WIDTH)
    beyond = stretched(batch, (LEADER + room) / WIDTH)
    x = alt.X("batch:Q", title="batch size").scale(type="log", domain=beyond, nice=False)
    y = alt.Y("headroom:Q", title="measured / limit").scale(type="log", domain=headroom, nice=False)
    sizes = sorted(points["batch"].unique().tolist())
    at: dict[str, Any] = {
        "x": x.axis(values=sizes, format=",d", labelOverlap="greedy"),
        "y": y.axis(labelExpr="format(datum.value, '~g') + 'x'", values=ROUND),
    }
    limit = pd.DataFrame({"batch": batch[:1], "x2": names_at[1:], "headroom": 1.0})
    ends = line_ends(points, headroom).assign(x2=names_at[1])
    return _panel(
        alt.Chart(limit).mark_rule(color="#1a1a1a", clip=True).encode(**at, x2="x2:Q"),
        alt.Chart(limit)
        .mark_text(align="left", baseline="top", dx=4, dy=3, clip=True, text="the limit")
        .encode(**at),
        alt.Chart(points)
        .mark_line(color="#bbbbbb", strokeWidth=1, clip=True)
        .encode(**at, detail="configuration:N"),
        alt.Chart(ends)
        .mark_rule(color="#bbbbbb", strokeDash=[1, 3], clip=True)
        .encode(**at, x2="x2:Q", y2="name_at:Q"),
        alt.Chart(ends)
        .mark_text(align="left", dx=4, clip=True)
        .encode(x="x2:Q", y="name_at:Q", text="configuration:N"),
        alt.Chart(points).mark_point(filled=True, size=50, clip=True).encode(**at, **look),
        pointed=pointed,
        title="Headroom",
        width=WIDTH + LEADER + room,
    )


def _panel(
    *layers: "alt.Chart", pointed: "alt.Parameter", title: str, width: float
) -> "alt.LayerChart":
    """One that can be moved and zoomed; its last layer is what is pointed at."""
    import altair as alt

    moved = alt.selection_interval(name=f"{pointed.name}_moved", bind="scales")
    panel = alt.LayerChart(layer=[*layers[:-1], layers[-1].add_params(pointed, moved)])
    return panel.properties(title=title, width=width, height=HEIGHT)


def _pointed(panel: int) -> "alt.Parameter":
    """What is pointed at in one panel: a configuration, in whatever panels it is."""
    import altair as alt

    return alt.selection_point(
        name=f"panel_{panel}",  # altair would take unnamed ones for the same
        fields=["configuration"],
        on="symbol:pointerover",
        clear="symbol:pointerout",
    )


def _look(pointed: Any) -> dict[str, Any]:
    """How a case looks in either panel."""
    import altair as alt

    names = list(BOUNDS)
    colours, shapes = zip(*BOUNDS.values(), strict=True)
    legend = alt.Legend(title="bound by", symbolOpacity=1, symbolSize=80)
    return {
        "color": alt.Color("bound:N", legend=legend).scale(domain=names, range=colours),
        "shape": alt.Shape("bound:N", legend=legend).scale(domain=names, range=shapes),
        "opacity": alt.when(pointed).then(alt.value(0.7)).otherwise(alt.value(0.08)),
        "tooltip": [alt.Tooltip(f"{field}:N", title=title) for field, title in TOLD.items()],
    }
