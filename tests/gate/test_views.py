"""What the gate found as a View: the table, the notes, the records."""

import io
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest

from bench.gate.views import (
    effect_text,
    headline,
    how_to_settle,
    report_view,
)
from bench.machine.circumstances import MeasuredDevice
from bench.matrix.case import (
    Case,
)
from bench.matrix.comparison import Comparison
from bench.matrix.step import PHASES
from bench.options import FORMATS
from bench.records.gate_report import GateReport, Rules, SeriesVerdict
from bench.records.verdicts import (
    EQUIVALENT,
    IMPROVED,
    INCONCLUSIVE,
    INVALID,
    REGRESSED,
    VERDICTS,
    Verdict,
)
from bench.report.render import render
from bench.report.view import View
from tests import synthetic
from tests.cases import sumnet
from tests.gate.gating import record, report

SMALL, LARGE = sumnet(), sumnet(batch=64)


def verdict(
    word: Verdict, effect: float | None = 0.0, case: Case = SMALL, series: str = "step", **more: Any
) -> SeriesVerdict:
    known: dict[str, Any] = {"half": 0.004, "base_ns": 25_000.0, "p_slower": 0.5}
    known |= {"p_faster": 0.5, "detectable": 0.02, "effect": effect}
    if word == INVALID:
        known = {}
    return SeriesVerdict(case.id, series, word, **(known | more))


def of(*verdicts: SeriesVerdict, **changes: Any) -> GateReport:
    """A report with these verdicts; its outcome is the worst of them unless given otherwise."""
    words = [found.verdict for found in verdicts] or [INVALID]
    fields = {"outcome": min(words, key=VERDICTS.index), "reason": ""} | changes
    cases = fields.pop("cases", (SMALL, LARGE))
    return report(cases=cases, verdicts=list(verdicts), **fields)


ONE_OF_EACH = of(*(verdict(word, series=f"s{i}") for i, word in enumerate(reversed(VERDICTS))))


def table(found: GateReport) -> list[dict[str, str]]:
    (only,) = report_view(found).tables
    return [{name: str(cell) for name, cell in row.items()} for row in only.rows]


def notes(found: GateReport) -> list[str]:
    return list(report_view(found).notes)


def line(found: GateReport, start: str) -> str:
    (wanted,) = (text for text in notes(found) if text.startswith(start))
    return wanted


# The table


def test_rows_stand_in_the_order_in_which_they_matter() -> None:
    assert [row["verdict"] for row in table(ONE_OF_EACH)] == list(VERDICTS)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_narrow_table_keeps_what_was_found_of_each_series(width: int) -> None:
    text = render(View(report_view(ONE_OF_EACH).tables), "github", width)
    *lines, _, left_out = text.splitlines()
    heading = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert max(map(len, lines)) <= width
    assert {"verdict", "series", "head vs base"} <= {*heading}
    assert left_out.startswith(f"Left out to fit {width} columns: ")


def test_larger_slowdowns_come_first() -> None:
    found = of(*(verdict(REGRESSED, effect) for effect in (0.02, 0.3, 0.1)))
    assert [row["head vs base"].split("%")[0] for row in table(found)] == [
        "+34.99",
        "+10.52",
        "+2.02",
    ]


def test_row_gives_what_was_found_of_a_series() -> None:
    (row,) = table(of(verdict(REGRESSED, math.log(1.1), p_slower=0.00195)))
    assert row == {
        "verdict": "regressed",
        "batch": "2",
        "series": "step",
        "base": "25 us",
        "head vs base": "+10.00% ± 0.44%",
        "statistic": "lower quartile",
        "adjusted p": row["adjusted p"],
        "MDE (80% power)": "2.0%",
    }
    assert row["adjusted p"] in ("0.19%", "0.20%")


def test_verdict_of_the_mean_is_named_as_such() -> None:
    (row,) = table(of(verdict(REGRESSED, 0.05, statistic="mean")))
    assert row["statistic"] == "mean"


def test_what_is_not_known_is_a_dash() -> None:
    (row,) = table(of(verdict(INVALID)))
    names = ("base", "head vs base", "adjusted p", "MDE (80% power)")
    assert [row[name] for name in names] == ["-"] * 4
    assert row["statistic"] == ""


@pytest.mark.parametrize(
    ("effect", "half", "text"),
    [
        (0.0, 0.01, "+0.00% ± 1.00%"),
        (math.log(2), 0.01, "+100.00% ± 2.00%"),
        (math.log(0.5), 0.01, "-50.00% ± 0.50%"),
        (0.01, 0.0, "+1.01% ± 0.00%"),
        (None, None, "-"),
        (0.01, None, "+1.01%"),
    ],
)
def test_effect_is_a_share_of_the_base_and_not_its_logarithm(
    effect: float | None, half: float | None, text: str
) -> None:
    assert effect_text(verdict(EQUIVALENT, effect, half=half)) == text


