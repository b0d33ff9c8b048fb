"""Steps as users write them: their cases, and loops of them that are built anew from one seed."""

import random
from collections.abc import Callable
from typing import Any

import torch

from bench.devices.cpu import Cpu
from bench.matrix.case import Case, case_of
from bench.matrix.precision import PRECISIONS
from bench.matrix.step import StepDescription
from bench.protocol.verified import Expected, Verified
from bench.worker.loop import Loop, loop_over
from bench.worker.steps import traits_of
from bench.worker.verify.step_verification import verify_step
from sumnet.steps import DECLARED, Declaration, Step, training_step


class UserStep:
    """One training step and how to build it."""

    def __init__(self, factory: Callable[..., Step]) -> None:
        if factory.__name__ == "<lambda>":
            factory.__name__ = "mynet"
        self._declaration: Declaration = vars(training_step()(factory))[DECLARED]

    def case(self, **values: Any) -> Case:
        takes = "dtype" in self._declaration.takes
        traits = traits_of(self._step(Case(own=())), takes_dtype=takes)
        return case_of(StepDescription(self._declaration.name, traits=traits), values)

    def build(self, case: Case) -> Loop:
        return loop_over(self._step(case), case)

    def verify(self, expected: Expected | None = None, **values: Any) -> Verified:
        """Verify the case with these values of the axes. Raises InvalidCase."""
        case = self.case(**values)
        return verify_step(case, self.build(case), Cpu(), self.build, expected)

    def _step(self, case: Case) -> Step:
        torch.manual_seed(0)
        random.seed(0)
        dtype = getattr(torch, PRECISIONS[case.dtype].parameters)
        return self._declaration.build({}, case.device, dtype)
