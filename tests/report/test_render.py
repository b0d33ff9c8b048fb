"""Views as text: every format, and what a narrow terminal is shown."""

import io
from collections.abc import Sequence

import pandas as pd
import pytest

from bench.options import FORMATS
from bench.report.render import TERMINAL, render
from bench.report.view import Row, Table, View, Worth
from tests.cases import sumnet

ROWS = [
    {"case": "a", "quiet": "1.5 us", "± 95%": "1.0%"},
    {"case": "b & c", "quiet": "failed", "± 95%": "-"},
]
RECORDS = [{"case": "a", "quiet_ns": 1500.5, "ok": True}, {"case": "b", "quiet_ns": None}]
VIEW = View([Table(ROWS, above=["Above < it."])], ["First note.", "Note & more."], RECORDS)


def text_of(
    rows: Sequence[Row], worth: Worth = (), width: int | None = None, style: str = "github"
) -> str:
    return render(View([Table(rows, worth)]), style, width)


# Every format


@pytest.mark.parametrize("style", sorted({*FORMATS} - {"csv"}))
def test_every_format_of_tables_holds_every_cell(style: str) -> None:
    text = render(VIEW, style)
    for word in ("case", "quiet", "1.5 us", "1.0", "failed", "-"):
        assert word in text
    assert len(text.splitlines()) >= 3
    assert not text.endswith("\n")


def test_github_has_the_lines_above_then_the_table_then_the_notes() -> None:
    above, table, notes = render(VIEW, "github").split("\n\n")
    assert above == "Above < it."
    assert table.splitlines()[1].startswith("|-")
    assert notes.splitlines() == ["First note.", "Note & more."]


def test_html_has_the_same_as_paragraphs_and_escapes_it() -> None:
    text = render(VIEW, "html")
    assert text.startswith("<p>Above &lt; it.</p>\n<table>") and "b &amp; c" in text
    assert text.endswith("</table>\n<p>First note.</p>\n<p>Note &amp; more.</p>")


def test_latex_has_the_same_as_comments() -> None:
    text = render(VIEW, "latex")
    assert text.startswith("% Above < it.\n\\begin{tabular}{lrr}") and r"b \& c" in text
    assert text.endswith("\\end{tabular}\n% First note.\n% Note & more.")


def test_tsv_has_the_tables_alone() -> None:
    text = render(View([*VIEW.tables, Table(ROWS[:1])], VIEW.notes), "tsv")
    first, second = (
        [[cell.strip() for cell in line.split("\t")] for line in table.splitlines()]
        for table in text.split("\n\n")
    )
    assert first == [["case", "quiet", "± 95%"], ["a", "1.5 us", "1.0%"], ["b & c", "failed", "-"]]
    assert second == first[:2]


def test_csv_has_the_records_alone_with_numbers_as_numbers() -> None:
    back = pd.read_csv(io.StringIO(render(VIEW, "csv")))
    assert list(back.columns) == ["case", "quiet_ns", "ok"]
    assert back["quiet_ns"].tolist() == pytest.approx([1500.5, float("nan")], nan_ok=True)


@pytest.mark.parametrize("style", ["github", "plain", "html", "latex"])
def test_view_without_rows_says_so_and_keeps_its_notes(style: str) -> None:
    text = render(View([Table([], above=["Of nothing."])], ["A note."]), style)
    assert "Nothing was measured." in text and "A note." in text and "Of nothing." not in text
    assert "Nothing" not in render(View([Table([]), Table(ROWS)]), style)
    assert "Nothing" not in render(View([], ["A note."]), style)


@pytest.mark.parametrize("style", ["tsv", "csv"])
def test_view_without_rows_is_empty_for_programs(style: str) -> None:
    assert render(View([Table([])], ["A note."]), style) == ""


# What a narrow terminal is shown

NARROW_WORTH = (("least",), ("twin a", "twin b"), ("most",))
NARROW = [
    {
        "batch": batch,
        "first": f"{batch} us",
        "most": f"{batch} m",
        "twin a": f"{batch} a",
        "twin b": f"{batch} b",
        "same": "x",
        "least": f"{batch} l",
    }
    for batch in (2, 1024)
]
SAME_WORTH = (("same",), *NARROW_WORTH)


def shown(text: str) -> list[str]:
    return [cell.strip() for cell in text.splitlines()[0].strip("|").split("|")]


def below(text: str) -> str:
    """The line under the table, which stands apart."""
    lines = text.splitlines()
    assert lines[-2] == ""
    return lines[-1]


def widest(text: str) -> int:
    return max(len(line) for line in text.splitlines() if line.startswith("|"))


def test_table_that_fits_is_left_as_it_is() -> None:
    whole = text_of(NARROW)
    assert text_of(NARROW, SAME_WORTH, widest(whole)) == whole


