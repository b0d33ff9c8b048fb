"""Rankings as text: the fastest, what ties with it, and where one device overtakes another."""

import io
from pathlib import Path

import pandas as pd
import pytest

from bench.errors import UsageError
from bench.matrix.case import THROUGHPUT, WHOLE, Case
from bench.rank.analysis import CHOICES
from bench.rank.views import rank_files, ranking_text
from bench.report.tables import FORMATS
from tests import synthetic
from tests.synthetic import SHARES, Moods

EXACT = Moods(noise=0, between=0, blocks=6)
EXPLAINED = "next: how much longer the best configuration takes that is slower beyond doubt; "


def on_cuda(step_ns: float) -> float:
    """The time of a whole step on cuda of which a step among many takes `step_ns`."""
    return step_ns / SHARES[THROUGHPUT]


CROSSING = synthetic.run(
    {
        Case(batch=4): 1e5,
        Case(batch=4, compile="on"): 1.5e5,
        Case(batch=4, device="cuda"): on_cuda(2e5),
        Case(batch=1024): 4e5,
        Case(batch=1024, implementation="fused"): 4.02e5,
        Case(batch=1024, device="cuda"): on_cuda(1e5),
    },
    moods=EXACT,
)


def rows_of(text: str) -> list[dict[str, str]]:
    """The rows of a github table."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_row_names_the_fastest_what_it_takes_and_what_comes_next() -> None:
    small, large = rows_of(ranking_text([CROSSING], ["ours"]))
    assert small == {
        "batch": "4",
        "optimizer": "sgd",
        "hidden": "10",
        "fastest": "cpu",
        "step ± 95%": "100 us ± 2.0%",
        "samples/s": "40 k",
        "bound": "",
        "equal": "0",
        "of": "3",
        "next": "cpu compile-on",
        "slower by": "1.50x ± 2.0%",
    }
    assert (large["fastest"], large["samples/s"]) == ("cuda", "10.2 M")
    assert (large["next"], large["slower by"]) == ("cpu", "4.00x ± 2.0%")


def test_configurations_as_fast_as_the_first_are_counted_and_passed_over() -> None:
    names = ("default", "foreach", "fused")
    times = {
        Case(optimizer="adam", implementation=name): ns
        for name, ns in zip(names, (1e5, 1.01e5, 1.5e5), strict=True)
    }
    (row,) = rows_of(ranking_text([synthetic.run(times, moods=EXACT)], ["ours"]))
    assert (row["fastest"], row["equal"], row["of"]) == ("default", "1", "3")
    assert (row["next"], row["slower by"]) == ("fused", "1.50x ± 2.0%")


def test_next_is_slower_beyond_doubt_also_where_another_may_tie_that_took_longer() -> None:
    adam = Case(optimizer="adam")
    calm = synthetic.run({adam: 1e5, Case(optimizer="adam", compile="on"): 1.1e5}, moods=EXACT)
    shaky = synthetic.run({adam: 1.2e5}, moods=EXACT)
    for worker, factor in zip(shaky.cases[0].blocks[WHOLE], (0.8, 1.0, 1.25), strict=True):
        tenth = worker.percentiles_ns[WHOLE]["p10"]
        tenth[:] = [round(factor * value) for value in tenth]
    (row,) = rows_of(ranking_text([calm, shaky], ["calm", "shaky"]))
    assert (row["fastest"], row["equal"], row["next"]) == ("calm", "1", "calm compile-on")


def test_single_configuration_has_nothing_next() -> None:
    (row,) = rows_of(ranking_text([synthetic.run({Case(): 1e5}, moods=EXACT)], ["ours"]))
    assert (row["fastest"], row["of"], row["next"], row["slower by"]) == ("default", "1", "-", "-")


def test_crossover_stands_below_with_what_the_columns_mean_and_the_machine() -> None:
    below = ranking_text([CROSSING], ["ours"]).split("\n\n")[1].splitlines()
    assert below[0].startswith(EXPLAINED)
    # The lead goes from a factor of 2 to one of 1/4: a third of the way, in logarithms.
    batch = 4 * 256 ** (1 / 3)
    assert below[1] == "A step bound by the host ranks the host, not the device."
    assert below[2] == (
        f"optimizer sgd, hidden 10: cuda overtakes cpu at a batch of about {batch:,.0f}."
    )
    assert below[3].startswith("ours: cuda: Test GPU, Test CPU")


@pytest.mark.parametrize(
    ("cuda_ns", "told"),
    [
        (9e5, "cpu is faster than cuda wherever intervals tell them apart, among batches of 4 to "),
        (1e5, "cpu and cuda are as fast at every batch measured, 4 to 64."),
    ],
)
def test_places_that_do_not_overtake_each_other_are_told_of(cuda_ns: float, told: str) -> None:
    times = {Case(batch=batch): 1e5 for batch in (4, 64)}
    times |= {Case(batch=batch, device="cuda"): on_cuda(cuda_ns) for batch in (4, 64)}
    text = ranking_text([synthetic.run(times, moods=EXACT)], ["ours"])
    assert f"\noptimizer sgd, hidden 10: {told}" in text


def test_what_one_may_not_choose_is_a_column() -> None:
    rows = rows_of(ranking_text([CROSSING], ["ours"], by=("implementation", "compile")))
    assert [(row["batch"], row["device"], row["fastest"]) for row in rows] == [
        ("4", "cpu", "default"),
        ("1024", "cpu", "default"),
        ("4", "cuda", "default"),
        ("1024", "cuda", "default"),
    ]
    assert rows[0]["next"] == "compile-on"


def test_typical_times_are_ranked_where_asked_for() -> None:
    (row, _) = rows_of(ranking_text([CROSSING], ["ours"], statistic="typical"))
    assert row["step ± 95%"] == "110 us ± 5.1%"


# Formats


def test_html_and_latex_keep_the_notes_in_their_own_words() -> None:
    html = ranking_text([CROSSING], ["<ours>"], style="html")
    assert html.startswith("<table>")
    assert f"<p>{EXPLAINED}" in html and "<p>&lt;ours&gt;: cuda: Test GPU" in html
    latex = ranking_text([CROSSING], ["ours"], style="latex")
    assert rf"\end{{tabular}}{chr(10)}% {EXPLAINED}" in latex
    after = latex.split(r"\end{tabular}")[1].strip().splitlines()
    assert all(line.startswith("% ") for line in after)


def test_csv_and_tsv_carry_the_table_alone() -> None:
    back = pd.read_csv(io.StringIO(ranking_text([CROSSING], ["ours"], style="csv")))
    assert list(back["fastest"]) == ["cpu", "cuda"]
    assert list(back["of"]) == [3, 3]
    tsv = ranking_text([CROSSING], ["ours"], style="tsv").splitlines()
    assert len(tsv) == 3
    assert {line.count("\t") for line in tsv} == {len(back.columns) - 1}


# Files, and what is refused


def test_files_are_ranked_together_by_default_those_of_every_machine(tmp_path: Path) -> None:
    other = synthetic.machine("other-cpu-8c-16gib")
    for number, (where, time_ns) in enumerate(((None, 2e5), (other, 1e5))):
        record = synthetic.run({Case(): time_ns, Case(batch=64): 1.5e5}, moods=EXACT, on=where)
        folder = tmp_path / record.machine.name
        synthetic.run_file(folder / f"20260{number + 1}01T000000Z-a.json", record)
    small, large = rows_of(rank_files([], tmp_path, None, "quiet", "github"))
    assert (small["fastest"], small["next"]) == ("other-cpu-8c-16gib", "test-cpu-4c-8gib")
    assert (large["equal"], large["next"]) == ("1", "-")


def test_choice_may_be_written_with_spaces(tmp_path: Path) -> None:
    path = synthetic.run_file(tmp_path / "run.json", CROSSING)
    rows = rows_of(rank_files([path], tmp_path, "implementation, compile", "quiet", "github"))
    assert {row["device"] for row in rows} == {"cpu", "cuda"}


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (("batch", "quiet", "github"), f"--by: 'batch' is not one; allowed: {', '.join(CHOICES)}"),
        (("compile,", "quiet", "github"), "--by: '' is not one; allowed: run, device, "),
        ((None, "mean", "github"), "--statistic: 'mean' is not one; allowed: quiet, typical"),
        ((None, "quiet", "xlsx"), f"--format: 'xlsx' is not one; allowed: {', '.join(FORMATS)}"),
    ],
)
def test_bad_option_is_refused_with_what_is_allowed(
    asked: tuple[str | None, str, str], complaint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        rank_files([Path("never-read.json")], Path("nowhere"), *asked)
    assert str(caught.value).startswith(complaint)


def test_no_run_files_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"no run files under {tmp_path}: measure with `run`"):
        rank_files([], tmp_path, None, "quiet", "github")
