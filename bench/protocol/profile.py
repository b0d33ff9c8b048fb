"""What a profiler shows of a training step, phase by phase. Shares are of profiled time."""

import msgspec

from ..figures import Amount, Count, Positive


class Operator(msgspec.Struct, frozen=True):
    """One operator of a phase."""

    name: str
    calls: Count
    """A step."""
    share: Amount
    """Its own part of the phase's time, without operators that it calls."""


class PhaseProfile(msgspec.Struct, frozen=True):
    """What one phase does in a step. Shares are of time under the profiler."""

    share: Amount
    """Of the step."""
    in_operators: Amount
    """Of the phase: the rest is spent in Python, autograd and the optimizer themselves."""
    ops: Count
    """Operators that compute, called from Python or from a compiled graph; and calls of compiled
    graphs. Not what they call in turn."""
    nodes: Count
    """Nodes of autograd's graph that compute; gathering gradients is not counted."""
    launches: Count
    """Calls from the host that launch work on the device."""
    kernels: Count
    """Kernels, copies and fills on the device."""
    kernels_ns: Count | None = None
    """How long they take together; None where the profiler does not see them."""
    busy_ns: Count | None = None
    """How long the device is busy: overlapping kernels count once."""
    allocations: Count | None = None
    """None where the profiler has no records of the device's memory."""
    allocated_bytes: Count | None = None
    peak_bytes: Count | None = None
    """The most it holds above what was held when it began."""
    operators: tuple[Operator, ...] = ()
    """Those with the largest shares, the largest first."""
    compiled: bool = False
    """Whether torch.compile's graphs run in it; not known of profiles from before this was kept."""


class Moved(msgspec.Struct, frozen=True, array_like=True):
    """Operators whose operands take about the same bytes."""

    size: Count
    """The bytes of each, rounded down to a power of two."""
    count: Positive
    bytes: Count
    """Of all of them together."""


class Work(msgspec.Struct, frozen=True, omit_defaults=True):
    """What eager operators were counted to do, as the loop is written."""

    flops: Count
    """Of matrix products and convolutions, by torch's own counter."""
    bytes: Count
    """Of their operands, read and written."""
    moved: tuple[Moved, ...] = ()
    """The same by size, the smallest first; empty in profiles from before this was kept."""


class StepProfile(msgspec.Struct, frozen=True):
    """A step's profile, by phase; one phase, the whole step, where it cannot be split."""

    steps: Count
    """How many were profiled, all alike."""
    phases: dict[str, PhaseProfile]
    work: dict[str, Work]
    state_elements: Count
    """Numbers that the optimizer keeps."""

    @property
    def busy_ns(self) -> int | None:
        """How long a step keeps the device busy; None where that is unavailable."""
        busy = [phase.busy_ns for phase in self.phases.values()]
        return None if None in busy else sum(ns for ns in busy if ns)
