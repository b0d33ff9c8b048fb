"""When a run of the gate looks at its pairs, and what each look may spend of alpha."""

import itertools
from collections.abc import Iterator

FIRST_LOOKS = (9, 16, 32)
"""Pairs at which the test looks; then at twice as many each time, and when time is up. Nine pairs
are the fewest whose least p, 2^-9, the first look's share of alpha allows."""
FIRST_SHARES = (0.2, 0.3, 0.25)
"""Of alpha, for each look; a later one has half of what is left."""
CONTROLS = (2, 3, 5)
"""Control pairs taken by each look, at random places; the last again for each later look."""


def looks() -> Iterator[int]:
    """Numbers of pairs to look at, without end."""
    yield from FIRST_LOOKS
    for doublings in itertools.count(1):
        yield FIRST_LOOKS[-1] * 2**doublings


def shares() -> Iterator[float]:
    """The share of alpha that each look may spend; they add up to 1 at most."""
    yield from FIRST_SHARES
    left = 1 - sum(FIRST_SHARES)
    while True:
        left /= 2
        yield left


def controls_by(look: int) -> int:
    """Control pairs that are wanted by a look, counted from 0."""
    extra = max(look - len(CONTROLS) + 1, 0)
    return CONTROLS[min(look, len(CONTROLS) - 1)] + extra * (CONTROLS[-1] - CONTROLS[-2])


def slots(look: int, main: int, control: int) -> list[bool]:
    """The pairs to take until a look, counted from 0, beside those there are: true for a control.

    In order; whoever takes them shuffles them.
    """
    count = next(itertools.islice(looks(), look, None))
    return [False] * (count - main) + [True] * (controls_by(look) - control)
