"""Rankings: the fastest, what ties with it, and where one device overtakes another."""

from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.matrix.case import THROUGHPUT, WHOLE
from bench.rank.verb import rank
from bench.rank.views import ranking_view
from bench.records.run_file import RunRecord
from bench.report.render import render
from bench.report.view import Row, View
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import SHARES, Moods

EXACT = Moods(noise=0, between=0, blocks=6)


def on_cuda(step_ns: float) -> float:
    """The time of a whole step on cuda of which a step among many takes `step_ns`."""
    return step_ns / SHARES[THROUGHPUT]


CROSSING = synthetic.run(
    {
        sumnet(batch=4): 1e5,
        sumnet(batch=4, compile="on"): 1.5e5,
        sumnet(batch=4, device="cuda"): on_cuda(2e5),
        sumnet(batch=1024): 4e5,
        sumnet(batch=1024, implementation="fused"): 4.02e5,
        sumnet(batch=1024, device="cuda"): on_cuda(1e5),
    },
    moods=EXACT,
)


def view_of(*runs: RunRecord, **options: Any) -> View:
    return ranking_view(runs, ["ours", "theirs"][: len(runs)], **options)


def rows_of(*runs: RunRecord, **options: Any) -> list[Row]:
    (table,) = view_of(*runs, **options).tables
    return list(table.rows)


def test_row_names_the_fastest_its_time_and_the_next() -> None:
    small, large = rows_of(CROSSING)
    assert small == {
        "batch": 4,
        "optimizer": "sgd",
        "hidden": 10,
        "fastest": "cpu",
        "step ± 95%": "100 us ± 2.0%",
        "samples/s": "40 k",
        "bound": "",
        "tied": 0,
        "configurations": 3,
        "next": "cpu compile-on",
        "slower by": "1.50x ± 2.0%",
    }
    assert (large["fastest"], large["samples/s"]) == ("cuda", "10.2 M")
    assert (large["next"], large["slower by"]) == ("cpu", "4.00x ± 2.0%")


def test_configurations_tied_with_the_first_are_counted_and_passed_over() -> None:
    names = ("default", "foreach", "fused")
    times = {
        sumnet(optimizer="adam", implementation=name): ns
        for name, ns in zip(names, (1e5, 1.01e5, 1.5e5), strict=True)
    }
    (row,) = rows_of(synthetic.run(times, moods=EXACT))
    assert (row["fastest"], row["tied"], row["configurations"]) == ("default", 1, 3)
    assert (row["next"], row["slower by"]) == ("fused", "1.50x ± 2.0%")


def test_next_is_clearly_slower_also_where_another_took_longer_that_is_tied() -> None:
    adam = sumnet(optimizer="adam")
    calm = synthetic.run({adam: 1e5, sumnet(optimizer="adam", compile="on"): 1.1e5}, moods=EXACT)
    shaky = synthetic.run({adam: 1.2e5}, moods=EXACT)
    for worker, factor in zip(shaky.cases[0].blocks[WHOLE], (0.8, 1.0, 1.25), strict=True):
        tenth = worker.p10_ns[WHOLE]
        tenth[:] = [round(factor * value) for value in tenth]
    (row,) = rows_of(calm, shaky)
    assert (row["fastest"], row["tied"], row["next"]) == ("ours", 1, "ours compile-on")


def test_single_configuration_has_nothing_next() -> None:
    (row,) = rows_of(synthetic.run({sumnet(): 1e5}, moods=EXACT))
    assert (row["fastest"], row["configurations"]) == ("default", 1)
    assert (row["next"], row["slower by"]) == ("-", "-")


def test_notes_have_the_words_the_crossover_and_the_machine() -> None:
    words, bound, crossover, machine = view_of(CROSSING).notes
    assert words.startswith("tied: ") and "next: " in words
    assert bound.startswith("Where bound is host, ")
    # The lead goes from a factor of 2 to one of 1/4: a third of the way, in logarithms.
    batch = 4 * 256 ** (1 / 3)
    assert crossover == (
        f"optimizer sgd, hidden 10: cuda overtakes cpu at a batch of about {batch:,.0f}."
    )
    assert machine.startswith("ours: cuda: Test GPU, Test CPU")


@pytest.mark.parametrize(
    ("cuda_ns", "noted"),
    [
        (9e5, "cpu is faster than cuda at every batch from 4 to 64"),
        (1e5, "cpu and cuda are tied at every batch measured, from 4 to 64."),
    ],
)
def test_places_that_do_not_overtake_each_other_have_a_note(cuda_ns: float, noted: str) -> None:
    times = {sumnet(batch=batch): 1e5 for batch in (4, 64)}
    times |= {sumnet(batch=batch, device="cuda"): on_cuda(cuda_ns) for batch in (4, 64)}
    notes = view_of(synthetic.run(times, moods=EXACT)).notes
    assert any(note.startswith(f"optimizer sgd, hidden 10: {noted}") for note in notes)


def test_what_one_may_not_choose_is_a_column() -> None:
    rows = rows_of(CROSSING, by=("implementation", "compile"))
    assert [(row["batch"], row["device"], row["fastest"]) for row in rows] == [
        (4, "cpu", "default"),
        (1024, "cpu", "default"),
        (4, "cuda", "default"),
        (1024, "cuda", "default"),
    ]
    assert rows[0]["next"] == "compile-on"


def test_typical_times_are_ranked_where_asked_for() -> None:
    (row, _) = rows_of(CROSSING, statistic="typical")
    assert row["step ± 95%"] == "110 us ± 5.1%"


def test_every_format_has_the_fastest() -> None:
    view = ranking_view([CROSSING], ["<ours>"])
    html, latex = render(view, "html"), render(view, "latex")
    assert html.startswith("<table>") and "<p>&lt;ours&gt;: cuda: Test GPU" in html
    assert all(line.startswith("% ") for line in latex.split("\\end{tabular}\n")[1].splitlines())
    csv, tsv = render(view, "csv").splitlines(), render(view, "tsv").splitlines()
    assert len(csv) == len(tsv) == 3
    assert csv[1].startswith("4,sgd,10,cpu,")
    assert {line.count("\t") for line in tsv} == {csv[0].count(",")}


# Files, and what is refused


def test_files_are_ranked_together_by_default_those_of_every_machine(tmp_path: Path) -> None:
    other = synthetic.machine("other-cpu-8c-16gib")
    for number, (where, time_ns) in enumerate(((None, 2e5), (other, 1e5))):
        record = synthetic.run({sumnet(): time_ns, sumnet(batch=64): 1.5e5}, moods=EXACT, on=where)
        folder = tmp_path / record.machine.name
        synthetic.run_file(folder / f"20260{number + 1}01T000000Z-a.json", record)
    small, large = rank([], tmp_path, by=None, statistic="quiet").tables[0].rows
    assert (small["fastest"], small["next"]) == ("other-cpu-8c-16gib", "test-cpu-4c-8gib")
    assert (large["tied"], large["next"]) == (1, "-")


def test_choice_is_of_what_is_named(tmp_path: Path) -> None:
    path = synthetic.run_file(tmp_path / "run.json", CROSSING)
    view = rank([path], tmp_path, by=["implementation", "compile"], statistic="quiet")
    assert {row["device"] for row in view.tables[0].rows} == {"cpu", "cuda"}


def test_no_run_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=str(tmp_path)):
        rank([], tmp_path, by=None, statistic="quiet")
