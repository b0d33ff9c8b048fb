"""What compiling costs and saves, as a table people read, in every format."""

from html.parser import HTMLParser

import pytest

from bench.compare.views import Request, comparison_text
from bench.matrix.case import Case
from bench.records.run_file import RunRecord
from bench.runner.events import CompileMeasured
from tests import synthetic
from tests.synthetic import Moods, compile_measured

pytestmark = pytest.mark.usefixtures("no_drift")

EAGER, COMPILED, STEP = Case(), Case(compile="on"), Case(compile="step")
BIG, BIG_COMPILED = Case(batch=1024), Case(batch=1024, compile="on")
EXACT = Moods(noise=0, between=0, blocks=6)
MEANING = "What compiling costs: the first step in a process of its own"
TIMES = {EAGER: 2e6, COMPILED: 1.2e6, STEP: 4e6}
ODD = "the compiler said <none> of 5% & gave up"


def run(times_ns: dict[Case, float], *compiled: CompileMeasured) -> RunRecord:
    return synthetic.run(times_ns, moods=EXACT, compiled=compiled)


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every github table in a text, its heading first."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return [[rows[0], *rows[2:]] for rows in found if rows]


def compile_table(record: RunRecord, request: Request | None = None) -> list[list[str]]:
    _, compiled = tables(comparison_text([record], ["ours"], request))
    return compiled


def test_row_has_both_first_steps_both_steady_steps_and_when_compiling_pays() -> None:
    record = run(TIMES, compile_measured(COMPILED, 20.0, 2.0), compile_measured(STEP, 9.0, 0.5))
    assert compile_table(record) == [
        [
            "compile",
            "first step, cold",
            "first step, warm",
            "eager step",
            "compiled step",
            "vs eager",
            "pays after, cold",
            "pays after, warm",
        ],
        ["on", "20 s", "2 s", "2 ms", "1.2 ms", "0.600 ± 0.0%", "25,000 steps", "2,500 steps"],
        ["step", "9 s", "500 ms", "2 ms", "4 ms", "2.000 ± 0.0%", "never", "never"],
    ]


def test_table_stands_under_the_times_with_what_it_means() -> None:
    text = comparison_text([run(TIMES, compile_measured(COMPILED, 20.0, 2.0))], ["ours"])
    assert text.index("quiet ± 95%") < text.index(MEANING) < text.index("first step, cold")
    assert text.index("first step, cold") < text.index("ours: Test CPU")


def test_pair_that_cannot_be_told_apart_is_unclear() -> None:
    record = run({EAGER: 1e6, COMPILED: 1e6}, compile_measured(COMPILED, 20.0, 2.0))
    assert compile_table(record)[1][-3:] == ["1.000 ± 0.0%", "unclear", "unclear"]


def test_compiled_case_without_its_eager_twin_says_so() -> None:
    record = run({BIG: 1e6, COMPILED: 6e5}, compile_measured(COMPILED, 20.0, 2.0))
    assert compile_table(record)[1][3:] == ["-", "600 us", "-", "no eager case", "no eager case"]
    text = comparison_text([record], ["ours"])
    why = "no eager case: its run did not measure the same case with compile off"
    assert f"\n{why}: {COMPILED.id}." in text


def test_eager_twin_of_another_run_is_not_taken() -> None:
    compiled = run({COMPILED: 6e5}, compile_measured(COMPILED, 20.0, 2.0))
    text = comparison_text([compiled, run({EAGER: 1e6})], ["ours", "theirs"])
    assert tables(text)[1][1][-2:] == ["no eager case", "no eager case"]


@pytest.mark.parametrize("status", ["failed", "unsupported", "timeout"])
@pytest.mark.parametrize(("case", "name"), [(EAGER, "eager"), (COMPILED, "compiled")])
def test_twin_that_did_not_run_is_named_with_what_became_of_it(
    case: Case, name: str, status: str
) -> None:
    times = {other: 1e6 for other in (EAGER, COMPILED) if other != case}
    measured = compile_measured(COMPILED, 20.0, 2.0)
    record = synthetic.run(
        times, moods=EXACT, compiled=[measured], ended={case: (status, "it broke")}
    )
    row = compile_table(record)[1]
    assert row[-2:] == [f"{name} case {status}"] * 2
    assert f"{status}: it broke" in comparison_text([record], ["ours"])


