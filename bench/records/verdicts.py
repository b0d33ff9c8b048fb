"""The verdicts on a series or on a run, and the exit status of each."""

from collections.abc import Iterable
from typing import Final, Literal

Verdict = Literal[
    "regressed", "failed", "invalid", "no baseline", "inconclusive", "improved", "equivalent"
]

REGRESSED: Final = "regressed"
FAILED: Final = "failed"
"""The head cannot run what the base can."""
INVALID: Final = "invalid"
NO_BASELINE: Final = "no baseline"
"""The base cannot run what the head can."""
INCONCLUSIVE: Final = "inconclusive"
IMPROVED: Final = "improved"
EQUIVALENT: Final = "equivalent"
VERDICTS: tuple[Verdict, ...] = (
    REGRESSED,
    FAILED,
    INVALID,
    NO_BASELINE,
    INCONCLUSIVE,
    IMPROVED,
    EQUIVALENT,
)
"""The worst first."""
UNTIMED: tuple[Verdict, ...] = (FAILED, INVALID, NO_BASELINE)
"""Those that no time speaks for."""
EXIT_STATUS = {
    REGRESSED: 1,
    FAILED: 1,
    INVALID: 3,
    NO_BASELINE: 3,
    INCONCLUSIVE: 3,
    IMPROVED: 0,
    EQUIVALENT: 0,
}

Way = Literal["slower", "faster"]

SLOWER: Final = "slower"
FASTER: Final = "faster"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The outcome of a run with these verdicts; invalid without any."""
    return min(verdicts, key=VERDICTS.index, default=INVALID)
