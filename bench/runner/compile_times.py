"""How long compiling a case takes, with empty caches and with full ones.

Each in a process of its own, because what a process has compiled is there the second time. The time
is that of the first training step: what a user waits for.
"""

import tempfile
from pathlib import Path

from bench.errors import MachineError
from bench.machine.redact import redacted
from bench.matrix.case import Case
from bench.protocol.messages import CompileTimed, Refused, TimeCompile
from bench.runner.events import CompileMeasured
from bench.runner.process import Side, WorkerLost, WorkerProcess
from bench.runner.replies import ask


def measure_compile(
    case: Case, lr: float | None, side: Side, hello_s: float, deadline_s: float
) -> CompileMeasured:
    """The case's compile times, cold then warm; where one cannot be had, why."""
    cold = None
    with tempfile.TemporaryDirectory(prefix="sumnet-compile-") as cache:

        def first_step() -> CompileTimed:
            environment = {
                "TORCHINDUCTOR_CACHE_DIR": cache,
                "TRITON_CACHE_DIR": str(Path(cache) / "triton"),
            }
            try:
                worker = WorkerProcess(side, case.device, case.threads, hello_s, environment)
            except MachineError as error:
                raise _NoTimeError(str(error)) from None
            try:
                return _ask(worker, TimeCompile(case, lr), case.id, deadline_s)
            finally:
                worker.close()

        try:
            first = first_step()
            if first.hits:
                raise _NoTimeError("the caches were not empty: no cold time")
            if not first.misses:
                raise _NoTimeError("torch.compile made nothing that it caches: no times")
            cold = first
            warm = first_step()
            if not warm.hits or warm.misses:
                raise _NoTimeError("the caches did not hold all of it: no warm time")
        except _NoTimeError as error:
            return CompileMeasured(case.id, cold, reason=redacted(str(error)))
    return CompileMeasured(case.id, cold, warm)


class _NoTimeError(Exception):
    """Why a compile time cannot be had."""


def _ask(worker: WorkerProcess, request: TimeCompile, case: str, deadline_s: float) -> CompileTimed:
    try:
        reply = ask(worker, case, request, deadline_s)
    except WorkerLost as lost:
        raise _NoTimeError(lost.reason) from None
    if isinstance(reply, Refused):
        raise _NoTimeError(reply.reason)
    assert isinstance(reply, CompileTimed)  # which was checked
    return reply
