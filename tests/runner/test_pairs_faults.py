"""Pairs of workers where things go wrong: what it costs, whose fault it is, and who goes on."""

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bench.errors import MachineError
from bench.matrix.case import Case
from bench.matrix.comparison import Comparison
from bench.protocol.messages import PHASES_KIND, WHOLE_KIND, Prepare, kinds_of
from bench.runner.pairs import MIN_SWEEPS, Ended, Pairs
from bench.runner.pool import Deadlines
from bench.runner.process import Side
from tests.cases import sumnet
from tests.runner.driving import GPUS, UNCLEAR, gpus_lost
from tests.runner.processes import is_gone
from tests.runner.sides import Match, fake, same

FIRST, WRONG, LAST = (sumnet(batch=batch) for batch in (2, 64, 1024))
CASES = same(FIRST, WRONG, LAST)
COMPLETE = {PHASES_KIND: 2 * MIN_SWEEPS, WHOLE_KIND: 2 * MIN_SWEEPS}
WRONG_SIDES = pytest.mark.parametrize("wrong", ["base", "head"])


def wrong_at_preparing(deed: str) -> str:
    return f"""
def prepared(request):
    return {deed} if request.case.own_values["batch"] == 64 else good_prepared(request)
"""


def wrong_at_measuring(deed: str) -> str:
    """In its fifth block, in the middle of the sweeps."""
    return f"""
blocks = 0

def block(request):
    global blocks
    blocks += "/b64/" in request.case
    return {deed} if "/b64/" in request.case and blocks > 4 else bare_block(request)
"""


WRONG_AT = pytest.mark.parametrize("wrong_at", [wrong_at_preparing, wrong_at_measuring])


def refused(status: str) -> str:
    """What a worker does that refuses the case that it is asked about."""
    return f"Refused(getattr(request.case, 'id', request.case), {status!r}, 'it cannot')"


WRONG_LATER = f"""
later = number() > 1
{wrong_at_measuring(f"({refused('invalid')} if later else bare_block(request))")}
"""
"""Overrides of a side whose first pair is well."""


def sizes(match: Match, *, control: bool = False) -> dict[str, dict[str, int]]:
    """Comparison to kind to the turns that a pair has of it."""
    pair = match.measure(control=control)
    return {
        comparison: {kind: len(block_pairs) for kind, block_pairs in kinds.items()}
        for comparison, kinds in pair.block_pairs.items()
    }


def check_cost(match: Match, wrong: str, status: str, said: str, started: int) -> None:
    """The one comparison ended on that side, and the others go on; no worker is left."""
    assert sizes(match) == {FIRST.id: COMPLETE, LAST.id: COMPLETE}
    assert list(match.pairs.ended) == [WRONG.id]
    ended = match.pairs.ended[WRONG.id]
    assert (ended.side, ended.status) == (wrong, status)
    assert said in ended.reason
    assert match.reported == [f"{status} on {wrong}: {WRONG.id}: {ended.reason}"]
    for side in ("base", "head"):
        assert len(match.workers(side)) == 1 + started
        assert all(is_gone(pid) for pid in match.workers(side))
    assert [comparison.base for comparison in match.pairs.open()] == [FIRST, LAST]


@WRONG_SIDES
@pytest.mark.parametrize("status", ["failed", "invalid"])
@WRONG_AT
def test_a_refusal_ends_its_comparison_on_that_side_and_the_workers_go_on(
    tmp_path: Path, wrong_at: Callable[[str], str], status: str, wrong: str
) -> None:
    match = Match.of(tmp_path, CASES, **{wrong: wrong_at(refused(status))})
    check_cost(match, wrong, status, "it cannot", started=1)


def workers_taken(wrong_at: Callable[[str], str]) -> int:
    """By a pair: what is lost at preparing is the survey's worker, which learns what cases do."""
    return 1 if wrong_at is wrong_at_preparing else 2


LOSSES = {
    "no memory": (refused("oom"), "oom", "it cannot"),
    "exits": ("os._exit(3)", "failed", "exited with status 3"),
    "is killed": ("os.kill(os.getpid(), 9)", "killed", "killed by SIGKILL"),
    "cannot be read": ("shout(b'ready\\n')", "failed", "reply could not be read"),
    "out of turn": ("hello()", "failed", "invalid worker reply"),
}


