"""The verdict on the peak of memory."""

from collections.abc import Sequence

import pytest

from bench.gate.github import annotations
from bench.gate.memory import LEAST_BYTES, REPEATED, judge_memory
from bench.gate.verdicts import clearly_regressed, outcome_of
from bench.gate.views import headline, how_to_settle, report_view
from bench.matrix.case import PEAK_MEMORY
from bench.records.gate_report import GateReport, Rules, SeriesVerdict
from bench.records.verdicts import EQUIVALENT, IMPROVED, INCONCLUSIVE, INVALID, REGRESSED
from bench.runner.pairs import MEMORY_PAIRS
from tests.gate.gating import CASES, record, report

MIB = 2**20
FIRST = CASES[0].id


def counted(base: Sequence[int], head: Sequence[int], **changes: object) -> GateReport:
    """A report of pairs that counted these bytes of the first comparison."""
    pairs = [
        record([0.0], peak_bytes={report().comparisons[0].id: each})
        for each in zip(base, head, strict=True)
    ]
    return report(pairs, **changes)


def verdict_of(base: Sequence[int], head: Sequence[int], **changes: object) -> SeriesVerdict:
    (found,) = judge_memory(counted(base, head, **changes))
    assert found.series == PEAK_MEMORY
    return found


@pytest.mark.parametrize(
    ("head", "word"), [(2 * MIB, EQUIVALENT), (3 * MIB, REGRESSED), (MIB, IMPROVED)]
)
def test_counts_that_repeat_are_judged_by_their_difference(head: int, word: str) -> None:
    found = verdict_of([2 * MIB] * 5, [head] * 5)
    assert found.verdict == word
    assert found.base_bytes == 2 * MIB
    assert (found.half, found.p_slower, found.settled) == (None, None, True)


@pytest.mark.parametrize(("share", "word"), [(0.009, EQUIVALENT), (0.011, REGRESSED)])
def test_the_threshold_is_that_of_times(share: float, word: str) -> None:
    found = verdict_of([100 * MIB] * MEMORY_PAIRS, [round(100 * MIB * (1 + share))] * MEMORY_PAIRS)
    assert found.verdict == word
    lenient = Rules(thresholds={"*": 0.02})
    found = verdict_of(
        [100 * MIB] * MEMORY_PAIRS, [round(100 * MIB * (1 + share))] * MEMORY_PAIRS, rules=lenient
    )
    assert found.verdict == EQUIVALENT
    assert "2.0%" in found.reason


def test_it_says_nothing_of_pairs_to_take() -> None:
    found = peak(INCONCLUSIVE)
    assert how_to_settle(report([record([0.0])], verdicts=[found])) == []


def test_a_few_bytes_are_no_difference_however_large_their_share() -> None:
    assert (
        verdict_of([100] * MEMORY_PAIRS, [100 + LEAST_BYTES - 1] * MEMORY_PAIRS).verdict
        == EQUIVALENT
    )
    assert verdict_of([100] * MEMORY_PAIRS, [100 + LEAST_BYTES] * MEMORY_PAIRS).verdict == REGRESSED
    assert verdict_of([0] * MEMORY_PAIRS, [LEAST_BYTES] * MEMORY_PAIRS).verdict == REGRESSED


@pytest.mark.parametrize(
    ("base", "head", "word"),
    [
        ((10, 11, 10, 11, 10), (13, 14, 13, 14, 13), REGRESSED),
        ((10, 15, 10, 11, 10), (16, 40, 16, 16, 16), REGRESSED),  # however they scatter
        ((13, 14, 13, 14, 13), (10, 11, 10, 11, 10), IMPROVED),
        ((10, 10, 10, 10, 10), (10, 10, 10, 10, 20), INCONCLUSIVE),
        ((10, 20, 10, 20, 10), (20, 10, 20, 10, 20), INCONCLUSIVE),
        ((100, 120, 101, 100, 100), (101, 90, 140, 100, 100), INCONCLUSIVE),
    ],
)
def test_counts_that_scatter_differ_where_all_of_one_side_are_above(
    base: tuple[int, ...], head: tuple[int, ...], word: str
) -> None:
    found = verdict_of([MIB * each for each in base], [MIB * each for each in head])
    assert found.verdict == word
    if word == INCONCLUSIVE:
        assert f"{max(head)} MiB on the head" in found.reason


