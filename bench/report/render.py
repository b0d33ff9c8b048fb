"""A View as text: the only place where what a feature found is laid out."""

from collections.abc import Sequence
from html import escape

import pandas as pd
from tabulate import tabulate

from ..matrix.axes import AXES
from .terminal import VARIANT, fit
from .view import Row, View

TERMINAL = ("github", "plain")
"""Formats that people read in a terminal, which may be narrow."""
NO_ROWS = "Nothing was measured."
LEFT = {"case", "run", "statistic", VARIANT} | {
    name for name, axis in AXES.items() if isinstance(axis.default, str)
}
"""Columns of words; figures stand to the right."""


def render(view: View, style: str, width: int | None = None) -> str:
    """The text of a view in one of options.FORMATS, without a line break at its end.

    github, plain, html and latex have the tables, each below its lines, then the notes; tsv has the
    tables alone, with a blank line between two; csv has `view.records` alone, numbers as numbers.

    In a format of TERMINAL, a table wider than `width` columns loses the columns worth least, and a
    line below it names them.
    """
    if style == "csv":
        return pd.DataFrame(view.records).to_csv(index=False).rstrip("\n")
    tables = [table for table in view.tables if table.rows]
    if style == "tsv":
        return "\n\n".join(_laid_out(table.rows, style) for table in tables)
    parts: list[str] = []
    for table in tables:
        rows, left_out = table.rows, ""
        if width is not None and style in TERMINAL:
            rows, left_out = fit(rows, width, table.worth, lambda some: _laid_out(some, style))
        parts += [
            _prose(table.above, style),
            _laid_out(rows, style),
            _prose([left_out] if left_out else [], style),
        ]
    if view.tables and not tables:
        parts.append(_prose([NO_ROWS], style))
    parts.append(_prose(view.notes, style))
    between = "\n\n" if style in TERMINAL else "\n"
    return between.join(part for part in parts if part)


def _laid_out(rows: Sequence[Row], style: str) -> str:
    return str(
        tabulate(
            rows,
            headers="keys",
            tablefmt=style,
            disable_numparse=True,
            colalign=["left" if name in LEFT else "right" for name in rows[0]],
        )
    )


def _prose(lines: Sequence[str], style: str) -> str:
    """Lines above or below a table: paragraphs in HTML, comments in LaTeX."""
    match style:
        case "html":
            return "\n".join(f"<p>{escape(line)}</p>" for line in lines)
        case "latex":
            return "\n".join(f"% {line}" for line in lines)
    return "\n".join(lines)