def test_rows_keep_their_own_words_beside_others() -> None:
    record = run(
        {EAGER: 2e6, COMPILED: 1e6, BIG_COMPILED: 1e6},
        compile_measured(COMPILED, 20.0, 2.0),
        compile_measured(BIG_COMPILED, 20.0, reason="the caches held nothing"),
    )
    whole, lonely = compile_table(record)[1:]
    assert (whole[-2:], lonely[-2:]) == (["20,000 steps", "2,000 steps"], ["no eager case"] * 2)
    text = comparison_text([record], ["ours"])
    assert text.count(" in ours: ") == 1 and "nan" not in text


def test_twins_without_quiet_times_are_not_called_too_close() -> None:
    measured = compile_measured(COMPILED, 20.0, 2.0)
    record = synthetic.run(TIMES, moods=EXACT, compiled=[measured])
    for case in record.cases:
        case.blocks.clear()
    assert compile_table(record)[1][-3:] == ["-", "no eager time", "no eager time"]


def test_missing_time_has_its_reason_under_the_table() -> None:
    record = run(TIMES, compile_measured(COMPILED, 20.0, reason="the caches held nothing"))
    text = comparison_text([record], ["ours"])
    (row,) = tables(text)[1][1:]
    assert (row[1], row[2], row[-2], row[-1]) == ("20 s", "-", "25,000 steps", "-")
    assert f"\n{COMPILED.id} in ours: the caches held nothing.\n" in text


def test_what_tells_compiled_cases_apart_names_their_rows() -> None:
    record = run(
        {**TIMES, BIG: 3e6, BIG_COMPILED: 1e6},
        compile_measured(COMPILED, 20.0, 2.0),
        compile_measured(BIG_COMPILED, 20.0, 2.0),
    )
    heading, *rows = compile_table(record)
    assert heading[:2] == ["batch", "compile"]
    assert [row[:2] for row in rows] == [["2", "on"], ["1024", "on"]]


def test_no_compile_time_asked_for_is_no_table() -> None:
    text = comparison_text([run(TIMES)], ["ours"])
    assert len(tables(text)) == 1
    assert MEANING not in text


@pytest.mark.parametrize(("by", "shown"), [("compile", 2), ("run", 2), ("optimizer", 1)])
def test_table_goes_with_comparisons_of_runs_and_of_compilation(by: str, shown: int) -> None:
    record = run(TIMES, compile_measured(COMPILED, 20.0, 2.0))
    assert len(tables(comparison_text([record], ["ours"], Request(by=by)))) == shown


class Outline(HTMLParser):
    """Which tags open in a page, and the text that stands in none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loose = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.loose += "" if self._open else data.strip()


def odd_text(style: str) -> str:
    record = run(TIMES, compile_measured(COMPILED, 20.0, reason=ODD))
    return comparison_text([record], ["ours"], Request(style=style))


def test_html_is_tables_and_paragraphs_with_the_reason_escaped() -> None:
    outline = Outline()
    outline.feed(odd_text("html"))
    assert set(outline.tags) == {"table", "thead", "tbody", "tr", "th", "td", "p"}
    assert outline.tags.count("table") == 2
    assert outline.loose == ""


def test_latex_is_tables_and_comments() -> None:
    inside, loose = False, []
    for line in odd_text("latex").splitlines():
        inside = inside or line.startswith(r"\begin{tabular}")
        if line and not inside and not line.startswith("%"):
            loose.append(line)
        inside = inside and line != r"\end{tabular}"
    assert loose == []


@pytest.mark.parametrize("style", ["csv", "tsv"])
def test_what_machines_read_is_one_table_of_times(style: str) -> None:
    lines = odd_text(style).splitlines()
    assert lines == comparison_text([run(TIMES)], ["ours"], Request(style=style)).splitlines()
