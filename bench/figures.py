"""The ranges of the numbers in files and messages: one that is outside was damaged, or made up.

What is computed from numbers within them stays finite, and can be shown.
"""

from typing import Annotated

from msgspec import Meta

MOST = 2**53
"""Up to here a float has every whole number: bytes, FLOP, and 104 days in nanoseconds."""

Whole = Annotated[int, Meta(ge=-MOST, le=MOST)]
Count = Annotated[int, Meta(ge=0, le=MOST)]
"""Also of bytes, and of nanoseconds that may be none."""
Positive = Annotated[int, Meta(ge=1, le=MOST)]
LARGEST = {int: MOST, float: 1e18}
Number = Annotated[float, Meta(ge=-LARGEST[float], le=LARGEST[float])]
Amount = Annotated[float, Meta(ge=0, le=LARGEST[float])]
AtLeastOne = Annotated[float, Meta(ge=1, le=LARGEST[float])]
"""Nanoseconds between whole ones, or the work of a sample."""
Seconds = Annotated[float, Meta(ge=0, le=1e11)]
"""A duration, or a moment since the epoch: the calendar ends some thousands of years later."""
Logarithm = Annotated[float, Meta(ge=-100, le=100)]
"""Of a ratio of two times."""
HalfWidth = Annotated[float, Meta(ge=0, le=100)]
"""Of an interval of logarithms."""
Share = Annotated[float, Meta(ge=0, le=1)]
