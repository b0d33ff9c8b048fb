"""What verifying cases showed, a line each."""

from collections import Counter
from collections.abc import Sequence

from bench.matrix.case import Case
from bench.protocol.messages import Verified
from bench.runner.verification import Outcome, verify_cases

HARMLESS = ("verified", "unsupported")


def print_verification(cases: Sequence[Case]) -> int:
    """Verify the cases, print what became of each, and count; the exit status: 1 if one failed."""
    counts: Counter[str] = Counter()

    def tell(case: Case, outcome: Outcome) -> None:
        counts["verified" if isinstance(outcome, Verified) else outcome.status] += 1
        print(f"{case.id}  {outcome_text(outcome)}", flush=True)

    verify_cases(cases, tell)
    print(", ".join(f"{number} {status}" for status, number in counts.most_common()))
    return int(any(status not in HARMLESS for status in counts))


def outcome_text(outcome: Outcome) -> str:
    """For example `verified: loss to 0.2416 of what it was, 0.2416 expected; float32, for-loop`."""
    if not isinstance(outcome, Verified):
        return f"{outcome.status}: {outcome.reason}"
    graphs = outcome.graphs
    captured = graphs.loss + graphs.step
    parts = [
        f"verified: loss to {outcome.ratio:.4g} of what it was, {outcome.expected.ratio:.4g} "
        f"± {outcome.expected.tolerance:.1g} expected; {outcome.products}, {outcome.path}"
    ]
    if captured:
        parts.append(f"{graphs.loss} + {graphs.step} graphs, {len(graphs.breaks)} breaks")
    return ", ".join(parts)
