"""What a time depends on besides its case: the one definition of which runs compare."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from ..devices.facts import Facts
from ..matrix.plan import Plan
from .fingerprint import Machine

MACHINE = ("machine",)
"""One machine, by its identity."""
HARDWARE = ("cpu", "cores", "memory", "gpus")
"""What a machine's name stands for."""
DEVICES = ("devices",)
"""What was measured besides the CPU, each device under its own name. Only runs that both measured
a device differ in it: what they measured on others compares all the same."""
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
PLACE = (*MACHINE, *HARDWARE, *DEVICES, *SHARE, *SOFTWARE, *SETTINGS)
"""What must be the same for two times to differ by the code alone."""
EVERYTHING = (*PLACE, *SYSTEM, *CODE, *VARIABLES)

UNSET = "not set"
"""The value of a variable that one run has and another has not."""
UNMEASURED = "not measured"
"""The same of a device."""


class MeasuredDevice(msgspec.Struct, frozen=True):
    """A device besides the CPU, as a worker's torch knows it. NVIDIA's driver knows it otherwise:
    not AMD's, and also those that CUDA_VISIBLE_DEVICES hides from torch."""

    name: str
    platform: str = ""
    """What torch runs it by, for example "ROCm 6.4"; empty where it is not known."""
    identity: str = ""
    """Tells it from others of its name; empty where nothing does."""

    @property
    def label(self) -> str:
        """The name and the first digits of the identity, as a machine's."""
        return f"{self.name}-{self.identity[:6]}" if self.identity else self.name

    @property
    def model(self) -> str:
        """For example "AMD Instinct MI300X (ROCm 6.4)"."""
        return self.name + self._by

    def __str__(self) -> str:
        """All that sets it apart."""
        return self.label + self._by

    @property
    def _by(self) -> str:
        return f" ({self.platform})" if self.platform else ""


def measured_devices(facts: Facts, names: Iterable[str]) -> dict[str, MeasuredDevice]:
    """Those of these names; without the CPU, and without what cannot be measured."""
    of = {name: facts.of(name) for name in names if name != "cpu"}
    return {
        name: MeasuredDevice(found.name, found.platform, found.identity)
        for name, found in of.items()
        if found.unavailable is None
    }


def exchanged(found: Iterable[Mapping[str, MeasuredDevice]]) -> set[str]:
    """The names that stand for more than one device there, as where a GPU was exchanged."""
    labels: dict[str, set[str]] = {}
    for devices in found:
        for name, device in devices.items():
            labels.setdefault(name, set()).add(device.label)
    return {name for name, of_name in labels.items() if len(of_name) > 1}


class Measured(Protocol):
    """A run, or the header of its journal."""

    @property
    def plan(self) -> Plan: ...
    @property
    def machine(self) -> Machine: ...
    @property
    def devices(self) -> Mapping[str, MeasuredDevice]: ...
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
    devices = {name: str(device) for name, device in sorted(run.devices.items())}
    found: dict[str, str] = {}
    for name in names:
        if name in VARIABLES:
            found |= machine.environment
        else:
            found |= devices if name in DEVICES else {name: known[name]}
    return found


def differences(runs: Sequence[Measured], names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The named circumstances in which runs differ, and the value that each has."""
    wanted = tuple(names)
    found = [circumstances(run, wanted) for run in runs]
    devices = {name for run in runs for name in run.devices}
    differing: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys(itertools.chain(*found)):
        otherwise = UNMEASURED if name in devices else UNSET
        values = tuple(of_run.get(name, otherwise) for of_run in found)
        if len({*values} - {UNMEASURED}) > 1:
            differing[name] = values
    return differing


def key(run: Measured, names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The same for runs that agree in the named circumstances."""
    return tuple(circumstances(run, names).items())