def test_scatter_within_the_threshold_is_equivalent() -> None:
    base = [MIB * each for each in (1000, 1009, 1001, 1000, 1000)]
    head = [MIB * each for each in (1001, 1000, 1005, 1000, 1000)]
    assert verdict_of(base, head).verdict == EQUIVALENT


def test_fewer_counts_than_needed_give_no_verdict() -> None:
    few = REPEATED - 1
    assert judge_memory(counted([MIB] * few, [2 * MIB] * few)) == []
    assert verdict_of([MIB] * REPEATED, [2 * MIB] * REPEATED).verdict == REGRESSED
    assert judge_memory(counted([MIB, 2 * MIB] * 2, [4 * MIB] * 4)) == []
    assert judge_memory(report([record([0.0])] * 9)) == []


def test_a_comparison_that_ended_has_no_verdict() -> None:
    name = report().comparisons[0].id
    ended = counted(
        [MIB] * MEMORY_PAIRS, [2 * MIB] * MEMORY_PAIRS, ended={name: "failed on head: it broke"}
    )
    assert judge_memory(ended) == []


# What it makes of a run


def peak(word: str, effect: float = 0.1) -> SeriesVerdict:
    reason = f"{PEAK_MEMORY} 10 MiB -> 11 MiB" if word == REGRESSED else ""
    return SeriesVerdict(FIRST, PEAK_MEMORY, word, reason, base_bytes=1e7, effect=effect)  # type: ignore[arg-type]


def time(word: str) -> SeriesVerdict:
    return SeriesVerdict(FIRST, "train_step", word, base_ns=1e5, effect=0.0, half=0.01)  # type: ignore[arg-type]


def test_more_memory_fails_a_run_whose_times_are_equivalent() -> None:
    assert outcome_of([time(EQUIVALENT), peak(REGRESSED)], None)[0] == REGRESSED
    assert outcome_of([time(EQUIVALENT), peak(EQUIVALENT, 0.0)], None)[0] == EQUIVALENT


def test_a_count_stands_where_the_machine_moved() -> None:
    verdicts = [time(EQUIVALENT), peak(REGRESSED)]
    assert outcome_of(verdicts, "it moved")[0] == REGRESSED
    assert [verdict.verdict for verdict in verdicts] == [INVALID, REGRESSED]
    assert outcome_of([time(EQUIVALENT), peak(EQUIVALENT, 0.0)], "it moved") == (
        INVALID,
        "it moved",
    )


def test_it_ends_no_run() -> None:
    assert not clearly_regressed([peak(REGRESSED, 1.0)], Rules())


def test_a_row_of_it_has_bytes_a_change_and_no_interval() -> None:
    found = report(verdicts=[time(EQUIVALENT), peak(REGRESSED)], outcome=REGRESSED)
    view = report_view(found)
    (row,) = [row for row in view.tables[0].rows if row["series"] == PEAK_MEMORY]
    assert row["base"] == "9.537 MiB"
    assert row["head vs base"] == "+10.52%"
    assert (row["statistic"], row["adjusted p"]) == ("", "-")
    assert headline(found) == "REGRESSED: 0 of 1 series slower, peak memory higher in 1 of 1 cases."


def test_headline_names_peaks_that_are_unclear() -> None:
    found = report(verdicts=[time(EQUIVALENT), peak(INCONCLUSIVE)], outcome=INCONCLUSIVE)
    assert "peak memory unclear in 1 of 1 cases" in headline(found)


def test_github_is_told_how_much() -> None:
    found = report(verdicts=[time(EQUIVALENT), peak(REGRESSED)], outcome=REGRESSED)
    (line,) = annotations(found)
    assert line.startswith("::error")
    assert "10 MiB -> 11 MiB" in line


def test_why_it_is_not_judged_is_said() -> None:
    found = report(verdicts=[time(EQUIVALENT)], outcome=EQUIVALENT)
    found.without_memory = {FIRST: "on base: torch keeps no count"}
    assert any("torch keeps no count" in note for note in report_view(found).notes)
