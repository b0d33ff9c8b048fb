"""When a pair of workers counts memory, and what becomes of one that cannot."""

from pathlib import Path

from bench.protocol.messages import MeasureMemory
from bench.runner.pairs import MEMORY_PAIRS
from tests.cases import sumnet
from tests.runner.sides import Match, same

SMALL, MIDDLE = (sumnet(batch=batch) for batch in (2, 64))

REFUSING = """
def counted(request):
    return Refused(request.case, "unsupported", "no count here")
"""
LESS = """
from bench.protocol.messages import MemoryMeasured

def counted(request):
    return MemoryMeasured(request.case, 7)
"""


def test_memory_is_counted_on_both_sides_after_the_last_block(tmp_path: Path) -> None:
    match = Match.of(tmp_path, same(SMALL, MIDDLE), base=LESS)
    pair = match.measure()
    assert pair.peak_bytes == {case.id: (7, 2**20) for case in (SMALL, MIDDLE)}
    asked = [type(what) for _, _, what in match.asked()]
    assert asked[-4:] == [MeasureMemory] * 4
    assert MeasureMemory not in asked[:-4]


def test_memory_is_counted_in_a_few_pairs_and_in_no_control(tmp_path: Path) -> None:
    match = Match.of(tmp_path, same(SMALL))
    assert match.measure(control=True).peak_bytes == {}
    counted = [bool(match.measure().peak_bytes) for _ in range(MEMORY_PAIRS + 2)]
    assert counted == [True] * MEMORY_PAIRS + [False] * 2


def test_a_side_that_cannot_count_is_timed_on_and_not_asked_again(tmp_path: Path) -> None:
    match = Match.of(tmp_path, same(SMALL), head=REFUSING)
    pairs = [match.measure() for _ in range(2)]
    assert all(pair.block_pairs and not pair.peak_bytes for pair in pairs)
    assert match.pairs.without_memory == {SMALL.id: "on head: no count here"}
    asked = [side for side, _, what in match.asked() if isinstance(what, MeasureMemory)]
    assert asked == ["base", "head"]


def test_a_worker_lost_over_its_memory_loses_no_block(tmp_path: Path) -> None:
    match = Match.of(tmp_path, same(SMALL, MIDDLE), base="def counted(request):\n    os._exit(3)\n")
    pair = match.measure()
    assert set(pair.block_pairs) == {SMALL.id, MIDDLE.id}
    assert len(match.pairs.without_memory) == 1
    match.measure()
    assert set(match.pairs.without_memory) == {SMALL.id, MIDDLE.id}
    assert match.pairs.ended == {}
