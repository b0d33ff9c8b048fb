"""One verification of each case, and no timing: whether it trains as it should."""

from collections.abc import Callable, Sequence

from ..devices.facts import Facts
from ..matrix.case import Case
from ..matrix.support import unsupported_reason
from ..protocol.messages import CaseVerified, Refused, Verify
from ..protocol.verified import Verified
from .pool import Deadlines, Pool
from .process import Side

Outcome = Verified | Refused


def verify_cases(
    cases: Sequence[Case],
    on_outcome: Callable[[Case, Outcome], None],
    *,
    side: Side | None = None,
    deadlines: Deadlines | None = None,
) -> None:
    """Report on every case, in order. A lost worker takes one case with it, not the others.

    Raises MachineError where workers do not start.
    """
    facts: Facts | None = None
    with Pool(lambda: [side or Side()], deadlines) as pool:
        for case in cases:
            if facts is None:
                pool.provide([case])
                facts = pool.hellos[0].facts
            reason = unsupported_reason(case, facts)
            if reason is not None:
                on_outcome(case, Refused(case.id, "unsupported", reason))
                continue
            pool.provide([case], unused=False)
            reply = pool.ask(Verify(case))
            assert isinstance(reply, CaseVerified | Refused)  # which was checked
            on_outcome(case, reply.verified if isinstance(reply, CaseVerified) else reply)