@pytest.mark.parametrize(("p", "text"), [(1e-5, "< 0.01%"), (0.25, "25.00%"), (1.0, "100.00%")])
def test_p_is_a_share(p: float, text: str) -> None:
    assert table(of(verdict(EQUIVALENT, p_slower=p)))[0]["adjusted p"] == text


def test_only_axes_that_vary_have_a_column() -> None:
    adam = sumnet(optimizer="adam", batch=64)
    (row,) = table(of(verdict(EQUIVALENT, case=adam), cases=(SMALL, adam)))
    assert (row["batch"], row["optimizer"]) == ("64", "adam")
    assert not {"dtype", "compile", "device", "hidden", "threads"} & row.keys()


def test_axis_in_which_the_sides_differ_shows_both_values() -> None:
    comparison = Comparison(sumnet(), sumnet(compile="on"))
    found = SeriesVerdict(comparison.id, "step", EQUIVALENT)
    (row,) = table(report(comparisons=[comparison], verdicts=[found], outcome=EQUIVALENT))
    assert row["compile"] == "off -> on"


@pytest.mark.parametrize("style", FORMATS)
def test_every_format_has_every_series(style: str) -> None:
    series = [*PHASES, "train_step"]
    found = of(*(verdict(EQUIVALENT, series=name) for name in series))
    text = render(report_view(found), style)
    assert all(name.replace("_", r"\_") in text or name in text for name in series)
    assert text.count("equivalent") >= 4


def test_report_without_verdicts_has_no_rows() -> None:
    assert table(of()) == report_view(of()).records == []


def test_csv_holds_every_number_unrounded() -> None:
    numbers = {"base_ns": 25_123.456, "effect": 0.0123456789, "half": 0.00123456}
    numbers |= {"p_slower": 0.000123456, "p_faster": 0.987654321, "detectable": 0.0198765}
    found = of(verdict(INCONCLUSIVE, more_pairs=7, **numbers), verdict(INVALID, reason="gone"))
    back = pd.read_csv(io.StringIO(render(report_view(found), "csv")))
    first, second = back.to_dict("records")
    for name, value in numbers.items():
        assert first[name] == pytest.approx(value, rel=1e-12)
    assert (first["comparison"], first["series"], first["more_pairs"]) == (SMALL.id, "step", 7)
    assert (first["statistic"], second["reason"]) == ("lower quartile", "gone")
    assert pd.isna(second["effect"])


# The notes


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([REGRESSED, REGRESSED, EQUIVALENT], "REGRESSED: 2 of 3 series slower"),
        ([IMPROVED, EQUIVALENT], "IMPROVED: 1 of 2 series faster, none regressed"),
        ([EQUIVALENT, EQUIVALENT], "EQUIVALENT: all 2 series within the margin"),
        ([INCONCLUSIVE, EQUIVALENT], "INCONCLUSIVE: 1 of 2 series not settled, none"),
    ],
)
def test_first_note_is_the_outcome(words: list[Verdict], text: str) -> None:
    found = of(*map(verdict, words))
    assert headline(found).startswith(text)
    assert notes(found)[0] == headline(found)


def test_invalid_run_gives_why() -> None:
    found = of(verdict(REGRESSED, 0.2), outcome=INVALID, reason="the control moved")
    assert headline(found).startswith("INVALID: the control moved")
    assert headline(of(outcome=INVALID, reason="the run was cut off")).startswith(
        "INVALID: the run was cut off"
    )


def test_every_verdict_is_counted_with_its_reasons() -> None:
    found = of(
        verdict(INVALID, reason="gone"),
        verdict(INVALID, reason="gone"),
        verdict(INCONCLUSIVE, reason="it spreads"),
        verdict(INCONCLUSIVE),
        verdict(EQUIVALENT),
    )
    assert line(found, "invalid: ") == "invalid: 2 of 5 series: gone."
    assert line(found, "inconclusive: ") == "inconclusive: 2 of 5 series: it spreads (1)."
    assert line(found, "equivalent: ") == "equivalent: 1 of 5 series."


def unsettled(*more_pairs: int | None, others: Sequence[SeriesVerdict] = (), **changes: Any) -> str:
    """The proposal where 18 pairs and 3 control pairs took 273 s of 280 s."""
    pairs = [record([0.0] * 8, wall_s=12.0)] * 18 + [
        record([0.0] * 8, wall_s=12.0, control=True)
    ] * 3
    found = of(
        *others,
        *(verdict(INCONCLUSIVE, more_pairs=count) for count in more_pairs),
        **{"pairs": pairs, "wall_s": 273.0, "budget_s": 280.0} | changes,
    )
    proposed = how_to_settle(found)
    assert all(text in notes(found) for text in proposed)
    return "".join(proposed)


