"""A worker that measures nothing and answers at once: it speaks the protocol and needs no torch.

Run as `python fake_worker.py OVERRIDES -P WORKER CHANNEL SUBJECT STEPS DEVICE THREADS`. OVERRIDES
is a Python file run in this module's names: what it defines takes the place of what is here.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # of a worker neither package is on the path

import msgspec

from bench.devices import DEVICES
from bench.devices.facts import DeviceFacts, Facts
from bench.matrix.case import WHOLE
from bench.protocol.messages import (
    Block,
    CaseVerified,
    CeilingPrepared,
    CompileTimed,
    EnergyMeasured,
    Hello,
    Measure,
    MeasureEnergy,
    MeasureMemory,
    MemoryMeasured,
    Prepare,
    PrepareCeiling,
    Prepared,
    Profile,
    Profiled,
    Reply,
    Request,
    TimeCompile,
    Verify,
)
from bench.protocol.profile import PhaseProfile, StepProfile, Work
from bench.protocol.verified import Expected, Graphs, Verified

FOLDER = Path(sys.argv[1]).parent
CHANNEL, DEVICE, THREADS = int(sys.argv[4]), sys.argv[7], int(sys.argv[8])

ACCELERATORS: dict[str, tuple[DeviceFacts, ...]] = {}
"""Kind to its facts, for each that this worker sees beside its CPU."""
EXPECTED = Expected(loss=30.0, loss_tolerance=1e-6, ratio=0.5, tolerance=1e-4)
GRAPHS = Graphs(loss=0, step=0, recompiled=0, breaks=(), skips=0)
VERIFIED = Verified(EXPECTED, 0.5, "float32", "for-loop", GRAPHS, None)
PHASE = PhaseProfile(
    share=1.0, in_operators=0.5, ops=9, nodes=4, launches=9, kernels=9, busy_ns=5_000
)
PROFILE = StepProfile(8, {WHOLE: PHASE}, {WHOLE: Work(100, 1_000)}, state_elements=0)


def facts() -> Facts:
    absent = {kind: (DeviceFacts(unavailable=f"no {kind} device here"),) for kind in DEVICES}
    cpu = DeviceFacts(name="x86_64", memory_bytes=64 * 2**30)
    return Facts("2.13.0", 4, True, {**absent, "cpu": (cpu,), **ACCELERATORS})


def hello() -> Hello:
    return Hello(facts(), "3.11.0", "0" * 16, THREADS, [0])


def prepared(request: Prepare) -> Reply:
    wanted = request.expected or EXPECTED
    seen = msgspec.structs.replace(VERIFIED, expected=wanted)
    return Prepared(request.case.id, 1_000_000, 18, ("dispatch",), seen)


def ceiling_prepared(request: PrepareCeiling) -> Reply:
    return CeilingPrepared(request.ceiling.id, 500_000, request.calls or 7, 7e6, "so it is done")


def block(request: Measure) -> Reply:
    return Block(
        case=request.case,
        kind=request.kind,
        samples=request.samples,
        elapsed_ns=50,
        readings_ns={"dispatch": 100},
        quantiles_ns={series: [10, 20, 30, 40] for series in request.series},
    )


def spent(request: MeasureEnergy) -> Reply:
    return EnergyMeasured(request.case, 1_000, round(request.seconds * 1e9), 12.5)


def counted(request: MeasureMemory) -> Reply:
    return MemoryMeasured(request.case, 2**20)


def profiled(request: Profile) -> Reply:
    return Profiled(request.case, PROFILE)


def held(request: Verify) -> Reply:
    return CaseVerified(request.case.id, VERIFIED)


def compile_timed(request: TimeCompile) -> Reply:
    """Slow and full of misses where the compiler's cache holds nothing; then it holds a graph."""
    graph = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"], "graph")
    found = graph.exists()
    graph.touch()
    time_ns = 1_000_000 if found else 20_000_000
    return CompileTimed(request.case.id, time_ns, hits=int(found), misses=int(not found))


def answer(request: Request) -> Reply:
    match request:
        case Prepare():
            return prepared(request)
        case PrepareCeiling():
            return ceiling_prepared(request)
        case Measure():
            return block(request)
        case MeasureEnergy():
            return spent(request)
        case MeasureMemory():
            return counted(request)
        case Profile():
            return profiled(request)
        case Verify():
            return held(request)
        case TimeCompile():
            return compile_timed(request)


def say(reply: Reply) -> None:
    shout(msgspec.json.encode(reply) + b"\n")


def shout(text: bytes) -> None:
    while text:
        text = text[os.write(CHANNEL, text) :]


def start() -> None:
    say(hello())


def number() -> int:
    """How many workers with these overrides have asked this before."""
    with (FOLDER / "workers").open("a+") as file:
        file.write("x")
        return file.tell() - 1


def serve() -> None:
    with (FOLDER / "log").open("a") as log:
        log.write(f"{os.getpid()} {DEVICE} {THREADS}\n")
    with (FOLDER / f"asked-{os.getpid()}").open("wb", buffering=0) as asked:
        start()
        for line in os.fdopen(CHANNEL, "rb"):
            asked.write(line)
            say(answer(msgspec.json.decode(line, type=Request)))


if __name__ == "__main__":
    exec(compile(Path(sys.argv[1]).read_text(), sys.argv[1], "exec"), globals())
    serve()
