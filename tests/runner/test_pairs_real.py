"""Pairs of real workers on the real subject and on copies that go wrong."""

import os
import shutil
from pathlib import Path

import psutil
import pytest

from bench.errors import MachineError
from bench.matrix.case import WHOLE
from bench.matrix.comparison import Comparison
from bench.matrix.plan import ENVIRONMENTS
from bench.matrix.step import PHASES
from bench.protocol.messages import PHASES_KIND, WHOLE_KIND, Hello, series_of
from bench.protocol.subject import ROOT, subject_hash
from bench.runner.pairs import MIN_SWEEPS, Pairs, ProcessPair
from bench.runner.process import Side
from tests.cases import sumnet
from tests.runner.sides import same

pytestmark = pytest.mark.slow

SMALL, LARGE = sumnet(batch=2), sumnet(batch=1024)
RAISING, DYING = sumnet(batch=16), sumnet(batch=64)
WIDE, FAST = sumnet(hidden=12), sumnet(hidden=8)

LATE = 12
"""Forward passes in blocks of phases before a case goes wrong."""
TROUBLED = f"""
import os
import sys


def in_a_block():
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_name != "time_phases":
        frame = frame.f_back
    return frame is not None


def troubled(net, pairs):
    seen[len(pairs)] = seen.get(len(pairs), 0) + in_a_block()
    if seen[len(pairs)] > {LATE}:
        if len(pairs) == {RAISING.own_values["batch"]}:
            raise ValueError("it has had enough")
        if len(pairs) == {DYING.own_values["batch"]}:
            os._exit(9)
    return whole(net, pairs)


seen, whole = {{}}, SumNet.forward
SumNet.forward = troubled
"""
"""Put at the end of the net's module: cases that go wrong in their blocks."""
REFUSED = f"""

def initial_net(hidden):
    if hidden == {WIDE.own_values["hidden"]}:
        raise ValueError("it is too wide")
    return SumNet(hidden)
"""
"""Put there too: one width cannot be built."""
FASTER = f"""

def lr_scale(hidden):
    return 2.0 if hidden == {FAST.own_values["hidden"]} else 1.0
"""
"""Put at the end of the step's module: one width trains at another rate."""


def subject(folder: Path, model: str = "") -> Path:
    """A copy of the subject, its model's module longer by so much."""
    shutil.copytree(ROOT / "sumnet", folder / "sumnet", ignore=shutil.ignore_patterns("*.pyc"))
    append(folder / "sumnet" / "model.py", model)
    return folder


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def children() -> list[psutil.Process]:
    """The worker processes that this one has."""
    return [
        child
        for child in psutil.Process(os.getpid()).children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
    ]


# A match of two sides that are well


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[Hello, Hello], list[ProcessPair]]:
    """What the survey says, a pair and a control pair."""
    head = subject(tmp_path_factory.mktemp("head"), model="\n# Not the base's.\n")
    sides = Side("base"), Side("head", subject=head)
    comparisons = [*same(SMALL, LARGE), Comparison(SMALL, sumnet(batch=2, optimizer="lbfgs"))]
    pairs = Pairs(comparisons, sides, ENVIRONMENTS["steady"], seed=1, seconds=0.1)
    hellos = pairs.survey()
    found = [pairs.measure(control=control) for control in (False, True)]
    assert pairs.ended == {}
    assert children() == []
    return hellos, [pair for pair in found if pair is not None]


def test_survey_distinguishes_the_subjects(
    well: tuple[tuple[Hello, Hello], list[ProcessPair]],
) -> None:
    base, head = well[0]
    assert base.subject_hash == subject_hash(ROOT / "sumnet")
    assert head.subject_hash != base.subject_hash


def test_both_workers_are_bound_to_the_same_cores(
    well: tuple[tuple[Hello, Hello], list[ProcessPair]],
) -> None:
    for base, head in [well[0], *(pair.hellos for pair in well[1])]:
        assert base.cores == head.cores
        assert base.threads == head.threads == 1
        assert base.facts == head.facts


