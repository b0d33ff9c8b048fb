"""The verb `list --verify`: each case run once, untimed, and checked against what it should do."""

from collections import Counter
from collections.abc import Callable, Sequence

from ..matrix.case import Case
from ..matrix.default_step import Catalogue
from ..protocol.verified import Verified
from ..runner.discovery import side_of
from ..runner.verification import Outcome, verify_cases

HARMLESS = ("verified", "unsupported")


def verify(cases: Sequence[Case], catalogue: Catalogue, show: Callable[[str], None]) -> int:
    """Verify the cases, show a line of each and its notes, and count; 1 if one failed."""
    counts: Counter[str] = Counter()

    def on_outcome(case: Case, outcome: Outcome) -> None:
        counts["verified" if isinstance(outcome, Verified) else outcome.status] += 1
        show(f"{case.id}  {outcome_text(outcome)}")
        for note in outcome.notes if isinstance(outcome, Verified) else ():
            show(f"  {note}")

    verify_cases(cases, on_outcome, side=side_of(catalogue))
    show(", ".join(f"{number} {status}" for status, number in counts.most_common()))
    return int(any(status not in HARMLESS for status in counts))


def outcome_text(outcome: Outcome) -> str:
    """For example `verified: loss ratio 0.2416 (0.2416 ± 0.0001 expected); float32, for-loop`."""
    if not isinstance(outcome, Verified):
        return f"{outcome.status}: {outcome.reason}"
    expected, graphs = outcome.expected, outcome.graphs
    against = "not checked against float64"
    if expected is not None:
        against = f"{expected.ratio:.4g} ± {expected.tolerance:.1g} expected"
    loss = "" if outcome.ratio is None else f"loss ratio {outcome.ratio:.4g} "
    ran = ", ".join(filter(None, (outcome.products, outcome.path)))
    parts = [f"verified: {loss}({against})" + (f"; {ran}" if ran else "")]
    if graphs.loss + graphs.step:
        parts.append(f"{graphs.loss} + {graphs.step} graphs, {len(graphs.breaks)} breaks")
    return ", ".join(parts)
