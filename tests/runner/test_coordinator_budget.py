"""The coordinator's budget: it is spent, shared fairly, and not overspent."""

from collections import Counter

import pytest

from bench.runner import coordinator, schedule
from bench.runner.coordinator import Coordinator, ResumeState
from bench.runner.events import (
    BlockMeasured,
    CasePrepared,
    Event,
    SessionEnded,
    SessionStarted,
)
from tests.cases import sumnet
from tests.runner.conftest import MakeSide
from tests.runner.driving import CASES, MINIMUM, blocks, measure, only, plan, workers


class Ticking:
    """A clock that goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    clock = Ticking()
    monkeypatch.setattr(coordinator, "time", clock)
    monkeypatch.setattr(schedule, "time", clock)
    return clock


def test_a_budget_of_nothing_still_gives_the_least_number_of_sweeps(fake_side: MakeSide) -> None:
    events = measure(plan(budget_s=0, replicates=2), fake_side())
    assert blocks(events) == {case.id: 2 * MINIMUM for case in CASES}


def test_a_budget_that_an_earlier_session_spent_is_not_spent_again(
    fake_side: MakeSide, clock: Ticking
) -> None:
    side = fake_side()
    fresh = measure(plan(budget_s=500), side)
    resumed = measure(plan(budget_s=500), side, ResumeState(spent_s=500))
    assert blocks(fresh).total() > 2 * blocks(resumed).total()
    assert blocks(resumed) == {case.id: MINIMUM for case in CASES}


@pytest.mark.parametrize("replicates", [1, 4])
def test_a_run_ends_with_its_budget(fake_side: MakeSide, clock: Ticking, replicates: int) -> None:
    events = measure(plan(replicates=replicates, budget_s=1000), fake_side())
    started, finished = events[0], events[-1]
    assert isinstance(started, SessionStarted)
    assert isinstance(finished, SessionEnded)
    assert 0.9 * 1000 < finished.at - started.at < 1.02 * 1000


def test_what_preparing_costs_is_kept_back_from_the_budget(
    fake_side: MakeSide, clock: Ticking
) -> None:
    """Each worker prepares for 90 seconds: the last one's are not on top of the budget."""

    def tell(event: Event) -> None:
        if isinstance(event, CasePrepared):
            clock.now += 30
        if isinstance(event, SessionStarted | SessionEnded):
            times.append(event.at)

    times: list[float] = []
    Coordinator(plan(replicates=5, budget_s=1000), tell, side=fake_side()).measure()
    assert 0.9 * 1000 < times[1] - times[0] < 1.05 * 1000


def test_replicates_share_the_budget_fairly(fake_side: MakeSide, clock: Ticking) -> None:
    events = measure(plan(replicates=4, budget_s=1000), fake_side())
    of_each = Counter(event.worker for event in only(BlockMeasured, events))
    assert set(of_each) == {0, 1, 2, 3}
    assert max(of_each.values()) < 1.2 * min(of_each.values())


def test_a_group_gets_time_by_its_number_of_cases(fake_side: MakeSide, clock: Ticking) -> None:
    cases = [*(sumnet(batch=batch) for batch in (2, 4, 8)), sumnet(threads=2)]
    events = measure(plan(cases, budget_s=2000), fake_side())
    spans = []
    for worker in workers(events):
        times = [event.at for event in only(BlockMeasured, events) if event.worker == worker]
        spans.append(times[-1] - times[0])
    assert spans[0] / spans[1] == pytest.approx(3, rel=0.05)


def test_a_group_that_is_dear_to_prepare_leaves_the_others_their_share(
    fake_side: MakeSide, clock: Ticking
) -> None:
    """Twelve cases of one thread prepare for 120 seconds, one of two threads for ten."""
    cases = [*(sumnet(batch=batch) for batch in range(1, 13)), sumnet(threads=2)]
    events: list[Event] = []

    def tell(event: Event) -> None:
        events.append(event)
        if isinstance(event, CasePrepared):
            clock.now += 10

    Coordinator(plan(cases, replicates=3, budget_s=4000), tell, side=fake_side()).measure()
    of_each = blocks(events)
    assert of_each[cases[-1].id] > 0.5 * of_each[cases[0].id] > MINIMUM
    assert events[-1].at - events[0].at < 1.1 * 4000  # type: ignore[union-attr]
