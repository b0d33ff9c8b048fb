"""What a worker answers: it keeps the resident cases and the reference loops beside them."""

import gc
import platform
import statistics
import time
from pathlib import Path

import torch

import sumnet
from bench.devices import device_named, probe
from bench.devices.base import Device
from bench.devices.cpu import WallClock
from bench.matrix.case import Case
from bench.matrix.support import unsupported_reason
from bench.protocol.interpreter import describe
from bench.protocol.messages import (
    Block,
    CaseVerified,
    CeilingPrepared,
    CompileTimed,
    Hello,
    Interpreter,
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
    Status,
    TimeCompile,
    Verify,
)
from bench.protocol.reasons import reason_of
from bench.protocol.subject import subject_hash
from bench.worker.ceilings.prepared_ceiling import PreparedCeiling
from bench.worker.dispatch_trace import cache_counts
from bench.worker.prepared_case import NoEnergyError, PreparedCase, build, verified
from bench.worker.profile.trace import TraceError
from bench.worker.reference_loop import build_reference_loops, read_loop
from bench.worker.timing import percentiles, time_calls, upper_tail_mean
from bench.worker.verify.checks import InvalidCase
from sumnet.precision import PRECISIONS
from sumnet.train import float32_products

SYNCS = 100
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")


class Server:
    """Does what requests ask. What goes wrong with a case is an answer, not an end."""

    def __init__(self, device: str, threads: int, own_threads: bool = False) -> None:
        """`own_threads`: how many threads torch computes with is left to its environment."""
        self._facts = probe()  # before this process binds itself to some of its cores
        if unsupported_reason(Case(device=device), self._facts) is not None:
            device = "cpu"  # from where to tell why
        self._device = device_named(device)
        if not own_threads:
            torch.set_num_threads(threads)
        self._cores = self._device.enter(torch.get_num_threads())
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        self._cases: dict[str, PreparedCase] = {}
        self._probes: dict[str, PreparedCeiling] = {}
        self._reference_loops = build_reference_loops()
        self._clock = WallClock()
        gc.disable()
        gc.freeze()

    def hello(self) -> Hello:
        folder = Path(sumnet.__file__).parent
        return Hello(
            facts=self._facts,
            python=platform.python_version(),
            subject_hash=subject_hash(folder),
            threads=torch.get_num_threads(),
            cores=self._cores,
            sync_ns=_sync_ns(self._device),
            bus_id=self._device.bus_id(),
            interpreter=Interpreter(**describe(torch)),
        )

    def answer(self, request: Request) -> Reply:
        """The reply to one request."""
        case = asked_about(request)
        try:
            match request:
                case Prepare():
                    return self._prepare(request)
                case PrepareCeiling():
                    return self._prepare_ceiling(request)
                case Measure():
                    return self._measure(request)
                case Verify():
                    return self._verify(request)
                case TimeCompile():
                    return _time_compile(request, self._device)
                case MeasureEnergy():
                    return self._cases[request.case].spend(request.seconds)
                case Profile():
                    folder = None if request.traces is None else Path(request.traces)
                    return Profiled(case, self._cases[case].profile(folder))
        except InvalidCase as error:
            return Refused(case, "invalid", str(error))
        except NoEnergyError as error:
            return Refused(case, "unsupported", str(error))
        except TraceError as error:
            return Refused(case, "failed", str(error))
        except torch._dynamo.exc.FailOnRecompileLimitHit:
            return Refused(
                case, "invalid", "it passed torch.compile's recompile limit: it ran eager"
            )
        except Exception as error:
            return Refused(case, _status_of(error), reason_of(error))

    def _prepare(self, request: Prepare) -> Prepared:
        prepared = PreparedCase(request.case, request.lr, request.expected)
        self._cases[request.case.id] = prepared
        _keep()
        return prepared.prepared()

    def _prepare_ceiling(self, request: PrepareCeiling) -> CeilingPrepared | Refused:
        refused = self._facts.devices[request.ceiling.kind].refused_dtypes
        if (reason := refused.get(request.ceiling.dtype or "")) is not None:
            return Refused(request.ceiling.id, "unsupported", reason)
        probe = PreparedCeiling(request.ceiling, request.calls)
        self._probes[request.ceiling.id] = probe
        _keep()
        return probe.prepared()

    def _verify(self, request: Verify) -> CaseVerified:
        try:
            return CaseVerified(request.case.id, verified(request.case, request.lr))
        finally:
            if request.case.compilation.compiles:
                torch.compiler.reset()
            gc.collect()

    def _measure(self, request: Measure) -> Block:
        prepared = self._probes.get(request.case) or self._cases[request.case]
        gc.collect()
        prepared.restore()
        readings = {
            name: read_loop(self._reference_loops[name], self._clock)
            for name in prepared.reference_loops
            if request.with_readings
        }
        started = time.perf_counter_ns()
        with torch.compiler.set_stance("fail_on_recompile"):
            samples = prepared.time(request.kind, request.samples)
        elapsed = time.perf_counter_ns() - started
        return Block(
            case=request.case,
            kind=request.kind,
            samples=request.samples,
            elapsed_ns=elapsed,
            readings_ns=readings,
            quantiles_ns={series: percentiles(values) for series, values in samples.items()},
            means_ns={series: round(statistics.fmean(v)) for series, v in samples.items()},
            upper_tail_ns={series: upper_tail_mean(values) for series, values in samples.items()},
        )


def asked_about(request: Request) -> str:
    """The id of the case or ceiling that a request is about."""
    match request:
        case PrepareCeiling():
            return request.ceiling.id
        case Prepare() | Verify() | TimeCompile():
            return request.case.id
        case Measure() | MeasureEnergy() | Profile():
            return request.case


def _keep() -> None:
    """Nothing alive now will ever be garbage: taken out of the collector's sight, it makes the
    collections between blocks cheap."""
    gc.collect()
    gc.freeze()


def _time_compile(request: TimeCompile, device: Device) -> CompileTimed:
    """The first step, from when it is called until it is done."""
    with float32_products(PRECISIONS[request.case.dtype]):
        loop = build(request.case, request.lr)
        device.synchronize()
        hits, misses = cache_counts()
        started = time.perf_counter_ns()
        loop.train_step()
        device.synchronize()
        elapsed = time.perf_counter_ns() - started
    after_hits, after_misses = cache_counts()
    return CompileTimed(request.case.id, elapsed, after_hits - hits, after_misses - misses)


def _sync_ns(device: Device) -> int:
    """The least that waiting for the idle device took."""
    clock = WallClock()
    return min(time_calls(device.synchronize, clock, SYNCS))


def _status_of(error: Exception) -> Status:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "oom"
    # Allocators of the CPU and of mps, and libraries on CUDA, raise a plain RuntimeError.
    return "oom" if any(words in str(error) for words in OUT_OF_MEMORY) else "failed"