@WRONG_SIDES
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@WRONG_AT
def test_a_worker_that_is_lost_costs_one_comparison_and_the_others_have_new_ones(
    tmp_path: Path, wrong_at: Callable[[str], str], loss: tuple[str, str, str], wrong: str
) -> None:
    deed, status, said = loss
    match = Match.of(tmp_path, CASES, **{wrong: wrong_at(deed)})
    check_cost(match, wrong, status, said, started=workers_taken(wrong_at))


@pytest.mark.parametrize(
    ("wrong_at", "wrong"), [(wrong_at_preparing, "base"), (wrong_at_measuring, "head")]
)
def test_a_worker_that_hangs_is_given_up_at_its_deadline(
    tmp_path: Path, wrong_at: Callable[[str], str], wrong: str
) -> None:
    hasty = Deadlines(prepare_s=0.6, measure_s=0.6)
    match = Match.of(tmp_path, CASES, deadlines=hasty, **{wrong: wrong_at("time.sleep(600)")})
    check_cost(match, wrong, "timeout", "no answer within 1 s", started=workers_taken(wrong_at))


def test_a_compiled_comparison_has_the_compiled_sides_deadline(tmp_path: Path) -> None:
    slow = """
def prepared(request):
    time.sleep(600 if request.case.compile == "on" else 0)
    return good_prepared(request)
"""
    deadlines = Deadlines(prepare_s=600, prepare_compiled_s=0.6)
    comparison = Comparison(sumnet(), sumnet(compile="on"))
    match = Match.of(tmp_path, [comparison, *same(FIRST)], deadlines=deadlines, head=slow)
    assert set(sizes(match)) == {FIRST.id}
    assert match.pairs.ended[comparison.id].status == "timeout"


def test_what_has_ended_is_not_asked_again(tmp_path: Path) -> None:
    match = Match.of(tmp_path, CASES, head=wrong_at_preparing(refused("failed")))
    match.measure()
    before = len(match.asked())
    for control in (False, True):
        assert set(sizes(match, control=control)) == {FIRST.id, LAST.id}
    prepared = [asked.case for _, _, asked in match.asked()[before:] if isinstance(asked, Prepare)]
    assert set(prepared) == {FIRST, LAST}


def test_a_comparison_may_end_in_a_later_pair(tmp_path: Path) -> None:
    match = Match.of(tmp_path, CASES, head=WRONG_LATER)
    assert set(sizes(match)) == {FIRST.id, WRONG.id, LAST.id}
    assert set(sizes(match)) == {FIRST.id, LAST.id}
    assert match.pairs.ended == {WRONG.id: Ended("head", "invalid", "it cannot")}


def test_a_comparison_may_end_in_a_control_pair(tmp_path: Path) -> None:
    match = Match.of(tmp_path, CASES, base=WRONG_LATER)
    match.measure()
    assert set(sizes(match, control=True)) == {FIRST.id, LAST.id}
    assert match.pairs.ended[WRONG.id].status == "invalid"


def test_no_pair_is_left_where_every_comparison_has_ended(tmp_path: Path) -> None:
    match = Match.of(tmp_path, same(WRONG), head=wrong_at_preparing("os._exit(1)"))
    for _ in range(2):
        assert match.pairs.measure(control=False) is None
    assert len(match.workers("head")) == 1, "the survey's"
    assert match.pairs.open() == []


def test_a_reason_names_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    deed = refused("failed").replace("it cannot", "/home/somebody/lib is broken")
    match = Match.of(tmp_path, CASES, head=wrong_at_preparing(deed))
    match.measure()
    assert match.pairs.ended[WRONG.id].reason == "~/lib is broken"


# A device that goes wrong, and phases that cannot be told apart

GPU_CASE = sumnet(device="cuda")
LATER_GPU = [GPU_CASE, sumnet(device="cuda", threads=2)]
FULL = dict.fromkeys(kinds_of(GPU_CASE), 2 * MIN_SWEEPS)


