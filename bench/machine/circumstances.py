"""What a time depends on besides its case: the one definition of which runs compare."""

from collections.abc import Iterable
from typing import Protocol

from bench.machine.fingerprint import Machine
from bench.matrix.plan import Plan

MACHINE = ("machine",)
"""One machine, by its identity."""
HARDWARE = ("cpu", "cores", "memory", "gpus")
"""What a machine's name stands for."""
SHARE = ("cores available", "CPU quota")
"""How much of the machine this process may use."""
SOFTWARE = ("torch", "python", "reference loop")
"""What runs the steps and the reference loops: floors hold for one version of each."""
SYSTEM = ("os",)
SETTINGS = ("environment", "learning rate")
CODE = ("commit", "code")
PLAN = ("cases", "replicates", "budget")
VARIABLES = ("variables",)
"""Environment variables that change how torch or its allocators run, each under its own name."""
PLACE = (*MACHINE, *HARDWARE, *SHARE, *SOFTWARE, *SETTINGS)
"""What must be the same for two times to differ by the code alone."""
EVERYTHING = (*PLACE, *SYSTEM, *CODE, *VARIABLES)

UNSET = "not set"
"""The value of a variable that one run has and another has not."""


class Measured(Protocol):
    """A run, or the header of its journal."""

    @property
    def plan(self) -> Plan: ...
    @property
    def machine(self) -> Machine: ...
    @property
    def reference_loop_version(self) -> int: ...


def circumstances(run: Measured, names: Iterable[str]) -> dict[str, str]:
    """The named circumstances of a run, as text by what each is called."""
    machine, plan = run.machine, run.plan
    known = {
        "machine": machine.label,
        "cpu": machine.cpu,
        "cores": str(machine.cores),
        "memory": f"{round(machine.memory_bytes / 2**30)} GiB",  # of which a kernel takes some
        "gpus": ", ".join(machine.gpus) or "none",
        "cores available": str(machine.available_cores),
        "CPU quota": machine.quota,
        "torch": machine.torch,
        "python": machine.python,
        "reference loop": str(run.reference_loop_version),
        "os": machine.os,
        "environment": plan.environment,
        "learning rate": "the optimizer's" if plan.lr is None else str(plan.lr),
        "commit": machine.revision,
        "code": machine.code_hash,
        "cases": " ".join(sorted(case.id for case in plan.cases)),
        "cases in the plan": str(len(plan.cases)),
        "replicates": str(plan.replicates),
        "budget": f"{plan.budget_s:g} s",
    }
    found: dict[str, str] = {}
    for name in names:
        found |= machine.environment if name in VARIABLES else {name: known[name]}
    return found


def differences(
    before: Measured, after: Measured, names: Iterable[str]
) -> dict[str, tuple[str, str]]:
    """The named circumstances in which two runs differ, and both values."""
    wanted = tuple(names)
    old, new = circumstances(before, wanted), circumstances(after, wanted)
    both = {name: (old.get(name, UNSET), new.get(name, UNSET)) for name in old | new}
    return {name: values for name, values in both.items() if values[0] != values[1]}


def key(run: Measured, names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The same for runs that agree in the named circumstances."""
    return tuple(circumstances(run, names).items())
