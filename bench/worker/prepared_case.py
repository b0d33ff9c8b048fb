"""A case resident in a worker: built, verified, warm, and put back to one state every block."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch

from ..devices import device_named
from ..devices.base import Device
from ..devices.cpu import WallClock
from ..devices.energy import CounterCheck
from ..devices.nvml import Unavailable
from ..matrix import default_step
from ..matrix.case import WHOLE, Case
from ..matrix.precision import PRECISIONS
from ..protocol.messages import WHOLE_KIND, EnergyMeasured, Prepared
from ..protocol.profile import StepProfile
from ..protocol.reference_loops import LARGE_BYTES, reference_loops_for
from ..protocol.verified import Expected, Verified
from .loop import Loop, float32_products
from .profile.memory import allocation_peak
from .profile.profiler import profile_step
from .refusals import Unsupported
from .restoring import restorers
from .steps import Steps
from .timing import Samples, Stopwatch, time_block
from .verify.checks import verify
from .verify.float64_run import expect
from .verify.same_seed import other_restored_loss
from .verify.step_verification import verify_step

WARMUP_WINDOW = 8
WARMUP_LEAST = 4
WARMUP_WINDOW_NS = 200_000_000
"""After which a window of slow steps ends, once it has WARMUP_LEAST."""
WARMUP_TOLERANCE = 0.03
WARMUP_STEADY = 2
WARMUP_LIMIT_NS = 1_500_000_000
RESTORED_STEPS = 40


def build(steps: Steps, case: Case, lr: float | None, device: Device) -> Loop:
    """The loop that a case means; the peak of the device's memory is measured from its first step.

    That is, above the net, its data and its optimizer, and what libraries keep for their own use.
    Raises CannotBuild.
    """

    def before_steps() -> None:
        device.warm_up()
        if case.replays and not case.compilation.captured:
            device.drop_workspaces()  # as torch does before it records a graph
        device.reset_peak()

    return steps.loop(case, lr=lr, before_steps=before_steps)


def verified(steps: Steps, case: Case, lr: float | None) -> Verified:
    """Build and verify a case, and let it go. Raises InvalidCase and CannotBuild."""
    device, expected = device_named(case.device), _expected(case, lr)
    with float32_products(PRECISIONS[case.dtype]):
        loop = build(steps, case, lr, device)
        seen = _verify(steps, case, lr, loop, device, expected)
        return _with_restoring(seen, _restoring(case, loop, device)[1])


def _expected(case: Case, lr: float | None) -> Expected | None:
    """What its training should do, where that is known beforehand."""
    return expect(case, lr) if default_step.is_known(case) else None


def _verify(
    steps: Steps,
    case: Case,
    lr: float | None,
    loop: Loop,
    device: Device,
    expected: Expected | None,
    *,
    tried: bool = False,
) -> Verified:
    if default_step.is_known(case):
        assert expected is not None
        return verify(case, loop, device, expected)

    def build_anew(plain: Case) -> Loop:
        return steps.loop(plain, lr=lr)

    return verify_step(case, loop, device, build_anew, expected, tried=tried)


def _restoring(case: Case, loop: Loop, device: Device) -> tuple[Callable[[], None], str | None]:
    """What puts weights and optimizer state back to where they are now, and what it leaves out.

    So every block times the same steps of the same training, however many came before. A net that
    went on training would end in vanishing gradients, and a CPU is many times slower at the
    subnormal numbers they decay through.
    """
    parts, note = restorers(loop, case.device)

    def restore() -> None:
        with torch.no_grad():
            for part in parts:
                part()
        device.synchronize()

    if note is None and not default_step.is_known(case):
        note = other_restored_loss(loop, restore)
    return restore, note


def _with_restoring(seen: Verified, note: str | None) -> Verified:
    """What was seen, and what is not put back between blocks."""
    return seen if note is None else msgspec.structs.replace(seen, notes=(*seen.notes, note))


class PreparedCase:
    """One case, ready to be timed. Raises InvalidCase where it is not what it says."""

    def __init__(
        self,
        steps: Steps,
        case: Case,
        lr: float | None = None,
        expected: Expected | None = None,
        *,
        tried: bool = False,
    ) -> None:
        """`expected` is what its training should do; it is computed where None is given, unless
        that was `tried` before."""
        self.case = case
        self.reference_loops = reference_loops_for(_activation_bytes(case))
        self._device = device_named(case.device)
        self._watch = Stopwatch(
            self._device.clock(), WallClock(), self._device.synchronize, self._device.repeats
        )
        self._precision = PRECISIONS[case.dtype]
        expected = expected or _expected(case, lr)
        with float32_products(self._precision):
            self._loop = build(steps, case, lr, self._device)
            seen = _verify(steps, case, lr, self._loop, self._device, expected, tried=tried)
            self.restore, note = _restoring(case, self._loop, self._device)
        self._verified = _with_restoring(seen, note)
        self._warmup_steps = 0
        with torch.compiler.set_stance("fail_on_recompile"):
            self._step_ns = self._warm_up()

    def prepared(self) -> Prepared:
        return Prepared(
            case=self.case.id,
            step_ns=self._step_ns,
            warmup_steps=self._warmup_steps,
            reference_loops=self.reference_loops,
            verified=self._verified,
        )

    def time(self, kind: str, samples: int) -> Samples:
        """One block of the given kind from the restored state, nanoseconds a step."""
        with float32_products(self._precision):
            return time_block(self._loop, self._watch, kind, samples)

    def measure_energy(self, seconds: float, counter: CounterCheck) -> EnergyMeasured:
        """Train for so long. Raises Unsupported where the device has no energy counter to rely on.

        `counter` is the check on that of this case's device.
        """
        try:
            unchecked = counter.unchecked(self._train)
            before = self._device.joules()
            if before is None:
                raise Unsupported(f"{self.case.kind} has no energy counter that can be read here")
            started = time.perf_counter_ns()
            steps = self._train(seconds)
            elapsed, after = time.perf_counter_ns() - started, self._device.joules()
        except Unavailable as reason:
            raise Unsupported(str(reason)) from None
        if after is None or after <= before:
            raise Unsupported("the energy counter did not advance")
        return EnergyMeasured(self.case.id, steps, elapsed, after - before, unchecked)

    def _train(self, seconds: float, between: Callable[[], object] = lambda: None) -> int:
        """Train for so long from the restored state; the number of steps.

        The state is put back every RESTORED_STEPS steps: see `_restoring`. The device is idle
        whenever `between` is called: before the first of these steps and after each.
        """
        self.restore()
        between()
        ends, steps = time.perf_counter() + seconds, 0
        with float32_products(self._precision):
            while time.perf_counter() < ends:
                for _ in range(RESTORED_STEPS):
                    self._loop.train_step()
                steps += RESTORED_STEPS
                self.restore()
                between()
        return steps

    def peak_bytes(self) -> int:
        """The most memory that training takes, above the net and its data.

        Of an accelerator that is what its allocator counted while the case was verified, on a CPU
        what a profiler counts: nothing may be timed in this process after it. Raises Unsupported
        where neither counts.
        """
        if self._verified.peak_bytes is not None:
            return self._verified.peak_bytes
        if self._device.asynchronous or self._device.memory_type is None:
            raise Unsupported(f"torch keeps no count of the memory of {self.case.kind}")
        with float32_products(self._precision):
            return allocation_peak(self._loop, self._device, self.restore)

    def profile(self, traces: Path | None = None) -> StepProfile:
        """What a step does, from a profiler: nothing may be timed in this process after it.

        Raises Unsupported where the profiler does not show it.
        """
        if self.case.replays and (reason := self._device.hides_graphs()) is not None:
            raise Unsupported(reason)
        with float32_products(self._precision):
            return profile_step(self.case, self._loop, self._device, self.restore, traces)

    def synchronised_step(self) -> None:
        """One whole step, and waiting for the device to have done it.

        How float32 matrices are multiplied is the caller's to set: to set it takes time.
        """
        self._loop.train_step()
        self._device.synchronize()

    def _warm_up(self) -> int:
        """Step until the median has not fallen for WARMUP_STEADY windows; the least, ns."""
        spent = steady = 0
        least, samples = float("inf"), WARMUP_LEAST
        while steady < WARMUP_STEADY and spent < WARMUP_LIMIT_NS:
            self.restore()
            window = self.time(WHOLE_KIND, samples)[WHOLE]
            self._warmup_steps += samples + 1
            spent += sum(window) * self._watch.repeats
            median = statistics.median(window)
            samples = max(WARMUP_LEAST, min(WARMUP_WINDOW, round(WARMUP_WINDOW_NS / median)))
            steady = steady + 1 if median > least * (1 - WARMUP_TOLERANCE) else 0
            least = min(least, median)
        return round(least)


def _activation_bytes(case: Case) -> int:
    """What its activations take; of a step that is not known, as much as memory may matter for."""
    return 4 * default_step.activations(case) if default_step.is_known(case) else LARGE_BYTES + 1
