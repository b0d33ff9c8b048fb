"""What a worker answers: it keeps the resident cases and the metronomes beside them."""

import gc
import platform
import time
from pathlib import Path

import torch

import sumnet
from bench.devices import DEVICES, probe
from bench.measure.metronome import build_metronomes, listen
from bench.measure.protocol import (
    Block,
    Hello,
    Measure,
    Prepare,
    Prepared,
    Refused,
    Reply,
    Request,
    Status,
    subject_hash,
)
from bench.measure.resident import Resident
from bench.measure.stopwatch import percentiles
from bench.measure.verify import InvalidCase


class Answers:
    """Does what requests ask. What goes wrong with a case is an answer, not an end."""

    def __init__(self, device: str, threads: int) -> None:
        self._facts = probe()  # before this process binds itself to some of its cores
        self._cores = DEVICES[device].pin(threads)
        torch.set_num_threads(threads)
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        self._residents: dict[str, Resident] = {}
        self._metronomes = build_metronomes()
        self._clock = DEVICES["cpu"].clock()
        gc.disable()

    def hello(self) -> Hello:
        folder = Path(sumnet.__file__).parent
        return Hello(
            facts=self._facts,
            python=platform.python_version(),
            subject_hash=subject_hash(folder),
            threads=torch.get_num_threads(),
            cores=self._cores,
        )

    def answer(self, request: Request) -> Reply:
        """The reply to one request."""
        case = request.case.id if isinstance(request, Prepare) else request.case
        try:
            if isinstance(request, Prepare):
                return self._prepare(request)
            return self._measure(request)
        except InvalidCase as error:
            return Refused(case, "invalid", str(error))
        except Exception as error:
            first_line = next(iter(str(error).strip().splitlines()), "no message")
            return Refused(case, _status_of(error), f"{type(error).__name__}: {first_line}")

    def _prepare(self, request: Prepare) -> Prepared:
        resident = Resident(request.case, request.lr)
        self._residents[request.case.id] = resident
        # Nothing alive now will ever be garbage: taken out of the collector's sight, it makes the
        # collections between blocks cheap.
        gc.collect()
        gc.freeze()
        return resident.prepared()

    def _measure(self, request: Measure) -> Block:
        resident = self._residents[request.case]
        gc.collect()
        resident.restore()
        readings = {
            name: listen(self._metronomes[name], self._clock) for name in resident.metronomes
        }
        started = time.perf_counter_ns()
        with torch.compiler.set_stance("fail_on_recompile"):
            samples = resident.time(request.kind, request.samples)
        elapsed = time.perf_counter_ns() - started
        return Block(
            case=request.case,
            kind=request.kind,
            samples=request.samples,
            elapsed_ns=elapsed,
            readings_ns=readings,
            quantiles_ns={series: percentiles(values) for series, values in samples.items()},
        )


def _status_of(error: Exception) -> Status:
    # The CPU allocator raises a plain RuntimeError: "DefaultCPUAllocator: can't allocate memory".
    out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return "oom" if out_of_memory or "can't allocate memory" in str(error) else "failed"
