"""What compiling costs and saves, as a table of the comparison."""

import pytest

from bench.compare.views import comparison_view
from bench.matrix.case import Case
from bench.records.run_file import RunRecord
from bench.report.render import render
from bench.report.view import Row, View
from bench.runner.events import CompileMeasured
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import Moods, compile_measured

pytestmark = pytest.mark.usefixtures("no_drift")

EAGER, COMPILED, STEP = sumnet(), sumnet(compile="on"), sumnet(compile="step")
BIG, BIG_COMPILED = sumnet(batch=1024), sumnet(batch=1024, compile="on")
EXACT = Moods(noise=0, between=0, blocks=6)
TIMES = {EAGER: 2e6, COMPILED: 1.2e6, STEP: 4e6}
COLD, WARM = "break-even steps (cold)", "break-even steps (warm)"


def run(times_ns: dict[Case, float], *compiled: CompileMeasured) -> RunRecord:
    return synthetic.run(times_ns, moods=EXACT, compiled=compiled)


def view_of(*runs: RunRecord, by: str | None = None) -> View:
    return comparison_view(runs, ["ours", "theirs"][: len(runs)], by=by)


def rows_of(*runs: RunRecord) -> list[Row]:
    _, compiled = view_of(*runs).tables
    return list(compiled.rows)


def break_even(row: Row) -> tuple[str, str]:
    return row[COLD], row[WARM]


def test_row_has_both_first_steps_both_steady_steps_and_the_break_even() -> None:
    record = run(TIMES, compile_measured(COMPILED, 20.0, 2.0), compile_measured(STEP, 9.0, 0.5))
    on, step = rows_of(record)
    assert on == {
        "compile": "on",
        "first step (cold)": "20 s",
        "first step (warm)": "2 s",
        "eager step": "2 ms",
        "compiled step": "1.2 ms",
        "vs eager": "0.600 ± 0.0%",
        COLD: "25,000",
        WARM: "2,500",
    }
    assert list(step.values()) == [
        *("step", "9 s", "500 ms", "2 ms", "4 ms", "2.000 ± 0.0%", "never", "never")
    ]


def test_text_has_the_table_under_the_times_with_what_it_means_above() -> None:
    text = render(view_of(run(TIMES, compile_measured(COMPILED, 20.0, 2.0))), "github")
    parts = ("quiet ± 95%", "Compile cost: ", "| compile ", "ours: Test CPU")
    places = [text.rindex(part) for part in parts]
    assert places == sorted(places)


def test_pair_within_the_interval_is_unclear() -> None:
    (row,) = rows_of(run({EAGER: 1e6, COMPILED: 1e6}, compile_measured(COMPILED, 20.0, 2.0)))
    assert (row["vs eager"], *break_even(row)) == ("1.000 ± 0.0%", "unclear", "unclear")


def test_compiled_case_without_its_eager_twin_has_a_note() -> None:
    record = run({BIG: 1e6, COMPILED: 6e5}, compile_measured(COMPILED, 20.0, 2.0))
    (row,) = rows_of(record)
    assert (row["eager step"], row["compiled step"], row["vs eager"]) == ("-", "600 us", "-")
    assert break_even(row) == ("no eager case", "no eager case")
    (note,) = (note for note in view_of(record).notes if note.startswith("no eager case: "))
    assert note.endswith(f": {COMPILED.id}.")


def test_eager_twin_of_another_run_is_not_taken() -> None:
    compiled = run({COMPILED: 6e5}, compile_measured(COMPILED, 20.0, 2.0))
    (row,) = rows_of(compiled, run({EAGER: 1e6}))
    assert break_even(row) == ("no eager case", "no eager case")


@pytest.mark.parametrize("status", ["failed", "unsupported", "timeout"])
@pytest.mark.parametrize(("case", "name"), [(EAGER, "eager"), (COMPILED, "compiled")])
def test_twin_that_did_not_run_is_named_with_its_status(case: Case, name: str, status: str) -> None:
    times = {other: 1e6 for other in (EAGER, COMPILED) if other != case}
    measured = compile_measured(COMPILED, 20.0, 2.0)
    record = synthetic.run(
        times, moods=EXACT, compiled=[measured], ended={case: (status, "it broke")}
    )
    (row,) = rows_of(record)
    assert break_even(row) == (f"{name} case {status}",) * 2
    assert f"{status}: it broke: {case.id}." in view_of(record).notes


def test_rows_keep_their_own_reasons_beside_others() -> None:
    record = run(
        {EAGER: 2e6, COMPILED: 1e6, BIG_COMPILED: 1e6},
        compile_measured(COMPILED, 20.0, 2.0),
        compile_measured(BIG_COMPILED, 20.0, reason="the caches held nothing"),
    )
    whole, lonely = rows_of(record)
    assert break_even(whole) == ("20,000", "2,000")
    assert break_even(lonely) == ("no eager case", "no eager case")
    assert [whole["batch"], lonely["batch"]] == [2, 1024]
    text = render(view_of(record), "github")
    assert text.count(" in ours: ") == 1 and "nan" not in text


def test_twins_without_quiet_times_are_not_unclear() -> None:
    record = run(TIMES, compile_measured(COMPILED, 20.0, 2.0))
    for case in record.cases:
        case.blocks.clear()
    (row,) = rows_of(record)
    assert (row["vs eager"], *break_even(row)) == ("-", "no eager time", "no eager time")


@pytest.mark.parametrize("style", ["github", "html", "latex"])
def test_missing_time_has_its_reason_in_the_notes(style: str) -> None:
    record = run(TIMES, compile_measured(COMPILED, 20.0, reason="the compiler said <none>"))
    (row,) = rows_of(record)
    assert (row["first step (cold)"], row["first step (warm)"]) == ("20 s", "-")
    assert break_even(row) == ("25,000", "-")
    shown = "&lt;none&gt;" if style == "html" else "<none>"
    text = render(view_of(record), style)
    assert f"{COMPILED.id} in ours: the compiler said {shown}." in text


@pytest.mark.parametrize(("by", "shown"), [("compile", 2), ("run", 2), ("optimizer", 1)])
def test_table_goes_with_comparisons_of_runs_and_of_compilation(by: str, shown: int) -> None:
    record = run(TIMES, compile_measured(COMPILED, 20.0, 2.0))
    assert len(view_of(record, by=by).tables) == shown


def test_no_compile_time_asked_for_is_no_table_and_no_record_is_of_it() -> None:
    plain, compiled = run(TIMES), run(TIMES, compile_measured(COMPILED, 20.0, 2.0))
    assert len(view_of(plain).tables) == 1
    assert render(view_of(plain), "csv") == render(view_of(compiled), "csv")
