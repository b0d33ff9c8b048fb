"""The history of one machine's cases, as a chart: a panel for each, with where its level moved."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.errors import UsageError
from bench.matrix.axes import AXES
from bench.report.charts import LETTER, Range, decades
from bench.stats.frame import RUN, varying
from bench.trend.analysis import HISTORY, Trend, history_name
from bench.units import duration, percent

if TYPE_CHECKING:  # it takes longer to import than a table to print
    import altair as alt

WIDTH, HEIGHT, LINE = 240, 100, 11.0
"""Of a panel and of a line of its text, in pixels."""
COLUMNS = 4
PANELS = 60
"""As many cases are drawn; of more, those that change come first."""
LEAST_SPAN = 1.15
"""An axis of times covers this much at least, so that noise does not look like news."""
SHORT, MARKS = 4.0, 5
"""An axis that covers less than the first is short, and has fewer marks than the second."""
MOVES = {"slower": "#d55e00", "faster": "#0072b2"}
"""What a level does, to its colour. The colours differ in lightness too."""
UNITS = (("s", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1.0))
TOLD = {
    "case": "case",
    "moment": "measured",
    "run": "run",
    "told": "time",
    "on": "level",
    "torch": "torch",
    "flags": "flags",
}
"""What a run says when pointed at."""


def trend_chart(found: Sequence[Trend], moments: Mapping[str, str]) -> "alt.VConcatChart":
    """Times over runs, a panel for each case of each history. All scales of time are logarithmic.

    Cases with one time or none have no panel. `moments`: run to when it was measured, in that
    order. Raises UsageError where there is nothing to draw.
    """
    import altair as alt

    timed = [trend for trend in found if len(trend.timed) > 1]
    if not timed:
        raise UsageError("nothing to draw: no case has times in two runs; the table says why")
    most = sorted(timed, key=lambda trend: not trend.changes)[:PANELS]
    drawn = [trend for trend in timed if trend in most]
    tables = pd.concat([trend.table for trend in drawn])
    names = [name for name in varying(tables) if name != RUN] or ["optimizer", "batch"]
    kinds = tables[list(HISTORY)].drop_duplicates()
    several = len(kinds) > 1
    histories = []
    for environment, version, state in kinds.itertuples(index=False):
        of_it = [
            trend
            for trend in drawn
            if tuple(trend.table.iloc[0][list(HISTORY)]) == (environment, version, state)
        ]
        seen = {run for trend in of_it for run in trend.table["run"]}
        runs = {run: at for run, at in moments.items() if run in seen}
        panels = [
            _panel(trend, runs, _name(trend, names), below=number + COLUMNS >= len(of_it))
            for number, trend in enumerate(of_it)
        ]
        title = history_name(environment, version, state) if several else ""
        histories.append(
            alt.concat(*panels, columns=COLUMNS, spacing={"row": 14, "column": 18}).properties(
                title=alt.Title(title, anchor="start", offset=8)
            )
        )
    chart: alt.VConcatChart = (
        alt.vconcat(*histories, spacing=24)
        .properties(title=_title(drawn, len(timed), len(found)), background="white", padding=16)
        .configure_text(fontSize=10)
        .configure_axis(gridColor="#ececec", titleFontWeight="normal")
        .configure_legend(orient="top", direction="horizontal", titleOrient="left")
    )
    return chart


def _title(drawn: Sequence[Trend], timed: int, everything: int) -> "alt.Title":
    import altair as alt

    table = drawn[0].table
    left_out = {
        "more cases do not change": timed - len(drawn),
        "more have a time in one run, or in none": everything - timed,
    }
    return alt.Title(
        f"{table.iloc[0]['machine']}: {table.iloc[0]['series']} times, run after run",
        subtitle=[
            "Dots: runs in the order they were measured, evenly spaced, in the band in which "
            "another run lands 95 times in 100; hollow: on no level.",
            "Thick: the level they stand on; dashed: the first run after it moved, and the level "
            "after over the level before.",
            *(f"{count} {what}: see the table." for what, count in left_out.items() if count),
        ],
        anchor="start",
        fontSize=16,
        subtitleColor="#555555",
        subtitlePadding=6,
        offset=16,
    )


def _name(trend: Trend, names: Sequence[str]) -> str:
    """A case by what varies."""
    row = trend.table.iloc[0]
    words = [str(row[name]) for name in names if name in ("device", "dtype", "optimizer")]
    rest = [name for name in names if name not in ("device", "dtype", "optimizer")]
    rest = [name for name in rest if name == "batch" or row[name] != AXES[name].default]
    return " ".join([*words, *(f"{AXES[name].prefix}{row[name]}" for name in rest)])


def time_range(table: pd.DataFrame, lines: int) -> Range:
    """Around the bands of all runs, at least LEAST_SPAN wide, and with room above for so many
    lines of text."""
    spread = np.exp(table["half"])
    low, high = (table["time_ns"] / spread).min(), (table["time_ns"] * spread).max()
    more = math.sqrt(max(LEAST_SPAN / (high / low), 1.0)) * 1.005
    low, high = low / more, high * more
    share = lines * LINE / (HEIGHT - lines * LINE)
    return low, high * 10 ** (share * decades((low, high)))


def time_marks(domain: Range) -> list[float]:
    """Round times for an axis, in nanoseconds: evenly spaced on a short one, else 1, 2, 5, 10.

    None is so near an end that its label would stick out.
    """
    edge = 10 ** (decades(domain) * LINE / 2 / HEIGHT)
    low, high = domain[0] * edge, domain[1] / edge
    tens = 10.0 ** np.arange(
        math.floor(math.log10(high - low)) - 1, math.ceil(math.log10(high)) + 1
    )
    steps = [float(step) for step in np.multiply.outer(tens, (1, 2, 5)).ravel()]
    if high / low < SHORT:
        step = next(step for step in steps if (high - low) / step < MARKS)
        steps = [step * count for count in range(math.ceil(low / step), int(high / step) + 1)]
    return [step for step in steps if low <= step <= high]


def _panel(trend: Trend, runs: Mapping[str, str], name: str, below: bool) -> "alt.LayerChart":
    """`below`: whether no panel stands under it, so that it names the runs."""
    import altair as alt

    timed = trend.timed
    domain = time_range(timed, lines=len(trend.changes))
    unit, divisor = next((u, d) for u, d in UNITS if domain[1] >= d or d == 1)
    points = _points(timed, runs, divisor)
    changes = _changes(trend, list(runs), domain, divisor)
    names = f"({json.dumps({run: at[5:] for run, at in runs.items()})})[datum.value]"
    axis = alt.Axis(
        labelExpr=names,
        labelAngle=-60,
        labelOverlap="greedy",
        labels=below,
        ticks=below,
        grid=False,
    )
    x = alt.X("run:O", title=None, sort=None, axis=axis).scale(
        type="point", domain=list(runs), padding=0.5
    )
    scale = alt.Scale(type="log", domain=[end / divisor for end in domain], nice=False)
    marks = [mark / divisor for mark in time_marks(domain)]
    y = alt.Y("time:Q", title=unit, scale=scale).axis(values=marks, format="~g", minExtent=34)
    colour = alt.Color("move:N", legend=alt.Legend(title="level moves", symbolOpacity=1)).scale(
        domain=list(MOVES), range=list(MOVES.values())
    )
    at = alt.Chart(points).encode(x=x)
    moved = alt.Chart(changes)
    layers = [
        at.mark_area(color="#999999", opacity=0.25).encode(
            y=alt.Y("low:Q", scale=scale), y2="high:Q"
        ),
        at.mark_rule(color="#999999", opacity=0.5).encode(
            y=alt.Y("low:Q", scale=scale), y2="high:Q"
        ),
        at.mark_line(color="#888888", strokeWidth=1).encode(y=y),
        alt.Chart(_levels(timed, divisor))
        .mark_rule(color="#1a1a1a", strokeWidth=2.5, opacity=0.75)
        .encode(x=x, x2="last:O", y=alt.Y("level:Q", scale=scale)),
        at.mark_point(size=26, strokeWidth=1.2, opacity=1).encode(
            y=y,
            fill=alt.Fill("fill:N", scale=None),
            color=alt.Color("stroke:N", scale=None),
            tooltip=[alt.Tooltip(f"{field}:N", title=title) for field, title in TOLD.items()],
        ),
    ]
    if not changes.empty:
        layers += [
            moved.mark_rule(strokeDash=[4, 3], strokeWidth=1.5).encode(x=x, color=colour),
            *(
                moved.transform_filter(alt.datum.side == side)
                .mark_text(align=side, baseline="top", dx=4 if side == "left" else -4)
                .encode(x=x, y=alt.Y("text_at:Q", scale=scale), text="text:N", color=colour)
                for side in ("left", "right")
            ),
        ]
    title = alt.Title(name, anchor="start", frame="group", fontSize=11, offset=4)
    return alt.LayerChart(layer=layers).properties(title=title, width=WIDTH, height=HEIGHT)


def _points(timed: pd.DataFrame, moments: Mapping[str, str], divisor: float) -> pd.DataFrame:
    spread = np.exp(timed["half"])
    lone = timed["lone"]
    told = [
        f"{duration(time)} ± {percent(half)}"
        for time, half in zip(timed["time_ns"], timed["half"], strict=True)
    ]
    return pd.DataFrame(
        {
            **{name: timed[name] for name in ("case", "run", "torch")},
            "moment": timed["run"].map(moments),
            "time": timed["time_ns"] / divisor,
            "low": timed["time_ns"] / spread / divisor,
            "high": timed["time_ns"] * spread / divisor,
            "told": told,
            "on": timed["level_ns"].map(duration),
            "flags": timed["flags"].map(", ".join),
            "fill": np.where(lone, "white", "#1a1a1a"),
            "stroke": "#1a1a1a",
        }
    )


def _levels(timed: pd.DataFrame, divisor: float) -> pd.DataFrame:
    """A row for each level, from its first run to its last."""
    on_level = timed[timed["level_ns"].notna()]
    ends = on_level.groupby("level")["run"].agg(["first", "last"])
    means = on_level.groupby("level")["level_ns"].first() / divisor
    return ends.rename(columns={"first": "run"}).assign(level=means)


def _changes(trend: Trend, runs: list[str], domain: Range, divisor: float) -> pd.DataFrame:
    """A row for each change, each with its text on a line of its own, from the top down."""
    line = decades(domain) * LINE / HEIGHT
    rows: list[dict[str, Any]] = []
    for number, change in enumerate(trend.changes):
        text = f"{change.ratio:.3f} ± {percent(change.ratio_half)}"
        place = (runs.index(change.after) + 0.5) / len(runs) * WIDTH
        rows.append(
            {
                "run": change.after,
                "move": "slower" if change.ratio > 1 else "faster",
                "text": text,
                "text_at": domain[1] * 10 ** (-line * number) / divisor,
                "side": "left" if place + LETTER * len(text) < WIDTH else "right",
            }
        )
    return pd.DataFrame(rows)
