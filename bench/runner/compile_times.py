"""How long compiling a case takes, with empty caches and with full ones.

Each in a process of its own, because what a process has compiled is there the second time. The time
is that of the first training step: what a user waits for.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from ..errors import MachineError
from ..machine.redact import redacted
from ..matrix.case import Case
from ..protocol.messages import CompileTimed, Refused, TimeCompile
from .events import CompileMeasured
from .pool import Deadlines, Pool
from .process import Side


def measure_compile(
    case: Case, lr: float | None, side: Side, deadlines: Deadlines
) -> CompileMeasured:
    """The case's compile times, cold then warm; where one cannot be had, why."""
    with tempfile.TemporaryDirectory(prefix="sumnet-compile-") as cache:
        caches = {
            "TORCHINDUCTOR_CACHE_DIR": cache,
            "TRITON_CACHE_DIR": str(Path(cache) / "triton"),
        }
        caching = replace(side, environment={**side.environment, **caches})
        cold = _first_step(case, lr, caching, deadlines)
        if isinstance(cold, str):
            return CompileMeasured(case.id, reason=cold)
        if cold.hits:
            return CompileMeasured(case.id, reason="the caches were not empty: no cold time")
        if not cold.misses:
            why = "torch.compile made nothing that it caches: no times"
            return CompileMeasured(case.id, reason=why)
        warm = _first_step(case, lr, caching, deadlines)
    if isinstance(warm, str):
        return CompileMeasured(case.id, cold, reason=warm)
    if not warm.hits or warm.misses:
        why = "the caches did not hold all of it: no warm time"
        return CompileMeasured(case.id, cold, reason=why)
    return CompileMeasured(case.id, cold, warm)


def _first_step(
    case: Case, lr: float | None, side: Side, deadlines: Deadlines
) -> CompileTimed | str:
    """What a fresh worker timed, or why it timed nothing."""
    try:
        with Pool(lambda: [side], deadlines) as pool:
            pool.provide([case])
            reply = pool.ask(TimeCompile(case, lr))
    except MachineError as error:
        return redacted(str(error))
    assert isinstance(reply, CompileTimed | Refused)  # which was checked
    return reply.reason if isinstance(reply, Refused) else reply
