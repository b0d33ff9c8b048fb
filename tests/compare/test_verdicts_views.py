"""Verdicts on stored runs: the table, its notes, its error rates, and the exit status."""

import io
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.compare.calibration import aa_runs, calibrate
from bench.compare.verb import verdicts
from bench.compare.verdicts import StoredRules
from bench.compare.verdicts_views import ELSEWHERE, calibration_text
from bench.errors import UsageError
from bench.machine.sampling import Health, HostHealth
from bench.matrix.case import Case
from bench.options import FORMATS
from bench.records.run_file import RunRecord
from bench.records.store import load_run
from bench.report.render import render
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import Moods

SGD, ADAM = sumnet(), sumnet(optimizer="adam")
RULES = StoredRules()
NOWHERE = Path("nowhere")
CALM = Moods(noise=0.001, between=0.001, blocks=8)
OTHER_CODE = synthetic.machine(code_hash="cccccccc-dddddddd")


def run(times: dict[Case, float], **how: Any) -> RunRecord:
    fixed: dict[str, Any] = {"moods": CALM, "on": OTHER_CODE}
    return synthetic.run(times, **fixed | how)


@pytest.fixture
def sides(tmp_path: Path) -> list[Path]:
    """A base, and a head whose second case is slower by a tenth."""
    return files(
        tmp_path,
        run({SGD: 1e5, ADAM: 2e5}, on=synthetic.machine()),
        run({SGD: 1e5, ADAM: 2.2e5}),
    )


def files(folder: Path, *runs: RunRecord) -> list[Path]:
    names = ("base", "head", "other")
    return [
        synthetic.run_file(folder / f"{name}.json", run)
        for name, run in zip(names, runs, strict=False)
    ]


@pytest.fixture
def identical(stored_runs: Path) -> list[Path]:
    """Six stored runs of one plan and code."""
    return sorted((stored_runs / "intel-xeon-2c-24gib").iterdir())[:6]


def rendered(paths: list[Path], style: str = "github", results: Path = NOWHERE) -> str:
    return render(verdicts(paths, results)[0], style)


def status(paths: list[Path]) -> int:
    return verdicts(paths, NOWHERE)[1]


