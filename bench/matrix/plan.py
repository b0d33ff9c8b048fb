"""A plan: which cases a run measures, how often, for how long and in which environment."""

import msgspec

from ..figures import Count, Seconds
from .case import Case
from .ceiling import Ceiling

ENVIRONMENTS: dict[str, dict[str, str]] = {
    "stock": {},
    # glibc gives blocks of more than 128 KiB back to the kernel and faults them in anew, more or
    # less often from process to process. Kept, mid-size batches repeat better; users do not run so.
    "steady": {
        "MALLOC_MMAP_THRESHOLD_": str(2**30),
        "MALLOC_TRIM_THRESHOLD_": str(2**31),
        "MALLOC_TOP_PAD_": str(2**26),
    },
}
"""The environments a worker can be timed in, by name: variables and their values."""


class Plan(msgspec.Struct, frozen=True):
    """What is to be measured."""

    cases: list[Case]
    replicates: Count
    budget_s: Seconds
    """Wall seconds the whole run may take; each replicate gets a fair share of what is left."""
    environment: str = "stock"
    steps: str = ""
    """The file that declares the steps, from the top of its checkout; empty for the default."""
    seed: int = 0
    """Seeds the order of blocks."""
    lr: float | None = None
    """Of every case's optimizer; each its own where it is None."""
    preset: str | None = None
    """The preset the cases came from, where they came from one."""
    named: bool = False
    """Whether the cases were asked for by name, so that one that cannot run is an error."""
    compile_timed: list[str] = []
    """Ids of compiled cases whose compile times are measured too, when all else is."""
    profiled: bool = False
    """Whether each case is profiled too, after its last block."""
    energy: bool = False
    """Whether what each case's training takes is read from the device's counter of energy."""
    ceilings: list[Ceiling] = []
    """What this machine is measured to reach, when all cases are measured."""
