"""Comparisons: ratios, means over what all have, and what only one side has."""

import math
from typing import Any

import pandas as pd
import pytest

from bench.compare import analysis
from bench.compare.analysis import Ratios
from bench.errors import UsageError
from bench.matrix.case import WHOLE, Case
from bench.stats.estimates import ratio_half
from bench.stats.frame import tidy, varying
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import Moods

SGD = sumnet(batch=64)
ADAM = sumnet(batch=64, optimizer="adam")
BIG_SGD = sumnet(batch=1024)
BIG_ADAM = sumnet(batch=1024, optimizer="adam")
EXACT = Moods(noise=0, between=0, blocks=6)


def frame_of(*sides: dict[Case, float], moods: Moods = EXACT, **ended: Any) -> pd.DataFrame:
    runs = [synthetic.run(times, moods=moods, **ended) for times in sides]
    return tidy(runs, ["ours", "theirs", "others"][: len(runs)])


def by_run(frame: pd.DataFrame, reference: str | None = None) -> Ratios:
    return analysis.ratios(frame, "run", reference, WHOLE, "quiet")


def ratios(comparison: Ratios) -> dict[tuple[str, str], float]:
    table = comparison.table
    keys = zip(table["run"], table["case"], strict=True)
    return dict(zip(keys, table["ratio"], strict=True))


def test_ratio_is_time_over_the_references_time() -> None:
    frame = frame_of({SGD: 100_000.0, ADAM: 200_000.0}, {SGD: 150_000.0, ADAM: 100_000.0})
    assert ratios(by_run(frame)) == pytest.approx(
        {
            ("ours", SGD.id): 1.0,
            ("ours", ADAM.id): 1.0,
            ("theirs", SGD.id): 1.5,
            ("theirs", ADAM.id): 0.5,
        }
    )
    assert ratios(by_run(frame, "theirs"))["ours", ADAM.id] == pytest.approx(2.0)


def test_ratio_is_of_the_statistic_and_series_asked_for() -> None:
    loud = Moods(noise=0, between=0, blocks=20, speeds=(1.0, 2.0, 2.0, 2.0))
    runs = [
        synthetic.run({SGD: 100_000.0}, moods=EXACT),
        synthetic.run({SGD: 100_000.0}, moods=loud),
    ]
    frame = tidy(runs, ["ours", "theirs"])
    quiet = analysis.ratios(frame, "run", None, "step", "quiet").table
    typical = analysis.ratios(frame, "run", None, "step", "typical").table
    assert set(quiet["series"]) == set(typical["series"]) == {"step"}
    assert quiet["ratio"].tolist() == pytest.approx([1.0, 1.0])
    assert typical["ratio"].tolist() == pytest.approx([1.0, 2.0])


def test_width_of_a_ratio_joins_the_widths_of_both_sides() -> None:
    frame = frame_of({SGD: 1e5, ADAM: 2e5}, {SGD: 1e5, ADAM: 2e5}, moods=Moods(seed=1))
    rows = {(row["run"], row["case"]): row for row in by_run(frame).table.to_dict("records")}
    for case in (SGD.id, ADAM.id):
        mine, theirs = rows["ours", case], rows["theirs", case]
        joint = ratio_half(mine["quiet_half"], theirs["quiet_half"])
        assert mine["quiet_half"] > 0
        assert (mine["ratio_half"], theirs["ratio_half"]) == (0, pytest.approx(joint))


def test_mean_is_geometric_and_over_the_cases_that_all_have() -> None:
    frame = frame_of(
        {SGD: 1e5, ADAM: 1e5, BIG_SGD: 1e5},
        {SGD: 2e5, ADAM: 8e5, BIG_SGD: 9e5},
        {SGD: 1e5, ADAM: 4e5},
    )
    comparison = by_run(frame)
    assert comparison.common == 2
    assert comparison.means == pytest.approx({"ours": 1.0, "theirs": 4.0, "others": 2.0})


def test_case_without_a_time_on_one_side_is_in_no_mean_but_is_not_missing() -> None:
    ours = synthetic.run({SGD: 1e5, ADAM: 1e5}, moods=EXACT)
    theirs = synthetic.run({SGD: 3e5}, moods=EXACT, ended={ADAM: ("failed", "it broke")})
    comparison = by_run(tidy([ours, theirs], ["ours", "theirs"]))
    assert comparison.means == pytest.approx({"ours": 1.0, "theirs": 3.0})
    assert comparison.common == 1
    assert comparison.missing == {}


def test_nothing_in_common_gives_no_mean() -> None:
    comparison = by_run(frame_of({SGD: 1e5}, {ADAM: 1e5}))
    assert (comparison.means, comparison.common) == ({}, 0)


