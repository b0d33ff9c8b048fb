"""What a worker does on request, with its prepared cases and the reference loops beside them."""

import gc
import platform
import statistics
import time
from pathlib import Path

import torch

from ..devices import device_named, probe
from ..devices.cpu import WallClock
from ..devices.energy import CounterCheck
from ..matrix.precision import PRECISIONS
from ..protocol import messages
from ..protocol.interpreter import describe
from ..protocol.reasons import reason_of
from .ceilings.prepared_ceiling import PreparedCeiling
from .dispatch_trace import cache_counts
from .loop import float32_products
from .prepared_case import PreparedCase, build, verified
from .reference_loop import build_reference_loops, read_loop
from .refusals import PhasesUnclear, Refusal, Unsupported, status_of
from .steps import Steps
from .timing import percentiles, time_calls, upper_tail_mean

SYNCS = 100


class Server:
    """Does what requests ask. What goes wrong with a case is a reply, not an end."""

    def __init__(
        self, steps: Steps, device: str, threads: int, *, own_threads: bool = False
    ) -> None:
        """`own_threads`: how many threads torch computes with is left to its environment."""
        self._steps = steps
        self._facts = probe()  # before this process binds itself to some of its cores
        if not own_threads:
            torch.set_num_threads(threads)
        if self._facts.of(device).unavailable is None:
            try:
                self._enter(device)
            except Exception as error:  # it is broken, or another process has it to itself
                reason = (
                    f"{device} cannot be used: {reason_of(error)}; see what else uses it, or "
                    "choose another --device"
                )
                self._facts = self._facts.without(device, reason)
        if self._facts.of(device).unavailable is not None:
            self._enter("cpu")  # from where to report why
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        self._cases: dict[str, PreparedCase] = {}
        self._prepared: dict[str, PreparedCase | PreparedCeiling] = {}
        self._reference_loops = build_reference_loops()
        self._clock = WallClock()
        gc.disable()
        gc.freeze()

    def hello(self) -> messages.Hello:
        return messages.Hello(
            facts=self._facts,
            python=platform.python_version(),
            subject_hash=self._steps.hash,
            threads=torch.get_num_threads(),
            cores=self._cores,
            sync_ns=self._sync_ns,
            bus_id=self._bus_id,
            interpreter=messages.Interpreter(**describe(torch)),
        )

    def answer(self, request: messages.Request) -> messages.Reply:
        """The reply to one request."""
        what = messages.id_of(request)
        try:
            match request:
                case (
                    messages.Prepare(case=on)
                    | messages.PrepareCeiling(ceiling=on)
                    | messages.Verify(case=on)
                    | messages.TimeCompile(case=on)
                ):
                    self._require(on.device)
            match request:
                case messages.Prepare():
                    return self._prepare(request)
                case messages.PrepareCeiling():
                    return self._prepare_ceiling(request)
                case messages.Measure():
                    return self._measure(request)
                case messages.Verify():
                    return self._verify(request)
                case messages.Describe():
                    return messages.Described(self._steps.describe(what))
                case messages.TimeCompile():
                    return self._time_compile(request)
                case messages.MeasureEnergy():
                    return self._cases[what].measure_energy(request.seconds, self._counter)
                case messages.MeasureMemory():
                    return messages.MemoryMeasured(what, self._cases[what].peak_bytes())
                case messages.Profile():
                    folder = None if request.traces is None else Path(request.traces)
                    return messages.Profiled(what, self._cases[what].profile(folder))
        except Refusal as error:
            return messages.Refused(what, error.status, str(error))
        except torch._dynamo.exc.FailOnRecompileLimitHit:
            reason = "it passed torch.compile's recompile limit: it ran eager"
            return messages.Refused(what, "invalid", reason)
        except Exception as error:
            return messages.Refused(what, status_of(error), reason_of(error))

    def _enter(self, device: str) -> None:
        """Make this process work on a device. Raises what torch raises where that fails."""
        self._device = device_named(device)
        self._counter = CounterCheck(self._device)
        self._cores = self._device.enter(torch.get_num_threads())
        self._sync_ns = min(time_calls(self._device.synchronize, WallClock(), SYNCS))
        self._bus_id = self._device.bus_id()

    def _require(self, device: str) -> None:
        """Raise Unsupported where a device is unavailable: nothing runs elsewhere instead."""
        if (reason := self._facts.of(device).unavailable) is not None:
            raise Unsupported(reason)

    def _prepare(self, request: messages.Prepare) -> messages.Prepared:
        prepared = PreparedCase(
            self._steps, request.case, request.lr, request.expected, tried=request.tried
        )
        self._cases[request.case.id] = self._prepared[request.case.id] = prepared
        _keep()
        return prepared.prepared()

    def _prepare_ceiling(self, request: messages.PrepareCeiling) -> messages.CeilingPrepared:
        refused = self._facts.of(request.ceiling.device).refused_dtypes
        if (reason := refused.get(request.ceiling.dtype or "")) is not None:
            raise Unsupported(reason)
        prepared = PreparedCeiling(request.ceiling, request.calls)
        self._prepared[request.ceiling.id] = prepared
        _keep()
        return prepared.prepared()

    def _measure(self, request: messages.Measure) -> messages.Block | messages.PhasesRefused:
        try:
            return self._block(request)
        except PhasesUnclear:  # of a machine that was disturbed, perhaps
            try:
                return self._block(request)
            except PhasesUnclear as error:
                return messages.PhasesRefused(request.case, str(error))

    def _block(self, request: messages.Measure) -> messages.Block:
        prepared = self._prepared[request.case]
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
        return messages.Block(
            case=request.case,
            kind=request.kind,
            samples=request.samples,
            elapsed_ns=elapsed,
            readings_ns=readings,
            quantiles_ns={series: percentiles(values) for series, values in samples.items()},
            least_ns=min(1, *(min(values) for values in samples.values())),
            means_ns={series: round(statistics.fmean(v)) for series, v in samples.items()},
            upper_tail_ns={series: upper_tail_mean(values) for series, values in samples.items()},
        )

    def _verify(self, request: messages.Verify) -> messages.CaseVerified:
        try:
            seen = verified(self._steps, request.case, request.lr)
            return messages.CaseVerified(request.case.id, seen)
        finally:
            if request.case.compilation.compiles:
                torch.compiler.reset()
            gc.collect()

    def _time_compile(self, request: messages.TimeCompile) -> messages.CompileTimed:
        """The first step on a warm device, from when it is called until it is done."""
        with float32_products(PRECISIONS[request.case.dtype]):
            loop = build(self._steps, request.case, request.lr, self._device)
            self._device.synchronize()
            hits, misses = cache_counts()
            started = time.perf_counter_ns()
            loop.train_step()
            self._device.synchronize()
            elapsed = time.perf_counter_ns() - started
        hits_after, misses_after = cache_counts()
        return messages.CompileTimed(
            request.case.id, elapsed, hits_after - hits, misses_after - misses
        )


def _keep() -> None:
    """Nothing alive now will ever be garbage: frozen, it makes collections between blocks cheap."""
    gc.collect()
    gc.freeze()