@WRONG_SIDES
def test_a_device_that_is_lost_ends_its_comparisons_and_the_others_go_on(
    tmp_path: Path, wrong: str
) -> None:
    """Of a side's workers the first surveys; a pair has one each for the CPU and both counts."""
    sides = {"base": GPUS, "head": GPUS} | {wrong: gpus_lost("place > 4")}
    match = Match.of(tmp_path, same(FIRST, *LATER_GPU), **sides)
    assert sizes(match) == {FIRST.id: COMPLETE} | {case.id: FULL for case in LATER_GPU}
    assert sizes(match) == {FIRST.id: COMPLETE}
    why = Ended(wrong, "failed", "no context on ~")
    assert match.pairs.ended == {case.id: why for case in LATER_GPU}
    assert len(match.workers(wrong)) == 6, "one that could not use it is enough"
    assert sizes(match, control=True) == {FIRST.id: COMPLETE}


@WRONG_SIDES
def test_a_device_that_one_side_never_had_ends_its_comparisons_there(
    tmp_path: Path, wrong: str
) -> None:
    sides = {"base": GPUS, "head": GPUS} | {wrong: gpus_lost("True")}
    match = Match.of(tmp_path, same(FIRST, *LATER_GPU), **sides)
    assert sizes(match) == {FIRST.id: COMPLETE}
    why = Ended(wrong, "unsupported", "no context on ~")
    assert match.pairs.ended == {case.id: why for case in LATER_GPU}


def test_sides_on_two_gpus_are_each_held_to_their_own_in_pairs_and_controls(
    tmp_path: Path,
) -> None:
    gpu = 'ACCELERATORS = {{"cuda": (DeviceFacts(memory_bytes=2**33, identity="{}"),)}}\n'
    case = sumnet(device="cuda")
    match = Match.of(tmp_path, same(case), base=gpu.format("one"), head=gpu.format("two"))
    for control in (False, True, False):
        assert sizes(match, control=control) == {case.id: FULL}
    assert match.pairs.ended == {}


DIES = """
good_start = start

def start():
    return os._exit(3) if DEVICE == "cuda" else good_start()
"""


@WRONG_SIDES
def test_a_worker_that_dies_at_its_start_on_a_device_ends_its_comparisons_on_that_side(
    tmp_path: Path, wrong: str
) -> None:
    sides = {"base": GPUS, "head": GPUS} | {wrong: GPUS + DIES}
    cuda = sumnet(device="cuda")
    match = Match.of(tmp_path, same(FIRST, cuda), **sides)
    assert sizes(match) == {FIRST.id: COMPLETE}
    why = "a worker did not start: the worker exited with status 3"
    assert match.pairs.ended == {cuda.id: Ended(wrong, "unsupported", why)}


def test_the_survey_goes_on_without_a_device_on_which_a_worker_dies(tmp_path: Path) -> None:
    too_many, cuda = sumnet(threads=64), sumnet(device="cuda")
    comparisons = same(too_many, cuda, FIRST)
    match = Match.of(tmp_path, comparisons, base=GPUS, head=GPUS + DIES)
    assert sizes(match) == {FIRST.id: COMPLETE}
    assert match.pairs.ended[cuda.id].side == "head"


@WRONG_SIDES
def test_a_device_that_is_another_than_in_the_survey_is_not_measured(
    tmp_path: Path, wrong: str
) -> None:
    """The report names those of the survey."""
    one = 'ACCELERATORS = {"cuda": (DeviceFacts(memory_bytes=2**33, identity="one"),)}\n'
    later = one.replace('"one"', '"one" if number() < 2 else "two"')
    sides = {"base": one, "head": one} | {wrong: later}
    cuda = sumnet(device="cuda")
    match = Match.of(tmp_path, same(FIRST, cuda), **sides)
    assert sizes(match) == {FIRST.id: COMPLETE}
    ended = match.pairs.ended[cuda.id]
    assert (ended.side, ended.reason.partition(" than")[0]) == (wrong, "cuda is another device")


@WRONG_SIDES
def test_phases_that_one_side_cannot_tell_apart_are_measured_on_neither(
    tmp_path: Path, wrong: str
) -> None:
    match = Match.of(tmp_path, CASES, **{wrong: UNCLEAR.format("/b64/")})
    assert sizes(match)[WRONG.id][WHOLE_KIND] == 2 * MIN_SWEEPS
    assert match.pairs.without_phases == {WRONG.id: f"no phases on {wrong}: no"}
    assert match.pairs.ended == {}
    assert match.reported == [f"{WRONG.id}: no phases on {wrong}: no"]
    only_whole = {WHOLE_KIND: 2 * MIN_SWEEPS}
    for control in (True, False):
        after = sizes(match, control=control)
        assert after == {FIRST.id: COMPLETE, WRONG.id: only_whole, LAST.id: COMPLETE}


