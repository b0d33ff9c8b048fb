"""One run of the gate: how many pairs it takes, when it stops, and what the report keeps."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import MachineError, UsageError
from bench.gate import regress
from bench.gate.regress import ENVIRONMENT
from bench.machine.circumstances import MeasuredDevice
from bench.matrix.comparison import Comparison
from bench.matrix.plan import ENVIRONMENTS
from bench.matrix.step import PHASES
from bench.protocol.messages import Interpreter
from bench.records.gate_report import Rules, load_report
from bench.records.verdicts import EXIT_STATUS
from bench.runner.pairs import Ended
from tests.cases import sumnet
from tests.gate.faking import (
    COMPARISONS,
    FIRST,
    HASHES,
    INTERPRETER,
    OTHER_TORCH,
    SECOND,
    count,
    fake,
    gate,
    noisy,
    nothing,
    slower,
)

ENDLESS = 1e9
"""A pair so long that no other is begun after it."""


def stop_after(pairs: int) -> Any:
    return lambda number: ENDLESS if number >= pairs - 1 else 0.0


def failed(*comparisons: str) -> dict[str, Ended]:
    return {comparison: Ended("head", "failed", "it cannot") for comparison in comparisons}


# How many pairs


def test_run_stops_where_everything_is_settled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = fake(monkeypatch)
    report = gate(tmp_path).run()
    assert (count(report, control=False), count(report, control=True)) == (9, 2)
    assert len(script.taken) == 11
    assert {verdict.verdict for verdict in report.verdicts} == {"equivalent"}
    assert (report.outcome, report.reason, EXIT_STATUS[report.outcome]) == ("equivalent", "", 0)


def test_run_stops_where_a_slowdown_is_clear(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, effect=slower(0.3, "forward"))
    report = gate(tmp_path).run()
    assert count(report, control=False) == 9
    assert {v.series for v in report.verdicts if v.verdict == "regressed"} == {"forward"}
    assert (report.outcome, EXIT_STATUS[report.outcome]) == ("regressed", 1)


@pytest.mark.parametrize(("pairs", "main", "controls"), [(19, 16, 3), (37, 32, 5), (71, 64, 7)])
def test_run_goes_on_to_the_next_look_while_something_is_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pairs: int, main: int, controls: int
) -> None:
    script = fake(monkeypatch, effect=noisy, wall_s=stop_after(pairs))
    report = gate(tmp_path).run()
    assert (count(report, control=False), count(report, control=True)) == (main, controls)
    assert len(script.taken) == pairs
    assert (report.outcome, EXIT_STATUS[report.outcome]) == ("inconclusive", 3)
    assert "may differ by more than the margin" in report.reason


def test_pairs_that_are_left_when_time_is_up_are_looked_at_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, effect=noisy, wall_s=stop_after(15))
    reported: list[str] = []
    report = gate(tmp_path, on_progress=reported.append).run()
    looks = [line for line in reported if line.startswith("look at ")]
    main = count(report, control=False)
    assert 9 < main < 16
    assert [line.split()[2] for line in looks] == ["9", str(main)]
    assert looks[-1] == f"look at {main} pairs: 8 inconclusive"


def test_no_look_is_taken_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real, looked = regress.judge, []
    monkeypatch.setattr(regress, "judge", lambda *a: looked.append(list(a[4])) or real(*a))
    fake(monkeypatch, effect=noisy, wall_s=stop_after(11))
    gate(tmp_path).run()
    assert looked == [[9], [9]], "as time was up before there was another pair"


def test_controls_stand_at_random_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    orders = []
    for seed in (1, 1, 2, 3):
        script = fake(monkeypatch)
        gate(tmp_path, seed=seed).run()
        orders.append((tuple(script.taken), script.made["seed"]))
    assert orders[0] == orders[1]
    assert len(set(orders)) == 3
    assert len({taken for taken, _ in orders}) > 1


def test_no_pair_is_begun_that_would_not_end_in_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for wall_s, pairs in ((85.0, 11), (95.0, 4)):
        script = fake(monkeypatch, wall_s=lambda number, s=wall_s: s if number > 2 else 9.0)
        gate(tmp_path, budget_s=100.0).run()
        assert len(script.taken) == pairs


def test_budget_that_cannot_do_is_refused_after_two_pairs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = fake(monkeypatch, wall_s=lambda number: 30.0 if number else 90.0)
    with pytest.raises(UsageError, match=r"would take 330 s, more than the budget of 100 s: raise"):
        gate(tmp_path, budget_s=100.0).run()
    assert len(script.taken) == 2
    assert len(load_report(tmp_path / "report.json").pairs) == 2


def test_time_counts_from_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = fake(monkeypatch, before=lambda number: time.sleep(0.05))
    report = gate(tmp_path, budget_s=0.2).run()
    assert 1 <= len(script.taken) <= 4
    assert 0.1 < report.wall_s < 60


@pytest.mark.parametrize("pairs", [1, 8])
def test_too_few_pairs_are_invalid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pairs: int
) -> None:
    fake(monkeypatch, effect=slower(0.5), wall_s=stop_after(pairs))
    report = gate(tmp_path).run()
    assert len(report.pairs) == pairs
    assert {verdict.verdict for verdict in report.verdicts} == {"invalid"}
    assert (report.outcome, EXIT_STATUS[report.outcome]) == ("invalid", 3)
    assert report.reason.startswith(f"{count(report, control=False)} pairs; a verdict needs 9")


def test_number_of_pairs_that_is_wanted_is_taken_whatever_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = fake(monkeypatch, effect=slower(0.5))
    report = gate(tmp_path, pairs_wanted=21).run()
    assert script.taken == [False] * 21
    assert report.recorded
    assert report.outcome == "regressed"


# What the report says


def test_report_gives_what_was_compared_and_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = fake(monkeypatch)
    report = gate(tmp_path, budget_s=77.0).run()
    assert [side.name for side in report.sides] == ["base", "head"]
    assert [side.what for side in report.sides] == ["the base's folder", "the head's folder"]
    assert tuple(side.subject_hash for side in report.sides) == HASHES
    assert report.series == [(c.id, name) for c in COMPARISONS for name in c.series]
    assert (report.budget_s, report.seed, report.environment) == (77.0, 3, ENVIRONMENT)
    assert report.rules == Rules() and not report.recorded
    assert script.made["rest"][1] == ENVIRONMENTS[ENVIRONMENT]
    assert load_report(tmp_path / "report.json") == report


def test_report_names_the_devices_that_were_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch)
    assert [side.devices for side in gate(tmp_path).run().sides] == [{}, {}]
    cases = sumnet(device="cuda"), sumnet()
    gpu = {"cuda": MeasuredDevice("Test GPU")}
    report = gate(tmp_path, comparisons=[Comparison(case, case) for case in cases]).run()
    assert [side.devices for side in report.sides] == [gpu, gpu]
    assert load_report(tmp_path / "report.json") == report


def test_report_is_on_disk_after_every_pair(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_disk = []

    def look(number: int) -> None:
        found = load_report(tmp_path / "report.json")
        on_disk.append(len(found.pairs))
        assert (found.outcome, found.reason) == ("invalid", "the run was cut off")

    fake(monkeypatch, before=look)
    gate(tmp_path).run()
    assert on_disk == list(range(11))


def test_control_that_moved_makes_the_run_invalid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, effect=slower(0.3), control=slower(0.1))
    report = gate(tmp_path).run()
    assert (report.outcome, EXIT_STATUS[report.outcome]) == ("invalid", 3)
    assert "A/A control" in report.reason


# What goes wrong


def test_comparison_that_ends_is_invalid_and_the_others_are_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, ends={4: failed(SECOND)})
    report = gate(tmp_path).run()
    assert report.ended == {SECOND: "failed on head: it cannot"}
    assert count(report, control=False) == 9
    words = {(v.comparison, v.verdict, v.reason) for v in report.verdicts}
    assert words == {(FIRST, "equivalent", ""), (SECOND, "invalid", "failed on head: it cannot")}
    assert (report.outcome, report.reason) == ("invalid", "failed on head: it cannot")


@pytest.mark.parametrize("when", [0, 4, 8])
def test_phases_that_cannot_be_told_apart_are_invalid_and_the_rest_is_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, when: int
) -> None:
    why = "no phases on head: it cannot"
    fake(monkeypatch, phases_end={when: {SECOND: why}})
    report = gate(tmp_path).run()
    assert count(report, control=False) == 9
    found = {(v.comparison, v.series): (v.verdict, v.reason) for v in report.verdicts}
    assert len(found) == len(report.verdicts)
    for (comparison, series), verdict in found.items():
        unclear = comparison == SECOND and series in PHASES
        assert verdict == (("invalid", why) if unclear else ("equivalent", ""))
    assert (report.outcome, report.reason) == ("equivalent", "")
    assert load_report(tmp_path / "report.json") == report


@pytest.mark.parametrize("when", [-1, 0, 10])
def test_run_is_over_where_every_comparison_has_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, when: int
) -> None:
    script = fake(monkeypatch, effect=noisy, ends={when: failed(FIRST, SECOND)})
    report = gate(tmp_path).run()
    assert len(script.taken) == max(when, 0) + 1
    assert len(report.pairs) == max(when, 0)
    verdict = "invalid" if when > 0 else "failed"  # what was measured before could be run
    assert {found.verdict for found in report.verdicts} == {verdict}
    assert (report.outcome, report.reason) == (verdict, "failed on head: it cannot")


def test_side_that_does_not_start_any_more_keeps_the_pairs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(number: int) -> None:
        if number == 5:
            raise MachineError("head: a worker did not start: no room")

    fake(monkeypatch, before=fail)
    report = gate(tmp_path).run()
    assert len(report.pairs) == 5
    assert (report.outcome, EXIT_STATUS[report.outcome]) == ("invalid", 3)
    assert report.reason == "head: a worker did not start: no room"
    assert {(v.verdict, v.reason) for v in report.verdicts} == {("invalid", report.reason)}
    assert load_report(tmp_path / "report.json") == report


@pytest.mark.parametrize("number", [0, 4])
def test_subject_that_changes_meanwhile_makes_the_run_invalid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    fake(monkeypatch, changed={number: "c" * 16})
    report = gate(tmp_path).run()
    assert len(report.pairs) == number
    assert report.outcome == "invalid"
    assert report.reason.startswith("the head changed while it was measured: ")
    assert "c" * 16 in report.reason


def test_interruption_keeps_the_pairs_and_goes_on_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    fake(monkeypatch, before=interrupt)
    with pytest.raises(KeyboardInterrupt):
        gate(tmp_path).run()
    report = load_report(tmp_path / "report.json")
    assert len(report.pairs) == 3
    assert (report.outcome, report.reason) == ("invalid", "interrupted after 3 pairs")
    assert report.wall_s > 0


@pytest.mark.parametrize("wrong", [0, 1])
def test_worker_that_loads_another_subject_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: int
) -> None:
    hashes = tuple("c" * 16 if place == wrong else HASHES[place] for place in (0, 1))
    script = fake(monkeypatch, hashes=hashes)
    with pytest.raises(UsageError) as caught:
        gate(tmp_path).run()
    name = ("base", "head")[wrong]
    assert str(caught.value).startswith(f"the {name}'s worker loaded another subject ({'c' * 16})")
    assert HASHES[wrong] in str(caught.value)
    assert script.taken == []
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize("asked", [INTERPRETER, OTHER_TORCH])
def test_worker_on_another_interpreter_than_was_asked_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: Interpreter
) -> None:
    script = fake(monkeypatch)
    run = gate(tmp_path)
    base, head = run.sides
    run.sides = replace(base, interpreter=asked), head
    if asked == INTERPRETER:
        assert run.run().outcome == "equivalent"
        return
    with pytest.raises(UsageError) as caught:
        run.run()
    assert str(caught.value).startswith(
        "the base's worker runs on CPython 3.11.9 of /env with torch 2.13.0 in "
        "/env/site-packages/torch, and not on CPython 3.11.9 of /env with torch "
        "2.12.0 in /other/site-packages/torch: "
    )
    assert script.taken == []


@pytest.mark.parametrize("number", [0, 4])
def test_interpreter_that_changes_meanwhile_makes_the_run_invalid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    fake(monkeypatch, exchanged={number: OTHER_TORCH})
    report = gate(tmp_path).run()
    assert len(report.pairs) == number
    assert report.outcome == "invalid"
    assert "changed while it was measured: the head's worker runs on " in report.reason
    assert "torch 2.12.0" in report.reason and "torch 2.13.0" in report.reason


def test_sides_may_run_on_different_interpreters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, interpreters=(OTHER_TORCH, INTERPRETER))
    run = gate(tmp_path)
    base, head = run.sides
    run.sides = replace(base, interpreter=OTHER_TORCH), head
    assert run.run().outcome == "equivalent"


def test_side_that_never_starts_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, survey_error=MachineError("base: a worker did not start: no torch"))
    with pytest.raises(UsageError, match="cannot measure the base: a worker did not start: no to"):
        gate(tmp_path).run()


def nowhere(*comparisons: str) -> dict[str, Ended]:
    return {
        comparison: Ended("both", "unsupported", "no such device") for comparison in comparisons
    }


def test_what_neither_side_can_run_is_reported_and_not_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, ends={-1: nowhere(SECOND)})
    report = gate(tmp_path).run()
    assert {verdict.comparison for verdict in report.verdicts} == {FIRST}
    assert report.ended == {SECOND: "unsupported on both: no such device"}
    assert report.outcome == "equivalent"


@pytest.mark.parametrize(("named", "ended"), [(True, (SECOND,)), (False, (FIRST, SECOND))])
def test_what_neither_side_can_run_is_wrong_usage_where_it_was_named_or_is_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: bool, ended: tuple[str, ...]
) -> None:
    fake(monkeypatch, ends={-1: nowhere(*ended)})
    with pytest.raises(UsageError) as caught:
        gate(tmp_path, named=named).run()
    lines = [f"  {comparison}: no such device" for comparison in ended]
    assert str(caught.value).splitlines() == ["cannot run here, on either side:", *lines]


def test_sides_of_different_cases_are_judged_by_what_both_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, effect=nothing)
    comparison = Comparison(sumnet(), sumnet(optimizer="lbfgs"))
    report = gate(tmp_path, comparisons=[comparison]).run()
    assert report.series == [(comparison.id, "train_step")]
