"""What a feature found, before anyone lays it out: tables, notes, and every number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
"""Heading of a column to its cell."""

Worth = Sequence[Sequence[str]]
"""Groups of columns, each shown or left out together, from the least to the most worth."""


@dataclass(frozen=True)
class Table:
    """Rows for people: cells are text, or values that show as they are."""

    rows: Sequence[Row]
    worth: Worth = ()
    """Columns that a narrow terminal may leave out."""
    above: Sequence[str] = ()
    """Lines that stand above it: what it is of."""


@dataclass(frozen=True)
class View:
    """Tables and the notes below them, for people; and records, for programs."""

    tables: Sequence[Table]
    notes: Sequence[str] = ()
    records: Sequence[Row] = ()
    """Every number, unformatted: what csv has."""