def test_what_either_side_lacks_is_listed_both_ways() -> None:
    comparison = by_run(frame_of({SGD: 1e5, ADAM: 1e5}, {SGD: 1e5, BIG_SGD: 1e5}))
    assert comparison.missing == {
        "ours": ["batch=1024 optimizer=sgd"],
        "theirs": ["batch=64 optimizer=adam"],
    }


def test_comparison_by_an_axis_pairs_cases_that_differ_in_it_alone() -> None:
    frame = frame_of({SGD: 1e5, ADAM: 2e5, BIG_SGD: 4e5, BIG_ADAM: 4e5})
    comparison = analysis.ratios(frame, "optimizer", None, WHOLE, "quiet")
    assert comparison.reference == "sgd"
    assert ratios(comparison) == pytest.approx(
        {
            ("ours", SGD.id): 1.0,
            ("ours", ADAM.id): 2.0,
            ("ours", BIG_SGD.id): 1.0,
            ("ours", BIG_ADAM.id): 1.0,
        }
    )
    assert comparison.means["adam"] == pytest.approx(math.sqrt(2))


def test_comparison_by_an_axis_lists_the_pairs_that_miss_a_half() -> None:
    frame = frame_of({SGD: 1e5, ADAM: 2e5, BIG_SGD: 4e5})
    assert analysis.ratios(frame, "optimizer", None, WHOLE, "quiet").missing == {
        "adam": ["batch=1024"]
    }


def test_default_reference_is_the_axis_default_where_it_was_measured() -> None:
    both = frame_of({ADAM: 2e5, SGD: 1e5})
    assert analysis.ratios(both, "optimizer", None, WHOLE, "quiet").reference == "sgd"
    batches = frame_of({BIG_SGD: 2e5, SGD: 1e5})
    assert analysis.ratios(batches, "batch", None, WHOLE, "quiet").reference == 1024
    assert by_run(frame_of({SGD: 1e5}, {SGD: 1e5})).reference == "ours"


def test_reference_is_found_by_its_text() -> None:
    frame = frame_of({BIG_SGD: 2e5, SGD: 1e5})
    comparison = analysis.ratios(frame, "batch", "64", WHOLE, "quiet")
    assert ratios(comparison)["ours", BIG_SGD.id] == pytest.approx(2.0)


def test_unknown_reference_is_refused_with_those_there_are() -> None:
    frame = frame_of({SGD: 1e5, ADAM: 1e5})
    with pytest.raises(UsageError, match=r"--reference: no optimizer is 'sdg' .*: sgd, adam$"):
        analysis.ratios(frame, "optimizer", "sdg", WHOLE, "quiet")


@pytest.mark.parametrize("by", ["run", "optimizer"])
def test_series_that_no_case_has_is_refused(by: str) -> None:
    frame = frame_of({SGD: 1e5}, {SGD: 1e5})
    with pytest.raises(UsageError, match="dispatch"):
        analysis.ratios(frame, by, None, "dispatch", "quiet")


def test_case_without_phases_is_compared_by_its_whole_step_and_not_missed_by_its_phases() -> None:
    lbfgs = sumnet(batch=64, optimizer="lbfgs")
    frame = frame_of({SGD: 1e5, lbfgs: 2e5}, {SGD: 1e5, lbfgs: 3e5})
    assert ratios(by_run(frame))["theirs", lbfgs.id] == pytest.approx(1.5)
    phases = analysis.ratios(frame, "run", None, "step", "quiet")
    assert (set(phases.table["case"]), phases.common, phases.missing) == ({SGD.id}, 1, {})


def test_varying_names_the_dimensions_that_differ() -> None:
    assert varying(frame_of({SGD: 1e5, BIG_SGD: 1e5})) == ["batch"]
    assert varying(frame_of({SGD: 1e5, BIG_ADAM: 1e5}, {SGD: 1e5})) == ["run", "batch", "optimizer"]
    assert varying(frame_of({SGD: 1e5})) == []


def test_case_that_broke_half_way_has_no_ratio_and_no_part_in_the_mean() -> None:
    whole = synthetic.run({SGD: 100_000.0, ADAM: 100_000.0}, moods=EXACT)
    broken = synthetic.run(
        {SGD: 200_000.0, ADAM: 900_000.0}, moods=EXACT, ended={ADAM: ("failed", "it broke")}
    )
    comparison = by_run(tidy([whole, broken], ["ours", "theirs"]))
    assert math.isnan(ratios(comparison)["theirs", ADAM.id])
    assert comparison.means["theirs"] == pytest.approx(2.0)
    assert comparison.common == 1
