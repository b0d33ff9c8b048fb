"""What a feature found, before it is laid out: tables, notes and records.

A feature's `views.py` makes a View; `render` alone makes text of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

Row = dict[str, Any]
"""Heading of a column to its cell; all rows of a table have the first row's columns, in order."""

Worth = Sequence[Sequence[str]]
"""Groups of columns, each shown or left out together, from the least to the most worth."""


@dataclass(frozen=True)
class Table:
    """Rows for people: cells are text, or values that show as they are."""

    rows: Sequence[Row]
    worth: Worth = ()
    """Columns that a narrow terminal may leave out; a column in no group always stays."""
    above: Sequence[str] = ()
    """Lines that stand above the table, such as what it is of."""


@dataclass(frozen=True)
class View:
    """Tables and the notes below them, for people; records, for programs."""

    tables: Sequence[Table]
    notes: Sequence[str] = ()
    """Whole sentences, one a line: what the marks, words and intervals in the tables mean."""
    records: Sequence[Row] = ()
    """Every number, unformatted: what csv has."""


def records(frame: pd.DataFrame) -> list[Row]:
    """The rows of a frame, numbers as numbers; flags and marks, words or none, as text."""
    words = {name: frame[name].map(", ".join) for name in ("flags", "marks") if name in frame}
    return [{str(k): v for k, v in row.items()} for row in frame.assign(**words).to_dict("records")]
