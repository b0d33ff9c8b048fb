"""The history of one machine's cases: a panel for each, with the levels its times are on."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..errors import UsageError
from ..report.charts import GREY, INK, PALE, configuration, not_drawn, page
from ..report.notes import ratio_cell
from ..stats.frame import RUN, sizes_in, varying
from ..units import duration, interval
from .analysis import HISTORY, Trend, history_name

if TYPE_CHECKING:  # it takes longer to import than a table to print
    import altair as alt

WIDTH, HEIGHT, LINE = 240, 90, 12
"""Of a panel without changes and of a line of its text, in pixels."""
COLUMNS = 4
PANELS = 60
"""As many cases are drawn; of more, those that change come first."""
LEAST_SPAN = 1.15
"""An axis of times covers this much at least, so that noise does not look like news."""
DIRECTIONS = {"slower": "#d55e00", "faster": "#0072b2"}
"""Of a change of level, to its colour. The colours differ in lightness too."""
TOOLTIP = ["case:N", "measured:N", "run:N", "time:N", "level_time:N", "torch:N", "flags:N"]
TIME_LABEL = (
    "datum.value < 1e3 ? datum.value + ' ns'"
    " : datum.value < 1e6 ? format(datum.value / 1e3, '~r') + ' us'"
    " : datum.value < 1e9 ? format(datum.value / 1e6, '~r') + ' ms'"
    " : format(datum.value / 1e9, '~r') + ' s'"
)


def trend_chart(found: Sequence[Trend], moments: Mapping[str, str]) -> "alt.VConcatChart":
    """Times over runs, a panel for each case of each history that has two times or more.

    `moments`: run to when it was measured, in that order. Raises UsageError where there is nothing
    to draw.
    """
    timed = [trend for trend in found if len(trend.timed) > 1]
    if not timed:
        raise UsageError(
            "nothing to draw: no case has times in two runs; without --chart, the table has the "
            "reasons"
        )
    most = sorted(timed, key=lambda trend: trend.changes.empty)[:PANELS]
    drawn = [trend for trend in timed if trend in most]
    everything = pd.concat([trend.table for trend in drawn])
    names = [name for name in varying(everything) if name != RUN] or sizes_in(everything)
    points = pd.concat([_points(trend, names, moments) for trend in drawn])
    histories = points.groupby(list(HISTORY), sort=False)
    title = f"{points['machine'].iloc[0]}: {points['series'].iloc[0]} times by run"
    left_out = {
        "without a change": len(timed) - len(drawn),
        "without times in two runs": len(found) - len(timed),
    }
    subtitle = [
        "Dots: runs in the order they were measured, in the band where another run lands 95 times "
        "in 100; hollow: on no level.",
        "Thick lines: levels; dashed: the first run after a change, with the level after over the "
        "level before.",
        *not_drawn(left_out),
    ]
    rows = [
        _history(
            history,
            {run: at for run, at in moments.items() if run in set(history["run"])},
            history_name(*kind) if len(histories) > 1 else "",  # type: ignore[arg-type]
        )
        for kind, history in histories
    ]
    return page(rows, title, subtitle)


def _points(trend: Trend, names: Sequence[str], moments: Mapping[str, str]) -> pd.DataFrame:
    """The runs of one panel; direction, text and line are for those that have a change."""
    timed = trend.timed
    spread = np.exp(timed["half"])
    low, high = timed["time_ns"] / spread, timed["time_ns"] * spread
    more = np.sqrt(max(LEAST_SPAN / (high.max() / low.min()), 1.0))
    times = zip(timed["time_ns"], timed["half"], strict=True)
    return timed.assign(
        panel=configuration(timed.iloc[0], names),
        low=low,
        high=high,
        least=low.min() / more,
        most=high.max() * more,
        measured=timed["run"].map(moments),
        time=[interval(duration(time), half) for time, half in times],
        level_time=timed["level_ns"].map(duration),
        flags=timed["flags"].map(", ".join),
        direction=np.where(timed["change"] > 1, "slower", "faster"),
        text=[
            f"{moments[row['run']][5:]}: {ratio_cell(row['change'], row['change_half'])}"
            for _, row in timed.iterrows()
        ],
        line=LINE * (timed["change"].notna().cumsum() - 0.5),
    )


def _history(points: pd.DataFrame, runs: Mapping[str, str], title: str) -> "alt.FacetChart":
    """`runs`: those of this history, in their order, to when they were measured."""
    import altair as alt

    lines = int(points.groupby("panel")["change"].count().max())  # of text, one a change
    height = HEIGHT + LINE * lines
    names = f"({json.dumps({run: at[5:] for run, at in runs.items()})})[datum.value]"
    x = (
        alt.X("run:O", title=None, sort=list(runs))
        .scale(type="point", domain=list(runs), padding=0.5)
        .axis(labelExpr=names, labelAngle=-60, labelOverlap="greedy", grid=False)
    )
    scale = alt.Scale(zero=False, nice=False, padding=LINE * lines)
    axis = alt.Axis(labelExpr=TIME_LABEL, tickCount=4, minExtent=48)

    def y(column: str) -> "alt.Y":
        return alt.Y(f"{column}:Q", title=None, scale=scale, axis=axis)

    colour = alt.Color("direction:N").scale(
        domain=list(DIRECTIONS), range=list(DIRECTIONS.values())
    )
    colour = colour.legend(alt.Legend(title="change") if lines else None)
    at = alt.Chart().encode(x=x)
    changed = at.transform_filter("isValid(datum.change)").encode(color=colour)
    layers = [
        at.mark_rule(opacity=0).encode(y=y("least"), y2="most"),
        at.mark_area(color=PALE, opacity=0.4).encode(y=y("low"), y2="high"),
        at.mark_rule(color=PALE).encode(y=y("low"), y2="high"),
        at.mark_line(color=GREY, strokeWidth=1).encode(y=y("time_ns")),
        at.transform_filter("isValid(datum.level_ns)")
        .mark_line(color=INK, strokeWidth=2.5, opacity=0.75)
        .encode(y=y("level_ns"), detail="level:N"),
        changed.mark_rule(strokeDash=[4, 3], strokeWidth=1.5).encode(
            y=alt.value(LINE * lines), y2=alt.value(height)
        ),
        changed.mark_text(align="left", baseline="middle").encode(
            x=alt.value(4), y=alt.Y("line:Q").scale(None), text="text:N"
        ),
        at.mark_point(size=26, strokeWidth=1.2, opacity=1, stroke=INK).encode(
            y=y("time_ns"),
            fill=alt.when("datum.lone").then(alt.value("white")).otherwise(alt.value(INK)),
            tooltip=TOOLTIP,
        ),
    ]
    header = alt.Header(title=None, labelAnchor="start", labelFontWeight="bold", labelPadding=2)
    chart: alt.FacetChart = (
        alt.layer(*layers, data=points)
        .properties(width=WIDTH, height=height)
        .facet(
            alt.Facet("panel:N", sort=list(points["panel"].unique()), header=header),
            columns=COLUMNS,
        )
        .resolve_scale(y="independent")
        .properties(title=alt.Title(title, anchor="start"))
    )
    return chart
