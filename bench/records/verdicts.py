"""The verdicts on a series or on a run, and the exit status of each."""

from collections.abc import Iterable
from typing import Final, Literal

Verdict = Literal["regressed", "invalid", "inconclusive", "improved", "equivalent"]

REGRESSED: Final = "regressed"
INVALID: Final = "invalid"
INCONCLUSIVE: Final = "inconclusive"
IMPROVED: Final = "improved"
EQUIVALENT: Final = "equivalent"
VERDICTS: tuple[Verdict, ...] = (REGRESSED, INVALID, INCONCLUSIVE, IMPROVED, EQUIVALENT)
"""The worst first."""
EXIT_STATUS = {REGRESSED: 1, INVALID: 3, INCONCLUSIVE: 3, IMPROVED: 0, EQUIVALENT: 0}

Way = Literal["slower", "faster"]

SLOWER: Final = "slower"
FASTER: Final = "faster"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The outcome of a run with these verdicts; invalid without any."""
    return min(verdicts, key=VERDICTS.index, default=INVALID)
