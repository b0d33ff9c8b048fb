"""What a step's training should do, from runs of the same step in float64.

One run is exact. The others, whose numbers are rounded and shaken as the case's dtype rounds them,
say how far the case may stray from it; what is assumed of rounding is in `rounding`.
"""

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from ...matrix.case import Case
from ...matrix.precision import PRECISIONS
from ...protocol.reasons import reason_of
from ...protocol.verified import Expected
from ..generators import drawn
from ..loop import Loop
from .rounding import FACTOR, ROUNDINGS, SHAKEN, finite_sizes, products_unit, update_unit
from .widening import in_float64

CHECKPOINTS = (3, 10)
"""Steps after which the loss is read; a slow step is judged by the first of them alone."""
BUDGET_S = 5.0
"""For all runs of a case together."""
LEAST_SHAKEN = 3
LARGEST_TOLERANCE = 0.5
"""A loss that rounding alone may change by more, relative, shows nothing."""

PLAIN = {"compile": "off", "implementation": "default"}
"""Of a loop that runs as it is written."""

Build = Callable[[Case], Loop]
"""Builds the loop of a case anew, from the same seed."""


class CannotCheck(Exception):
    """There is no float64 run to compare with; the text is the reason."""


@dataclass
class Losses:
    """What a run's loss was, and the generators' state, at the beginning and at checkpoints."""

    first: float = math.nan
    """Before the first step; not a number where building the loop took steps."""
    after: dict[int, float] = field(default_factory=dict)
    """By the number of steps."""
    draws: dict[int, str] = field(default_factory=dict)
    """Likewise a digest of the generators' states: of two runs from one seed, whether they drew
    alike."""

    def read(self, steps: int, loss: torch.Tensor, device: str) -> None:
        self.after[steps] = float(loss)
        states = b"".join(bytes(state.numpy()) for state in drawn(device))
        self.draws[steps] = hashlib.sha256(states).hexdigest()[:16]


def expect_step(case: Case, build: Build, trained: int = 0) -> Expected:
    """What CHECKPOINTS' steps of training do to the case's loss, and how far that may differ.

    `trained` is how many steps building the case's loop takes. Raises CannotCheck.
    """
    try:
        return _expect(case, build, trained)
    except CannotCheck:
        raise
    except Exception as error:  # whatever a user's step raises in a dtype it was not written for
        raise CannotCheck(f"in float64 it raises {reason_of(error)}") from error


def _expect(case: Case, build: Build, trained: int) -> Expected:
    started = time.perf_counter()
    run = Run(case, build)
    built = time.perf_counter() - started
    steps, runs = _affordable(built, run.first_step(trained))
    run.finish(steps)
    exact = run.losses
    del run  # one at a time: each holds a model
    shaken = [_shaken(case, build, seed, trained, steps) for seed in range(1, runs)]
    first, last = exact.first, exact.after[steps]
    if not (math.isfinite(first) and math.isfinite(last) and first):
        raise CannotCheck(f"its loss in float64 goes from {first:.4g} to {last:.4g}")
    ratio, unit = last / first, products_unit(case)
    ratios = [losses.after[steps] / first for losses in shaken]
    at_once = math.sqrt(ROUNDINGS) * unit
    walked = math.sqrt(steps * ROUNDINGS) * max(unit, update_unit(case)) * abs(1 - ratio)
    strayed = max(walked + at_once * abs(ratio), *finite_sizes(r - ratio for r in ratios))
    tolerance = FACTOR * strayed
    if tolerance > LARGEST_TOLERANCE * max(1, abs(ratio)):
        raise CannotCheck(
            f"rounding alone may change its loss by {tolerance / max(1, abs(ratio)):.0%} in "
            f"{steps} steps"
        )
    begun = max(at_once, *finite_sizes(losses.first / first - 1 for losses in shaken))
    return Expected(first, FACTOR * begun, ratio, tolerance, steps, exact.draws[steps])


def _shaken(case: Case, build: Build, seed: int, trained: int, steps: int) -> Losses:
    run = Run(case, build, shake=seed)
    run.first_step(trained)
    run.finish(steps)
    return run.losses


