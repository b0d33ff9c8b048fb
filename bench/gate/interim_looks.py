"""The interim looks of a group-sequential test: when they are, and the alpha that each spends."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..records.gate_report import PairRecord

FIRST_LOOKS = (9, 16, 32)
"""Pairs at which the test looks; then at twice as many each time, and when time is up. Nine pairs
are the fewest whose least p, 2^-9, the first look's share of alpha allows."""
FIRST_SHARES = (0.2, 0.3, 0.25)
"""Of alpha, for each look; a later one has half of what is left."""
CONTROLS = (2, 3, 5)
"""A/A control pairs taken by each look, at random places; then two more for each look."""


def schedule() -> Iterator[tuple[int, int]]:
    """Pairs and control pairs that each look wants, without end."""
    yield from zip(FIRST_LOOKS, CONTROLS, strict=True)
    for later in itertools.count(1):
        yield FIRST_LOOKS[-1] * 2**later, CONTROLS[-1] + 2 * later


def shares() -> Iterator[float]:
    """The share of alpha that each look may spend; they add up to 1 at most."""
    yield from FIRST_SHARES
    for halvings in itertools.count(1):
        yield (1 - sum(FIRST_SHARES)) / 2**halvings


def interim_looks(
    pairs: Sequence[PairRecord],
    take: Callable[[bool], bool],
    shuffle: Callable[[list[bool]], None],
    wanted: Iterable[tuple[int, int]] | None = None,
) -> Iterator[list[int]]:
    """Take pairs from look to look; yield, at each, the numbers of pairs looked at so far.

    `take` adds one to `pairs`, a control pair where it is given true, or returns False where it
    cannot: the look that follows is the last, and looks at what there is. `wanted` stands in for
    `schedule`. The caller ends it where more pairs are not worth their time.
    """
    looked: list[int] = []
    for count, controls in wanted or schedule():
        held = sum(pair.control for pair in pairs)
        order = [False] * (count - (len(pairs) - held)) + [True] * (controls - held)
        shuffle(order)
        complete = True
        for control in order:  # not by map: what it calls may raise StopIteration, and end it
            if not take(control):
                complete = False
                break
        main = sum(not pair.control for pair in pairs)
        if main > max(looked, default=FIRST_LOOKS[0] - 1):
            looked.append(main)
        yield looked
        if not complete:
            return