def test_columns_go_one_after_the_other_as_the_terminal_narrows() -> None:
    whole = widest(text_of(NARROW))
    seen: dict[tuple[str, ...], str] = {}
    for width in range(whole - 1, 20, -1):
        text = text_of(NARROW, SAME_WORTH, width)
        assert widest(text) <= width
        seen.setdefault(tuple(shown(text)), below(text).partition(": ")[2])
    assert seen == {
        ("batch", "first", "most", "twin a", "twin b", "least"): (
            "same (x in every row). --wide shows all."
        ),
        ("batch", "first", "most", "twin a", "twin b", "same"): "least. --wide shows all.",
        ("batch", "first", "most", "twin a", "twin b"): (
            "same (x in every row), least. --wide shows all."
        ),
        ("batch", "first", "most", "same", "least"): "twin a, twin b. --wide shows all.",
        ("batch", "first", "most", "least"): (
            "twin a, twin b, same (x in every row). --wide shows all."
        ),
        ("batch", "first", "most", "same"): "twin a, twin b, least. --wide shows all.",
        ("batch", "first", "most"): (
            "twin a, twin b, same (x in every row), least. --wide shows all."
        ),
        ("batch", "first"): (
            "most, twin a, twin b, same (x in every row), least. --wide shows all."
        ),
    }


def test_every_table_fits_and_its_line_stands_below_it() -> None:
    text = render(View([Table(NARROW, SAME_WORTH)] * 2, ["A note."]), "github", 30)
    table, line = text.split("\n\n")[:2]
    assert text.split("\n\n") == [table, line, table, line, "A note."]
    assert widest(text) <= 30 and line.startswith("Left out to fit 30 columns: ")


def test_what_always_stays_is_printed_whole_where_even_that_is_too_wide() -> None:
    text = text_of(NARROW, SAME_WORTH, 10)
    assert shown(text) == ["batch", "first"]
    assert f"needs {widest(text)} columns. --wide shows all." in below(text)
    assert "1024 us" in text


def test_figure_that_is_the_same_in_all_rows_stays_where_it_is_the_first() -> None:
    rows = [row | {"first": "unsupported"} for row in NARROW]
    assert shown(text_of(rows, SAME_WORTH, 30)) == ["batch", "first"]


def test_of_one_row_nothing_is_the_same_in_all() -> None:
    text = text_of(NARROW[:1], SAME_WORTH, 30)
    assert shown(text) == ["batch", "first", "most"]
    assert "in every row" not in text


@pytest.mark.parametrize("style", sorted({*FORMATS} - {*TERMINAL}))
def test_formats_for_files_are_whole_in_any_terminal(style: str) -> None:
    view = View([Table(NARROW, SAME_WORTH)], records=NARROW)
    assert render(view, style, 10) == render(view, style)


def test_plain_text_fits_too() -> None:
    text = text_of(NARROW, SAME_WORTH, 30, "plain")
    assert text.splitlines()[0].split() == ["batch", "first", "most"]
    assert "Left out to fit 30 columns: " in below(text)


def test_sign_of_an_interval_takes_one_column() -> None:
    rows = [{"quiet ± 95%": "1.5 us ± 1.0%", "b": "1"}, {"quiet ± 95%": "2 us ± 1.0%", "b": "2"}]
    whole = text_of(rows)
    assert text_of(rows, (("b",),), len(whole.splitlines()[0])) == whole


AXES_ROWS = [
    {
        "dtype": case.dtype,
        "batch": case.own_values["batch"],
        "optimizer": case.optimizer,
        "implementation": case.implementation,
        "hidden": case.own_values["hidden"],
        "quiet": "100 us",
        "vs implementation default": f"{number}.000",
    }
    for number, case in enumerate(
        (
            sumnet(),
            sumnet(batch=1024),
            sumnet(optimizer="adam"),
            sumnet(optimizer="adam", implementation="fused", dtype="float64"),
        )
    )
]


def test_axes_that_are_mostly_at_their_default_become_one_column() -> None:
    text = text_of(AXES_ROWS, (), 84)
    heading = ["variant", "batch", "optimizer", "quiet", "vs implementation default"]
    assert shown(text) == heading
    cells = [line.strip("|").split("|")[0].strip() for line in text.splitlines()[2:6]]
    assert cells == ["default", "default", "default", "float64 fused"]
    assert below(text) == (
        "Left out to fit 84 columns: hidden (10 in every row). variant: dtype, implementation "
        "where not float32, default. --wide shows all."
    )


def test_long_heading_is_shortened_then_all_axes_are_one_column() -> None:
    text = text_of(AXES_ROWS, (), 64)
    assert shown(text) == ["variant", "batch", "optimizer", "quiet", "vs"]
    assert "vs: vs implementation default." in below(text)
    text = text_of(AXES_ROWS, (), 50)
    assert shown(text) == ["variant", "quiet", "vs"]
    assert "| float64 b2 adam fused |" in text
    assert "variant: batch, optimizer, dtype, implementation where not float32, default." in below(
        text
    )
    assert widest(text) <= 50


def test_row_that_continues_the_one_above_has_no_variant() -> None:
    axes = dict.fromkeys(("dtype", "batch", "optimizer", "implementation", "hidden"), "")
    text = text_of([*AXES_ROWS, AXES_ROWS[0] | axes], (), 84)
    assert text.splitlines()[6].startswith("|               |         |")
    assert "hidden (10 in every row)" in below(text)