def test_blocks_of_both_sides_have_what_a_step_takes(
    well: tuple[tuple[Hello, Hello], list[ProcessPair]],
) -> None:
    assert len(well[1]) == 2
    for pair in well[1]:
        phased = {PHASES_KIND, WHOLE_KIND}
        assert [set(kinds) for kinds in pair.block_pairs.values()] == [phased, phased, {WHOLE_KIND}]
        for kinds in pair.block_pairs.values():
            for kind, block_pairs in kinds.items():
                series = set(series_of(kind, PHASES))
                assert len(block_pairs) >= 2 * MIN_SWEEPS
                for block in (block for turn in block_pairs for block in (turn.base, turn.head)):
                    assert (block.kind, block.readings_ns) == (kind, {})
                    assert set(block.means_ns) == set(block.quantiles_ns) == series
                    assert set(block.upper_tail_ns) == series
                    for name, mean in block.means_ns.items():
                        assert block.quantiles_ns[name][0] <= mean < 10**9
                        assert mean * block.samples <= block.elapsed_ns


def test_phases_add_up_to_less_than_the_whole_that_they_came_of(
    well: tuple[tuple[Hello, Hello], list[ProcessPair]],
) -> None:
    for turn in well[1][0].block_pairs[SMALL.id][PHASES_KIND]:
        assert sum(turn.base.means_ns[phase] for phase in PHASES) < turn.base.elapsed_ns
    for turn in well[1][0].block_pairs[SMALL.id][WHOLE_KIND]:
        assert list(turn.base.means_ns) == [WHOLE]


def test_control_pair_loads_the_bases_subject_twice(
    well: tuple[tuple[Hello, Hello], list[ProcessPair]],
) -> None:
    (base, head), (main, control) = well
    hashes = [base.subject_hash, head.subject_hash]
    assert [hello.subject_hash for hello in main.hellos] == hashes
    assert control.control and not main.control
    assert {hello.subject_hash for hello in control.hellos} == {base.subject_hash}


# Sides that go wrong


def test_trouble_ends_the_comparison_it_is_in_and_no_other(tmp_path: Path) -> None:
    """The base cannot build one case; of the head's one raises, one kills its worker and one
    trains at another rate."""
    base = subject(tmp_path / "base", model=REFUSED)
    head = subject(tmp_path / "head", model=TROUBLED)
    append(head / "sumnet" / "training.py", FASTER)
    reported: list[str] = []
    pairs = Pairs(
        same(SMALL, RAISING, DYING, WIDE, FAST),
        (Side("base", subject=base), Side("head", subject=head)),
        {},
        seed=0,
        seconds=0.05,
        on_progress=reported.append,
    )
    pairs.survey()
    pair = pairs.measure(control=False)
    assert pair is not None
    assert set(pair.block_pairs) == {SMALL.id}
    assert len(pair.block_pairs[SMALL.id][WHOLE_KIND]) >= 2 * MIN_SWEEPS
    ended = {case: (e.side, e.status) for case, e in pairs.ended.items()}
    assert ended == {
        RAISING.id: ("head", "failed"),
        DYING.id: ("head", "failed"),
        WIDE.id: ("base", "failed"),
        FAST.id: ("head", "invalid"),
    }
    assert "ValueError: it has had enough" in pairs.ended[RAISING.id].reason
    assert "the worker exited with status 9" in pairs.ended[DYING.id].reason
    assert "ValueError: it is too wide" in pairs.ended[WIDE.id].reason
    assert len(reported) == 4
    assert children() == []


def test_subject_that_cannot_be_imported_is_reported_with_its_side(tmp_path: Path) -> None:
    broken = subject(tmp_path)
    append(broken / "sumnet" / "training.py", "\nimport a_module_that_is_missing\n")
    pairs = Pairs(same(SMALL), (Side("base"), Side("head", subject=broken)), {}, seed=0)
    with pytest.raises(MachineError) as caught:
        pairs.survey()
    assert str(caught.value).startswith("head: a worker did not start: the worker exited")
    assert "No module named 'a_module_that_is_missing'" in str(caught.value)
    assert children() == []


def test_bases_own_number_of_threads_goes_before_the_cases(tmp_path: Path) -> None:
    sides = Side("base", environment={"OMP_NUM_THREADS": "1"}), Side("head")
    base, head = Pairs(same(sumnet(threads=2)), sides, {}, seed=0).survey()
    assert (base.threads, head.threads) == (1, 2)
    assert (base.cores, len(head.cores)) == (head.cores[-1:], 2)
