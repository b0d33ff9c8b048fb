"""The verdicts, and the exit status each comes to."""

from typing import Final, Literal

Verdict = Literal["regressed", "invalid", "inconclusive", "improved", "equivalent"]

REGRESSED: Final = "regressed"
INVALID: Final = "invalid"
INCONCLUSIVE: Final = "inconclusive"
IMPROVED: Final = "improved"
EQUIVALENT: Final = "equivalent"
VERDICTS: tuple[Verdict, ...] = (REGRESSED, INVALID, INCONCLUSIVE, IMPROVED, EQUIVALENT)
"""Of a series; in the order in which they matter."""

Way = Literal["slower", "faster"]

SLOWER: Final = "slower"
FASTER: Final = "faster"

EXIT_STATUS = {REGRESSED: 1, INVALID: 3, INCONCLUSIVE: 3, IMPROVED: 0, EQUIVALENT: 0}
