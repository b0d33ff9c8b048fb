"""Pairs of workers: how they are started, and what each is asked, in which order."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.matrix.case import WHOLE
from bench.matrix.comparison import Comparison
from bench.matrix.step import PHASES
from bench.protocol.messages import PHASES_KIND, WHOLE_KIND, Measure, Prepare
from bench.runner import pool
from bench.runner.pairs import MAX_PADDING, MIN_SWEEPS, PADDING
from bench.runner.process import WorkerProcess
from tests.cases import sumnet
from tests.runner.processes import is_gone
from tests.runner.sides import Match, same

SMALL, MIDDLE, LARGE = (sumnet(batch=batch) for batch in (2, 64, 1024))
TURNS = 2 * MIN_SWEEPS
"""Of each kind, where there is no time for more."""

ENVIRON = """
import json
kept = {name: os.environ.get(name) for name in ("PYTHONHASHSEED", "SUMNET_BENCH_PADDING")}
size = sum(len(name) + len(value) + 2 for name, value in os.environb.items())
(FOLDER / f"environ-{os.getpid()}").write_text(json.dumps([kept["PYTHONHASHSEED"], size]))
"""
MARKED = """
def block(request):
    good = bare_block(request)
    rows = {series: [50, 60, 70, 80] for series in good.quantiles_ns}
    return structs.replace(good, quantiles_ns=rows)
"""
"""Blocks that differ from those of a side without it, whose lower quartile is 20."""


def measures(match: Match) -> list[tuple[str, Measure]]:
    """Who was asked for which block, in order."""
    return [(side, asked) for side, _, asked in match.asked() if isinstance(asked, Measure)]


def prepares(match: Match) -> list[tuple[str, Prepare]]:
    return [(side, asked) for side, _, asked in match.asked() if isinstance(asked, Prepare)]


def fours(match: Match) -> list[list[tuple[str, Measure]]]:
    """Two turns at a time, as they are taken."""
    asked = measures(match)
    return [asked[start : start + 4] for start in range(0, len(asked), 4)]


# Turns


def test_every_comparison_has_its_blocks_of_every_kind(tmp_path: Path) -> None:
    comparisons = [*same(SMALL, MIDDLE), Comparison(sumnet(), sumnet(optimizer="lbfgs"))]
    pair = Match.of(tmp_path, comparisons).measure()
    both = {PHASES_KIND: TURNS, WHOLE_KIND: TURNS}
    assert {
        comparison: {kind: len(block_pairs) for kind, block_pairs in kinds.items()}
        for comparison, kinds in pair.block_pairs.items()
    } == {SMALL.id: both, MIDDLE.id: both, comparisons[2].id: {WHOLE_KIND: TURNS}}


def test_time_that_is_left_goes_to_more_sweeps(tmp_path: Path) -> None:
    pair = Match.of(tmp_path, same(SMALL), seconds=0.3).measure()
    assert len(pair.block_pairs[SMALL.id][WHOLE_KIND]) > TURNS
    assert 0.3 < pair.wall_s < 60
    assert 0 < pair.startup_s < pair.wall_s


def test_sides_take_turns_one_first_and_then_the_other(tmp_path: Path) -> None:
    match = Match.of(tmp_path, same(SMALL, MIDDLE))
    match.measure()
    patterns = Counter("".join(side[0] for side, _ in four) for four in fours(match))
    assert set(patterns) == {"bhhb", "hbbh"}
    assert all(len({(asked.case, asked.kind) for _, asked in four}) == 1 for four in fours(match))


def test_a_turn_holds_the_bases_block_and_the_heads(tmp_path: Path) -> None:
    pair = Match.of(tmp_path, same(SMALL), head=MARKED).measure()
    for kind, series in ((PHASES_KIND, PHASES), (WHOLE_KIND, (WHOLE,))):
        for turn in pair.block_pairs[SMALL.id][kind]:
            assert turn.base.quantiles_ns == {name: [10, 20, 30, 40] for name in series}
            assert turn.head.quantiles_ns == {name: [50, 60, 70, 80] for name in series}
            assert turn.base.means_ns == dict.fromkeys(series, 21)


def test_each_sweep_has_an_order_of_its_own(tmp_path: Path) -> None:
    match = Match.of(tmp_path, same(SMALL, MIDDLE, LARGE))
    match.measure()
    order = [(four[0][1].case, four[0][1].kind) for four in fours(match)]
    sweeps = [order[start : start + 6] for start in range(0, len(order), 6)]
    assert len(sweeps) == MIN_SWEEPS
    assert all(len(set(sweep)) == 6 for sweep in sweeps)
    assert len(set(map(tuple, sweeps))) > 1


def test_no_reference_loop_is_read_and_all_blocks_of_a_comparison_are_of_one_length(
    tmp_path: Path,
) -> None:
    slower = """
def prepared(request):
    return structs.replace(good_prepared(request), step_ns=200_000)
