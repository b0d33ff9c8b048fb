"""The look that charts share, and their files: HTML that needs no network, PNG and SVG."""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..errors import MachineError, UsageError
from ..matrix.axes import axis_named, written

if TYPE_CHECKING:  # of an extra; and it takes longer to import than a table to print
    import altair as alt

INK, GREY, PALE = "#1a1a1a", "#777777", "#bbbbbb"


class _InScript(json.JSONEncoder):
    """JSON for a page's script element, which the text of a run file could otherwise end."""

    def encode(self, o: object) -> str:
        return super().encode(o).replace("<", "\\u003c")


SAVED: dict[str, dict[str, Any]] = {
    ".html": {
        "inline": True,
        "json_kwds": {"cls": _InScript},
        "embed_options": {"actions": {"export": True, "source": False, "editor": False}},
    },
    ".png": {"scale_factor": 2},
    ".svg": {},
}
"""The suffixes a chart can be saved under, and how."""
DRAWN_BY = ("altair", "vl_convert")
"""Modules of the extra `report`."""


def configuration(row: "pd.Series[Any]", names: Sequence[str]) -> str:
    """A case by its optimizer and those of the named axes that are not at their default.

    The batch size is given wherever it is named.
    """
    given = [
        name
        for name in names
        if name not in ("run", "optimizer")
        and row[name] != ""
        and (name == "batch" or row[name] != axis_named(name).default)
    ]
    return " ".join([row["optimizer"], *(written(name, row[name]) for name in given)])


def page(
    rows: Sequence["alt.ConcatChart | alt.FacetChart | alt.HConcatChart"],
    title: str,
    subtitle: Sequence[str],
) -> "alt.VConcatChart":
    """Charts below one another under one title, with the look that all charts share."""
    import altair as alt

    heading = alt.Title(
        title,
        subtitle=list(subtitle),
        anchor="start",
        fontSize=16,
        subtitleColor=GREY,
        subtitlePadding=6,
        offset=16,
    )
    chart: alt.VConcatChart = (
        alt.vconcat(*rows, spacing=30)
        .properties(title=heading, background="white", padding=16)
        .configure_text(fontSize=10, color=GREY)
        .configure_axis(gridColor="#ececec", titleFontWeight="normal")
        .configure_legend(orient="top", direction="horizontal", titleOrient="left")
    )
    return chart


def not_drawn(counts: Mapping[str, int]) -> list[str]:
    """The line of a subtitle on the cases that a chart leaves out: why, to how many."""
    left_out = ", ".join(f"{count} {why}" for why, count in counts.items() if count)
    return [f"Not drawn: {left_out}; see the table."] if left_out else []


def check_chart(path: Path) -> None:
    """Raise UsageError where a chart cannot be saved at a path.

    Its suffix is not in SAVED, its folder is not there, or the extra `report` is not installed.
    """
    if path.suffix not in SAVED:
        allowed = ", ".join(SAVED)
        raise UsageError(f"{path}: a chart's file ends in one of {allowed}, not {path.suffix!r}")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}: make it, or name another")
    if any(find_spec(module) is None for module in DRAWN_BY):
        raise UsageError(
            f"{path}: charts need packages that are not installed: "
            "pip install 'sumnet-bench[report]'"
        )


def save_chart(chart: "alt.TopLevelMixin", path: Path) -> None:
    """Write a chart as its file's suffix says. The path has passed check_chart.

    Raises MachineError where the file cannot be written.
    """
    try:
        chart.save(path, **SAVED[path.suffix])
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from None