def test_time_that_would_settle_it_comes_with_the_budget_to_give() -> None:
    """A pair takes 14 s, its share of controls included."""
    assert unsettled(4, 38) == (
        "About 9 more minutes would settle what is inconclusive: repeat the command with "
        "--budget 820."
    )
    assert unsettled(1).startswith("About 1 more minute would settle")
    assert unsettled(1).endswith("--budget 300.")
    assert unsettled(74).endswith("--budget 1400.")
    assert unsettled(2, wall_s=290.0).endswith("--budget 320.")  # the last pair was a slow one


def test_only_series_whose_time_is_known_are_promised() -> None:
    assert unsettled(4, None, None).startswith(
        "About 1 more minute would settle 1 of the 3 inconclusive series: "
    )
    assert "--budget 560" in unsettled(None)


@pytest.mark.parametrize(("more", "changes"), [(258, {}), (None, {"budget_s": 3601.0})])
def test_time_that_nobody_waits_is_not_proposed(more: int | None, changes: dict[str, Any]) -> None:
    text = unsettled(4, more) if more else unsettled(None, **changes)
    assert text.startswith("More than an hour would be needed")
    assert "name fewer cases" in text and "widen --margin" in text and "--budget" not in text


def test_more_time_is_not_proposed_where_a_clear_regression_ends_the_run() -> None:
    clear = verdict(REGRESSED, effect=0.2)
    assert "--budget" not in unsettled(4, others=[clear])
    slight = verdict(REGRESSED, effect=0.02, settled=True)
    assert "--budget 340" in unsettled(4, others=[slight])


def test_nothing_is_proposed_where_all_is_settled_or_nothing_measured() -> None:
    assert unsettled(others=[verdict(EQUIVALENT), verdict(REGRESSED)]) == ""
    assert unsettled(4, pairs=[]) == ""


def test_what_was_not_measured_is_named_with_its_reason() -> None:
    found = of(verdict(EQUIVALENT), ended={LARGE.id: "killed on head: SIGKILL"})
    assert line(found, "Not measured: ") == f"Not measured: {LARGE.id}: killed on head: SIGKILL."
    found.nowhere = ["tiny on the head: NameError: no"]
    assert line(found, "Not measured, ").endswith(": tiny on the head: NameError: no.")


def test_pairs_and_time_are_reported() -> None:
    pairs = [record([0.0] * 8, startup_s=2.0)] * 3 + [record([0.0] * 8, control=True)]
    found = of(verdict(EQUIVALENT), pairs=pairs, wall_s=70.0)
    note = line(found, "3 pairs of fresh processes and 1 A/A control pairs")
    assert "70 s" in note and "10% starting workers" in note
    assert "starting workers" not in line(of(verdict(EQUIVALENT)), "0 pairs of fresh processes")


def test_devices_of_a_side_are_named_with_their_platform() -> None:
    found = of(verdict(EQUIVALENT))
    found.sides[0].devices = {"cuda": MeasuredDevice("AMD Instinct MI300X", "ROCm 6.4", "c" * 12)}
    assert line(found, "base: ").startswith(
        "base: commit 0123456789; cuda: AMD Instinct MI300X-cccccc (ROCm 6.4), subject "
    )
    found.sides[1].devices = {"cuda": MeasuredDevice("AMD Instinct MI300X", "ROCm 6.4", "d" * 12)}
    assert "different devices" in line(found, "The sides ran")
    found.sides[1].devices = {"cuda": MeasuredDevice("AMD Instinct MI300X", "ROCm 7", "c" * 12)}
    assert not any("different devices" in note for note in notes(found))


def test_rules_sides_and_machine_are_reported() -> None:
    found = of(
        verdict(EQUIVALENT),
        rules=Rules(alpha=0.02, margin=0.05, threshold=0.015),
        machine=synthetic.machine(dirty=True),
    )
    rules = line(found, "regressed: slower by")
    assert "2.0%" in rules and "5.0%" in rules and "1.5%" in rules
    assert line(found, "base: ").startswith("base: commit 0123456789; subject aaaaaaaaaaaaaaaa")
    assert line(found, "head: ").startswith("head: working tree; subject aaaaaaaaaaaaaaaa")
    assert "0123456789-dirty" in line(found, "test-cpu-4c-8gib: Test CPU, 4 of 4 cores")