def table(text: str) -> list[dict[str, str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in body]


def test_regressed_rows_come_first_and_none_vanishes(sides: list[Path]) -> None:
    rows = table(rendered(sides))
    assert [(row["optimizer"], row["verdict"]) for row in rows] == [
        *[("adam", "regressed")] * 4,
        *[("sgd", "equivalent")] * 4,
    ]
    assert rows[0]["ratio ± 95%"].startswith("1.10")
    assert "note" not in rows[0]


def test_outcome_counts_and_rule_stand_below(sides: list[Path]) -> None:
    text = rendered(sides)
    assert "REGRESSED: head against base. Series: 4 regressed, 4 equivalent." in text
    assert "slower by 3.0% or more" in text and "rate of 1% over all 8 series" in text
    assert "Differs: code: base: aaaaaaaa-bbbbbbbb, head: cccccccc-dddddddd." in text
    assert "same code" not in text


def test_same_code_on_both_sides_is_noted(tmp_path: Path) -> None:
    assert "Both runs are of the same code" in rendered(
        files(tmp_path, run({SGD: 1e5}), run({SGD: 1e5}))
    )


def test_status_is_the_gates(tmp_path: Path, sides: list[Path]) -> None:
    assert status(sides) == 1
    assert status(sides[::-1]) == 0
    loud = Moods(noise=0.03, between=0.03, blocks=8)
    undecided = [run({SGD: 1e5}, moods=loud)] * 2
    assert status(files(tmp_path / "loud", *undecided)) == 3
    lacking = files(tmp_path / "lacking", run({SGD: 1e5, ADAM: 1e5}), run({SGD: 1e5}))
    assert status(lacking) == 3


def test_inconclusive_rows_have_a_note_and_invalid_ones_a_line(tmp_path: Path) -> None:
    loud = Moods(noise=0.03, between=0.03, blocks=8)
    base = run({SGD: 1e5, ADAM: 1e5}, moods=loud)
    broken = run({SGD: 1e5, ADAM: 1e5}, moods=loud, ended={ADAM: ("failed", "it broke")})
    text = rendered(files(tmp_path, base, broken))
    notes = [(row["verdict"], row["note"]) for row in table(text)]
    assert notes[:4] == [("invalid", "")] * 4
    assert all(word == "inconclusive" and "90% interval" in note for word, note in notes[4:])
    assert (
        f"Invalid: failed in head: it broke: {ADAM.id} (forward, backward, step, train_step)."
    ) in text


def test_flags_are_notes_and_not_verdicts(tmp_path: Path) -> None:
    busy = [Health(HostHealth(steal=0.5))] * 4
    flagged = run({SGD: 1e5}, health=busy)
    text = rendered(files(tmp_path, run({SGD: 1e5}), flagged))
    assert "head: Flag" in text
    assert {row["verdict"] for row in table(text)} == {"equivalent"}


@pytest.mark.parametrize("style", FORMATS)
def test_every_format_has_the_verdicts(sides: list[Path], style: str) -> None:
    text = rendered(sides, style)
    assert text.count("regressed") >= 4
    assert ("raised a false alarm" in text) == (style not in ("csv", "tsv"))


def test_csv_holds_numbers_as_numbers(sides: list[Path]) -> None:
    rows = pd.read_csv(io.StringIO(rendered(sides, "csv"))).to_dict("records")
    assert len(rows) == 8
    assert rows[0]["verdict"] == "regressed"
    assert rows[0]["effect"] > rows[0]["bound"] > 0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_other_than_two_files_are_refused(tmp_path: Path, count: int) -> None:
    three = files(tmp_path, *[run({SGD: 1e5})] * 3)
    with pytest.raises(UsageError, match=f"there are {count}"):
        rendered(three[:count])
    with pytest.raises(UsageError, match="takes two run files"):
        rendered([three[0]] * 2)


def test_runs_of_two_machines_are_refused(tmp_path: Path) -> None:
    there = run({SGD: 1e5}, on=synthetic.machine("other-cpu-8c-16gib"))
    with pytest.raises(UsageError, match="differ in their machine"):
        rendered(files(tmp_path, run({SGD: 1e5}), there))


# What it is worth


def test_aa_runs_of_this_machine_are_its_error_rates(tmp_path: Path) -> None:
    home = tmp_path / "results" / OTHER_CODE.name
    for number in range(4):
        same = run({SGD: 1e5}, moods=Moods(noise=0.001, between=0.001, blocks=8, seed=number))
        synthetic.run_file(home / f"20260101T00000{number}Z-a.json", same)
    (home / "20260101T000009Z-a.json").write_text("{}")
    sides = files(tmp_path, run({SGD: 1e5}), run({SGD: 1e5}))
    text = rendered(sides, results=tmp_path / "results")
    assert (
        "By these rules on this machine: 4 A/A runs of 4 series: of their 6 pairs none "
        "raised a false alarm (at most 78% do, with 95% confidence, from the 2 that share no run)"
    ) in text
    assert re.search("(?m)^Unreadable.*: 20260101T000009Z-a.json.$", text)


def test_machine_without_aa_runs_has_what_was_measured_elsewhere(
    sides: list[Path],
) -> None:
    text = rendered(sides)
    assert "has not been measured: that takes 3 or more runs" in text
    assert f"on METHODOLOGY.md's machine: {ELSEWHERE}" in text


def test_what_was_measured_elsewhere_is_what_stored_runs_give(identical: list[Path]) -> None:
    runs = [load_run(path) for path in identical]
    found = calibrate(aa_runs(runs, runs[0]), RULES)
    assert found is not None and calibration_text(found) == ELSEWHERE


def test_stored_identical_runs_are_equivalent(stored_runs: Path, identical: list[Path]) -> None:
    view, code = verdicts(identical[:2], stored_runs)
    text = render(view, "github")
    assert code == 0
    assert {row["verdict"] for row in table(text)} == {"equivalent"}
    assert ELSEWHERE in text


# The options


def test_shares_that_are_given_replace_the_defaults(tmp_path: Path) -> None:
    slower = files(tmp_path, run({SGD: 1e5}), run({SGD: 1.1e5}))
    assert verdicts(slower, NOWHERE)[1] == 1
    assert verdicts(slower, NOWHERE, margin=0.2, threshold=0.2)[1] == 0


@pytest.mark.parametrize(("margin", "threshold"), [(None, 0.08), (0.005, None), (0.02, 0.03)])
def test_threshold_above_the_margin_is_refused(
    margin: float | None, threshold: float | None
) -> None:
    with pytest.raises(UsageError, match="threshold is"):
        verdicts([], NOWHERE, margin=margin, threshold=threshold)
