"""What of a worker's replies is an answer, and what is not valid."""

from bench.protocol.messages import (
    KINDS,
    QUANTILES,
    Block,
    CaseVerified,
    CeilingPrepared,
    CompileTimed,
    EnergyMeasured,
    Measure,
    MeasureEnergy,
    Prepare,
    PrepareCeiling,
    Prepared,
    Profile,
    Profiled,
    Refused,
    Reply,
    Request,
    TimeCompile,
    Verify,
)
from bench.runner.process import WorkerLost, WorkerProcess


def ask(worker: WorkerProcess, case: str, request: Request, seconds: float) -> Reply:
    """What the worker answers about the case. Raises WorkerLost where that is no answer."""
    reply = worker.ask(request, seconds)
    check(case, request, reply)
    return reply


def check(case: str, request: Request, reply: Reply) -> None:
    """Raise WorkerLost where the reply is not one to this request."""
    match request, reply:
        case _, Refused(named, status, reason) if named == case:
            # What it could not free, or an accelerator that an error has left unusable, would weigh
            # on the next case; after a closer look nothing is timed.
            broken = status == "oom" or (status == "failed" and not case.startswith("cpu/"))
            if broken and not isinstance(request, Profile | MeasureEnergy):
                raise WorkerLost(status, reason)
        case Prepare(), Prepared(named) if named == case:
            if reply.step_ns <= 0 or reply.verified is None:
                raise WorkerLost("failed", f"the worker's reply is not valid: {reply!r:.200}")
        case PrepareCeiling(), CeilingPrepared(named) if named == case:
            if min(reply.sample_ns, reply.calls, reply.work) <= 0:
                raise WorkerLost("failed", f"the worker's reply is not valid: {reply!r:.200}")
        case MeasureEnergy(), EnergyMeasured(named) if named == case:
            if min(reply.steps, reply.elapsed_ns, reply.joules) <= 0:
                raise WorkerLost("failed", f"the worker's reply is not valid: {reply!r:.200}")
        case Measure(), Block(named) if named == case:
            values = [value for row in reply.quantiles_ns.values() for value in row]
            values += reply.readings_ns.values()
            if (reply.kind, reply.samples) != (request.kind, request.samples) or not values:
                raise WorkerLost("failed", "the worker answered a block that was not asked for")
            complete = set(reply.quantiles_ns) == set(KINDS[request.kind])
            complete &= all(len(row) == len(QUANTILES) for row in reply.quantiles_ns.values())
            if not complete or min(values) <= 0:
                raise WorkerLost("failed", f"the worker's reply is not valid: {reply!r:.200}")
        case TimeCompile(), CompileTimed(named) if named == case:
            if reply.first_step_ns <= 0:
                raise WorkerLost("failed", f"the worker's reply is not valid: {reply!r:.200}")
        case (Verify(), CaseVerified(named)) | (Profile(), Profiled(named)) if named == case:
            pass
        case _:
            raise WorkerLost("failed", f"the worker answered out of turn: {reply!r:.80}")