def _affordable(build_s: float, step_s: float) -> tuple[int, int]:
    """The steps and the runs that BUDGET_S is enough for."""
    for steps in reversed(CHECKPOINTS):
        run_s = build_s + step_s * (steps + len(CHECKPOINTS))
        if (runs := int(BUDGET_S / run_s)) > LEAST_SHAKEN:
            return steps, min(runs, 1 + SHAKEN)
    raise CannotCheck(f"a step in float64 takes {step_s:.1f} s, too long for several runs")


class Run:
    """One run in float64, exact or shaken."""

    def __init__(self, case: Case, build: Build, shake: int | None = None) -> None:
        """`shake` is the seed that its numbers are shaken by."""
        self.losses = Losses()
        self._case = case
        self._stored: torch.dtype = getattr(torch, PRECISIONS[case.dtype].parameters)
        self._noise = ROUNDINGS * products_unit(case)
        with in_float64(self._stored):
            self._loop = build(case.but({**PLAIN, "dtype": "float64"}))
        assert self._loop.optimizer is not None
        self._optimizer = self._loop.optimizer
        _keep_eps(self._optimizer, self._stored)
        self._parameters = list(self._loop.model.parameters())
        self._chance: torch.Generator | None = None
        if shake is not None:
            self._chance = torch.Generator(case.device).manual_seed(shake)
            self._store()

    def first_step(self, trained: int) -> float:
        """As the case begins: the steps that building it took, then forward and backward; how long
        these took, seconds."""
        for _ in range(trained):
            self._step()
        started = time.perf_counter()
        with in_float64(self._stored):
            self.losses.first = float(self._gradients())
            self._optimizer.zero_grad(set_to_none=True)
        self._taken = trained
        return time.perf_counter() - started

    def finish(self, steps: int) -> None:
        """Train until so many steps are taken, and read the loss at the checkpoints on the way."""
        for checkpoint in (count for count in CHECKPOINTS if count <= steps):
            for _ in range(checkpoint - self._taken):
                self._step()
            self._taken = checkpoint
            with in_float64(self._stored), self._shaken_parameters():
                self.losses.read(
                    checkpoint, self._loop.phases["forward"](None).detach(), self._case.device
                )

    def _step(self) -> None:
        with in_float64(self._stored):
            if self._case.closure:
                self._optimizer.step(self._gradients)  # type: ignore[arg-type]
            else:
                self._gradients()
                self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        if self._chance is not None:
            self._store()

    def _gradients(self) -> torch.Tensor:
        """Forward and backward; the loss."""
        with self._shaken_parameters():
            loss: torch.Tensor = self._loop.phases["forward"](None)
            self._loop.phases["backward"](loss)
        for parameter in self._parameters:
            if parameter.grad is not None:
                sparse = parameter.grad.is_sparse
                self._shake(parameter.grad._values() if sparse else parameter.grad)
        return loss.detach()

    @contextlib.contextmanager
    def _shaken_parameters(self) -> Iterator[None]:
        """As forward and backward of a dtype that rounds see them, for as long as this lasts."""
        saved = [] if self._chance is None else [p.detach().clone() for p in self._parameters]
        for parameter in self._parameters:
            self._shake(parameter.detach())
        yield
        for parameter, before in zip(self._parameters, saved, strict=False):
            parameter.detach().copy_(before)

    def _shake(self, tensor: torch.Tensor) -> None:
        if self._chance is not None and tensor.is_floating_point():
            draws = torch.rand(
                tensor.shape, generator=self._chance, dtype=torch.float64, device=tensor.device
            )
            tensor.mul_(1 + self._noise * (2 * draws - 1))

    def _store(self) -> None:
        """Round parameters, and what the optimizer remembers of each, as the case stores them."""
        shapes = {parameter.shape for parameter in self._parameters}
        entries = [value for e in self._optimizer.state.values() for value in e.values()]
        remembered = [v for v in entries if torch.is_tensor(v) and v.shape in shapes]
        for tensor in (*self._parameters, *remembered):
            tensor.detach().copy_(tensor.detach().to(self._stored))


def _keep_eps(optimizer: torch.optim.Optimizer, stored: torch.dtype) -> None:
    """Adafactor's eps1 is by default that of the parameters' dtype: not of float64, then."""
    if isinstance(optimizer, torch.optim.Adafactor):
        for group in optimizer.param_groups:
            eps1, eps2 = group["eps"]
            group["eps"] = (torch.finfo(stored).eps if eps1 is None else eps1, eps2)