# The survey


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (sumnet(optimizer="sparseadam"), "SparseAdam takes sparse gradients alone"),
        (sumnet(threads=64), "needs 64 cores"),
        (sumnet(device="cuda"), "no cuda device here"),
    ],
)
def test_what_neither_side_can_run_ends_on_both(tmp_path: Path, case: Case, reason: str) -> None:
    match = Match.of(tmp_path, same(FIRST, case))
    ended = match.pairs.ended[case.id]
    assert (ended.side, ended.status) == ("both", "unsupported")
    assert reason in ended.reason
    assert set(sizes(match)) == {FIRST.id}


@WRONG_SIDES
def test_what_one_side_cannot_run_ends_there(tmp_path: Path, wrong: str) -> None:
    able = {"base", "head"}.difference({wrong}).pop()
    cuda = sumnet(device="cuda")
    match = Match.of(tmp_path, same(cuda, FIRST), **{able: GPUS})
    assert match.pairs.ended == {cuda.id: Ended(wrong, "unsupported", "no cuda device here")}
    assert set(sizes(match)) == {FIRST.id}


def test_a_side_is_asked_for_its_own_case_alone(tmp_path: Path) -> None:
    comparison = Comparison(FIRST, sumnet(device="cuda"))
    match = Match.of(tmp_path, [comparison], head=GPUS)
    assert match.pairs.ended == {}
    assert set(sizes(match)) == {comparison.id}


def test_the_survey_reports_what_both_sides_are(tmp_path: Path) -> None:
    other = 'def hello():\n    return Hello(facts(), "3.12.1", "1" * 16, THREADS, [0])\n'
    match = Match.of(tmp_path, same(FIRST), head=other, survey=False)
    base, head = match.pairs.survey()
    assert (base.python, base.subject_hash) == ("3.11.0", "0" * 16)
    assert (head.python, head.subject_hash) == ("3.12.1", "1" * 16)


# Workers that do not start


def sides_of(folder: Path, wrong: str, body: str) -> tuple[Side, Side]:
    base, head = (fake(folder, name, body if name == wrong else "") for name in ("base", "head"))
    return base, head


STARTS = {
    "exits": ("import sys\nsys.exit('no torch here')", 60, "status 1: no torch here"),
    "is silent": ("time.sleep(600)", 2, "no answer within 2 s"),
    "says no hello": ("def hello():\n    return Refused('', 'failed', '')", 60, "not send hello"),
}


@WRONG_SIDES
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_side_that_does_not_start_is_named_and_no_worker_stays(
    tmp_path: Path, start: tuple[str, float, str], wrong: str
) -> None:
    body, hello_s, said = start
    well = {"base", "head"}.difference({wrong}).pop()
    sides = sides_of(tmp_path, wrong, body)
    pairs = Pairs(CASES, sides, {}, seed=0, deadlines=Deadlines(hello_s=hello_s))
    with pytest.raises(MachineError) as caught:
        pairs.survey()
    assert str(caught.value).startswith(f"{wrong}: a worker did not start: ")
    assert said in str(caught.value)
    log = tmp_path / well / "log"
    assert not log.exists() or is_gone(int(log.read_text().split()[0]))  # it may not have come far
    assert psutil.Process().children() == []


def test_an_interpreter_that_is_missing_is_reported_with_its_side(tmp_path: Path) -> None:
    sides = fake(tmp_path, "base"), Side("head", str(tmp_path / "gone"))
    with pytest.raises(MachineError, match=r"^head: cannot start .*gone: No such file"):
        Pairs(CASES, sides, {}, seed=0).survey()


@WRONG_SIDES
def test_a_side_that_does_not_start_any_more_is_reported_likewise(
    tmp_path: Path, wrong: str
) -> None:
    body = "number() > 1 and os._exit(7)\n"
    match = Match.of(tmp_path, CASES, **{wrong: body})
    match.measure()
    with pytest.raises(MachineError, match=f"^{wrong}: a worker did not start: .* status 7"):
        match.measure()
    assert all(is_gone(pid) for side in ("base", "head") for pid in match.workers(side))
