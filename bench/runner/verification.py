"""One verification of each case, and no timing: what it is, or why it is not what it says."""

from collections.abc import Callable, Sequence

from bench.machine.redact import redacted
from bench.matrix.case import Case
from bench.matrix.support import unsupported_reason
from bench.protocol.messages import CaseVerified, Refused, Verified, Verify
from bench.runner.coordinator import Deadlines
from bench.runner.process import Side, WorkerLost, WorkerProcess
from bench.runner.replies import ask

Outcome = Verified | Refused


def verify_cases(
    cases: Sequence[Case],
    tell: Callable[[Case, Outcome], None],
    *,
    side: Side | None = None,
    deadlines: Deadlines | None = None,
) -> None:
    """Tell of every case, in order. A worker that is lost takes one case with it, not the others.

    Raises MachineError where workers do not start.
    """
    verifier = _Verifier(side or Side(), deadlines or Deadlines())
    try:
        for case in cases:
            tell(case, verifier.verify(case))
    finally:
        verifier.close()


class _Verifier:
    """One worker at a time, on the device and threads that the present case wants."""

    def __init__(self, side: Side, deadlines: Deadlines) -> None:
        self._side = side
        self._deadlines = deadlines
        self._worker: WorkerProcess | None = None

    def verify(self, case: Case) -> Outcome:
        worker = self._worker
        if worker is None:
            worker = self._start(case)
        reason = unsupported_reason(case, worker.hello.facts)
        if reason is not None:
            return Refused(case.id, "unsupported", reason)
        if worker.setting != (case.device, case.threads):
            worker = self._start(case)
        try:
            reply = ask(worker, case.id, Verify(case), self._deadlines.build_s(case))
        except WorkerLost as lost:
            self.close()
            return Refused(case.id, lost.status, redacted(lost.reason))
        if isinstance(reply, CaseVerified):
            return reply.verified
        assert isinstance(reply, Refused)  # which was checked
        return Refused(case.id, reply.status, redacted(reply.reason))

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _start(self, case: Case) -> WorkerProcess:
        self.close()
        self._worker = WorkerProcess(self._side, case.device, case.threads, self._deadlines.hello_s)
        return self._worker