"""
    faster = slower.replace("200_000", "100_000")
    match = Match.of(tmp_path, same(SMALL, MIDDLE), base=faster, head=slower)
    for control in (False, True):
        match.measure(control=control)
    assert {asked.with_readings for _, asked in measures(match)} == {False}
    assert {asked.samples for _, asked in measures(match)} == {15}, "as the slower one fills it"


def test_the_base_gives_what_a_case_should_do(tmp_path: Path) -> None:
    match = Match.of(tmp_path, same(SMALL, MIDDLE, LARGE))
    match.measure()
    asked = prepares(match)
    assert [side for side, request in asked if request.expected is None] == ["base"] * 3
    for _ in range(4):
        match.measure()
    later = prepares(match)[len(asked) :]
    assert all(request.expected is not None for _, request in later)
    assert {side for side, _ in later[::2]} == {"base", "head"}, "either may be the first"


def test_sides_may_run_different_cases(tmp_path: Path) -> None:
    comparison = Comparison(SMALL, MIDDLE)
    match = Match.of(tmp_path, [comparison])
    assert set(match.measure().block_pairs) == {comparison.id}
    assert {(side, asked.case) for side, asked in measures(match)} == {
        ("base", SMALL.id),
        ("head", MIDDLE.id),
    }
    assert {(side, asked.case) for side, asked in prepares(match)} == {
        ("base", SMALL),
        ("head", MIDDLE),
    }


# The control


def test_a_control_pair_is_the_base_twice(tmp_path: Path) -> None:
    comparison = Comparison(SMALL, MIDDLE)
    match = Match.of(tmp_path, [comparison], head=MARKED)
    pair = match.measure(control=True)
    assert pair.control
    assert len(match.workers("base")) == 3 and len(match.workers("head")) == 1
    assert {(side, asked.case) for side, asked in measures(match)} == {("base", SMALL.id)}
    block_pairs = [
        turn
        for kinds in pair.block_pairs.values()
        for block_pairs in kinds.values()
        for turn in block_pairs
    ]
    assert all(turn.head.quantiles_ns == turn.base.quantiles_ns for turn in block_pairs)
    one, other = match.workers("base")[1:]
    asked = Counter(pid for _, pid, _ in match.asked())
    assert asked[one] == asked[other]


# The workers


def environs(match: Match, name: str) -> list[list[Any]]:
    """Hash seed and size of the environment of each worker of a side, in order."""
    homes = [match.folder / name / f"environ-{pid}" for pid in match.workers(name)]
    return [json.loads(home.read_text()) for home in homes]


@pytest.mark.parametrize(
    "base_env",
    [{}, {"OF_THE_BASE": "x" * 500}, {"OF_BOTH": "a longer one"}, {PADDING[:6]: "ü"}],
    ids=["alike", "more", "another value", "not ASCII"],
)
def test_both_workers_have_one_hash_seed_and_environments_of_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_env: dict[str, str]
) -> None:
    monkeypatch.setenv("OF_BOTH", "short")
    match = Match.of(tmp_path, same(SMALL), base=ENVIRON, head=ENVIRON, base_env=base_env)
    for _ in range(4):
        match.measure()
    bases, heads = environs(match, "base"), environs(match, "head")
    assert bases == heads
    assert len(bases) == 5
    assert len({seed for seed, _ in bases}) == 5, "every pair draws its own"
    sizes = {size for _, size in bases}
    assert len(sizes) == 5
    assert max(sizes) - min(sizes) < MAX_PADDING


def test_a_sides_own_environment_goes_before_that_of_both(tmp_path: Path) -> None:
    body = 'shared = os.environ["OF_BOTH"]; (FOLDER / "saw").write_text(shared)\n'
    match = Match.of(
        tmp_path, same(SMALL), base=body, head=body, base_env={"OF_BOTH": "base"}, survey=False
    )
    match.pairs._environment = {"OF_BOTH": "both"}
    match.pairs.survey()
    assert [(tmp_path / name / "saw").read_text() for name in ("base", "head")] == ["base", "both"]


def test_either_side_may_be_started_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    class Noted(WorkerProcess):
        def __init__(self, side: Any, *rest: Any, **more: Any) -> None:
            started.append(side.name)
            super().__init__(side, *rest, **more)

    monkeypatch.setattr(pool, "WorkerProcess", Noted)
    match = Match.of(tmp_path, same(SMALL))
    for _ in range(7):
        match.measure()
    couples = zip(started[::2], started[1::2], strict=True)
    assert set(couples) == {("base", "head"), ("head", "base")}


def test_the_seed_decides_the_order_of_everything(tmp_path: Path) -> None:
    orders = []
    for number, seed in enumerate((5, 5, 6)):
        (folder := tmp_path / str(number)).mkdir()
        match = Match.of(folder, same(SMALL, MIDDLE), seed=seed)
        match.measure()
        orders.append([(side, asked) for side, _, asked in match.asked()])
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_groups_have_workers_of_their_own_and_hellos_are_of_the_last(tmp_path: Path) -> None:
    match = Match.of(tmp_path, same(SMALL, sumnet(threads=2), MIDDLE))
    pair = match.measure()
    assert set(pair.block_pairs) == {SMALL.id, MIDDLE.id, sumnet(threads=2).id}
    log = (tmp_path / "head" / "log").read_text().splitlines()
    assert [line.split()[1:] for line in log] == [["cpu", "1"], ["cpu", "1"], ["cpu", "2"]]
    assert [hello.threads for hello in pair.hellos] == [2, 2]


def test_no_worker_stays(tmp_path: Path) -> None:
    match = Match.of(tmp_path, same(SMALL))
    match.measure()
    assert all(is_gone(pid) for side in ("base", "head") for pid in match.workers(side))


@pytest.mark.parametrize("when", [Prepare, Measure])
def test_interrupted_pair_leaves_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: type
) -> None:
    real = WorkerProcess.ask

    def interrupted(worker: Any, request: Any, seconds: float) -> Any:
        if isinstance(request, when):
            raise KeyboardInterrupt
        return real(worker, request, seconds)

    match = Match.of(tmp_path, same(SMALL))
    monkeypatch.setattr(WorkerProcess, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        match.measure()
    assert len(match.workers("base")) == 2
    assert all(is_gone(pid) for side in ("base", "head") for pid in match.workers(side))
