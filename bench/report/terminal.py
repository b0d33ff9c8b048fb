"""What a terminal has room for: its width, and which columns of a table are shown in it."""

import shutil
import sys
from collections.abc import Callable, Sequence

from rich.cells import cell_len

from ..matrix.axes import AXES
from .view import Row, Worth

VARIANT = "variant"
"""The column that stands for several axes."""
ALWAYS_SHOWN = ("batch", "optimizer")
"""Axes whose values a variant has also where they are the default."""

Rows = Sequence[Row]


def table_width(wide: bool) -> int | None:
    """The columns that a printed table has room for.

    None is no limit: `wide` asks for everything, files and pipes get everything, and so does a
    terminal of unknown width.
    """
    if wide or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size((0, 0)).columns or None


def fit(rows: Rows, width: int, worth: Worth, laid_out: Callable[[Rows], str]) -> tuple[Rows, str]:
    """As much of the rows as `laid_out` writes in `width` columns, and a line on the rest.

    Tried in turn, until the table fits: columns go that are the same in all rows; axes that most
    rows have at their default become one column; the groups of `worth` go; headings that are
    wider than their cells are shortened; all axes become one column. Then what fits beside the
    rest comes back, most worth first. No cell is cut, so a table can remain wider than `width`.
    """

    def needed(table: Rows, out: Worth) -> int:
        return max(map(cell_len, laid_out(_without(table, out)).splitlines()))

    if needed(rows, ()) <= width:
        return rows, ""
    worthy = {name for group in worth for name in group}
    same = {}
    for name in rows[0]:
        # An axis is blank in a row that continues the one above.
        seen = {row.get(name, "") for row in rows} - ({""} if name in AXES else set())
        if (name in AXES or name in worthy) and len(rows) > 1 and len(seen) == 1:
            (same[name],) = seen
    kept = [name for name in rows[0] if name not in same and name not in worthy]
    axes = [name for name in kept if name in AXES]
    mostly_default = [
        name
        for name in axes
        if name not in ALWAYS_SHOWN
        and 2 * sum(row[name] in (AXES[name].default, "") for row in rows) >= len(rows)
    ]
    constant: Worth = [(name,) for name in same]
    least: Worth = [*constant, *worth]
    some, every = _combined(rows, mostly_default), _combined(rows, axes)
    tries = [
        ((rows, ""), constant),
        (some, constant),
        (some, least),
        (_shortened(*some, kept), least),
        (_shortened(*every, kept), least),
    ]
    fitting = (tried for tried in tries if needed(tried[0][0], tried[1]) <= width)
    (table, meanings), out = next(fitting, tries[-1])
    for group in reversed(out):
        others = [other for other in out if other is not group]
        if needed(table, others) <= width:
            out = others
    gone = {name for group in out for name in group}
    names = [
        f"{name} ({same[name]} in every row)" if name in same else name
        for name in rows[0]
        if name in gone
    ]
    final = needed(table, out)
    line = [
        f"Left out to fit {width} columns: {', '.join(names)}." if names else "",
        meanings,
        f"The table needs {final} columns." if final > width else "",
        "--wide shows all.",
    ]
    return _without(table, out), " ".join(filter(None, line))


def _without(rows: Rows, out: Worth) -> Rows:
    gone = {name for group in out for name in group}
    return [{name: cell for name, cell in row.items() if name not in gone} for row in rows]


def _combined(rows: Rows, axes: Sequence[str]) -> tuple[Rows, str]:
    """Rows with one column for these axes, and what it stands for."""
    if len(axes) < 2:
        return rows, ""

    def variant(row: Row) -> str:
        given = [name for name in axes if row[name] != ""]
        parts = [
            f"{AXES[name].prefix}{row[name]}"
            for name in given
            if name in ALWAYS_SHOWN or row[name] != AXES[name].default
        ]
        return " ".join(parts) or ("default" if given else "")

    first, *others = axes
    combined = [
        {
            VARIANT if name == first else name: variant(row) if name == first else cell
            for name, cell in row.items()
            if name not in others
        }
        for row in rows
    ]
    shown = [name for name in axes if name in ALWAYS_SHOWN]
    hidden = [name for name in axes if name not in ALWAYS_SHOWN]
    defaults = ", ".join(str(AXES[name].default) for name in hidden)
    where = f" where not {defaults}" if hidden else ""
    return combined, f"{VARIANT}: {', '.join([*shown, *hidden])}{where}."


def _shortened(rows: Rows, meanings: str, among: Sequence[str]) -> tuple[Rows, str]:
    """Rows whose headings are one word where more are wider than the cells, and what they mean."""
    words = [name.split()[0] for name in rows[0]]
    short = {
        name: word
        for name, word in zip(rows[0], words, strict=True)
        if name in among
        and words.count(word) == 1
        and len(word) < len(name) > max(cell_len(str(row.get(name, ""))) for row in rows)
    }
    renamed = [{short.get(name, name): cell for name, cell in row.items()} for row in rows]
    also = [f"{word}: {name}." for name, word in short.items()]
    return renamed, " ".join(filter(None, [meanings, *also]))
