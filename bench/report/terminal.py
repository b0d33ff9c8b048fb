"""What a terminal has room for: its width, and which columns of a table are shown in it."""

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.cells import cell_len

from bench.matrix.axes import AXES

Worth = Sequence[Sequence[str]]
"""Groups of columns, each shown or left out together, from the least to the most worth."""

VARIANT = "variant"
"""The column that stands for several axes."""
ALWAYS_SAID = ("batch", "optimizer")
"""Axes whose values it says also where they are the default."""

Rows = Sequence[dict[str, Any]]


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

    def needed(table: Rows, out: Sequence[Sequence[str]]) -> int:
        return max(map(cell_len, laid_out(_without(table, out)).splitlines()))

    if needed(rows, ()) <= width:
        return rows, ""
    worthy = {name for group in worth for name in group}
    same = _same(rows, {*AXES, *worthy})
    constant: list[Sequence[str]] = [(name,) for name in same]
    least = [*constant, *worth]
    kept = [name for name in rows[0] if name not in same and name not in worthy]
    axes = [name for name in kept if name in AXES]
    few = _combined(rows, [name for name in axes if _mostly_default(rows, name)])
    tries = [
        ((rows, ""), constant),
        (few, constant),
        (few, least),
        (_shortened(*few, kept), least),
        (_shortened(*_combined(rows, axes), kept), least),
    ]
    fitting = (tried for tried in tries if needed(tried[0][0], tried[1]) <= width)
    (table, told), out = next(fitting, tries[-1])
    for group in reversed(out):
        others = [other for other in out if other is not group]
        if needed(table, others) <= width:
            out = others
    return _without(table, out), _line(rows[0], same, out, told, needed(table, out), width)


def _line(
    columns: Iterable[str],
    same: dict[str, Any],
    out: Sequence[Sequence[str]],
    told: str,
    needed: int,
    width: int,
) -> str:
    gone = {name for group in out for name in group}
    names = [
        f"{name} ({same[name]} in every row)" if name in same else name
        for name in columns
        if name in gone
    ]
    between = "; " if any("," in name for name in names) else ", "
    parts = [
        f"Left out to fit {width} columns: {between.join(names)}." if names else "",
        told,
        f"What is shown needs {needed} columns." if needed > width else "",
        "--wide shows all.",
    ]
    return " ".join(part for part in parts if part)


def _without(rows: Rows, out: Sequence[Sequence[str]]) -> Rows:
    gone = {name for group in out for name in group}
    return [{name: cell for name, cell in row.items() if name not in gone} for row in rows]


def _same(rows: Rows, among: set[str]) -> dict[str, Any]:
    """Columns that have one value in all rows, and the value; one row alone has none."""
    values = {name: _values(rows, name) for name in rows[0] if name in among}
    return {name: seen[0] for name, seen in values.items() if len(rows) > 1 and len(seen) == 1}


def _values(rows: Rows, name: str) -> list[Any]:
    """What is seen in a column; an axis is blank in a row that continues the one above."""
    seen = dict.fromkeys(row.get(name, "") for row in rows)
    return [value for value in seen if not (name in AXES and value == "")]


def _mostly_default(rows: Rows, axis: str) -> bool:
    if axis in ALWAYS_SAID:
        return False
    return 2 * sum(row[axis] in (AXES[axis].default, "") for row in rows) >= len(rows)


def _combined(rows: Rows, axes: Sequence[str]) -> tuple[Rows, str]:
    """Rows with one column for these axes, and what it stands for."""
    if len(axes) < 2:
        return rows, ""
    first, *others = axes
    combined = []
    for row in rows:
        variant = _variant(row, axes)
        combined.append(
            {
                VARIANT if name == first else name: variant if name == first else cell
                for name, cell in row.items()
                if name not in others
            }
        )
    said = [name for name in axes if name in ALWAYS_SAID]
    unsaid = [name for name in axes if name not in ALWAYS_SAID]
    defaults = ", ".join(str(AXES[name].default) for name in unsaid)
    where = f" where not {defaults}" if unsaid else ""
    return combined, f"{VARIANT} stands for {', '.join([*said, *unsaid])}{where}."


def _variant(row: dict[str, Any], axes: Sequence[str]) -> str:
    given = [name for name in axes if row[name] != ""]
    parts = [
        f"{AXES[name].prefix}{row[name]}"
        for name in given
        if name in ALWAYS_SAID or row[name] != AXES[name].default
    ]
    return " ".join(parts) or ("default" if given else "")


def _shortened(rows: Rows, told: str, among: Sequence[str]) -> tuple[Rows, str]:
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
    return renamed, " ".join(
        [told, *(f"{word} stands for {name}." for name, word in short.items())]
    ).strip()
