"""Reads the trace that torch.profiler exports for Chrome and Perfetto.

The profiler's own `events()` will not do: they leave operators out by name, merge an operator with
a caller of the same name, hang kernels on operators rather than launches, and know no peak of
memory.
"""

import bisect
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ...devices.base import Device
from ..refusals import TraceError

LABEL = "sumnet: "
"""Before a phase's name."""
OPERATOR = "cpu_op"
"""The category of what the host runs, but for its calls that launch work."""
KERNEL_LAUNCH = re.compile("Launch(?!HostFunc)")
"""In the names of calls that run a kernel or a graph: CUDA's, its driver's, HIP's, Level Zero's.

Not those of copies and fills, which may have nothing to do on the device.
"""


class TraceEvent(NamedTuple):
    """One event of the trace; times in nanoseconds."""

    name: str
    category: str
    start: int
    duration: int
    thread: int | str | None
    details: dict[str, Any]

    @property
    def end(self) -> int:
        return self.start + self.duration


class Call(NamedTuple):
    """What the host called."""

    event: TraceEvent
    callers: tuple[TraceEvent, ...]
    """The calls that it lies in, outermost first."""
    own_ns: int
    """Its duration without that of what it called."""


class PhaseTrace(NamedTuple):
    """One phase of one step, and what happened in it."""

    phase: str
    label: TraceEvent
    calls: list[Call]
    kernels: list[TraceEvent]
    memory: list[TraceEvent]

    @property
    def launches(self) -> int:
        """Calls that gave the device its kernels."""
        return len({kernel.details.get("correlation") for kernel in self.kernels})

    @property
    def counts(self) -> Counter[str]:
        """Operators and kernels by name."""
        ran = [call.event for call in self.calls if call.event.category == OPERATOR]
        return Counter(event.name for event in [*ran, *self.kernels])


class _Written(msgspec.Struct):
    """An event as the file has it; times in microseconds.

    Of a clock that begins when the machine starts: a float loses nanoseconds of it within months.
    """

    name: str
    cat: str = ""
    ts: Decimal = Decimal(0)
    dur: Decimal = Decimal(0)
    tid: int | str | None = None
    args: dict[str, Any] = {}
    ph: str = ""
    """The format's letter for the kind of event: X lasts, i is a moment."""


class _Trace(msgspec.Struct):
    events: list[_Written] = msgspec.field(name="traceEvents")


def read_trace(path: Path) -> list[TraceEvent]:
    """The events of a Chrome trace, in order of their start."""
    kept = [
        TraceEvent(e.name, e.cat, round(1000 * e.ts), round(1000 * e.dur), e.tid, e.args)
        for e in msgspec.json.decode(path.read_bytes(), type=_Trace).events
        if e.ph in ("X", "i") and e.cat
    ]
    # Of two that start together, the longer holds the other.
    return sorted(kept, key=lambda event: (event.start, -event.duration))


def phase_traces(
    events: Sequence[TraceEvent], phases: Sequence[str], device: Device
) -> list[PhaseTrace]:
    """The phases of each labelled step, in order, with what the host and the device did for them.

    Raises TraceError where steps, kernels or what launched them are missing: a launch without a
    kernel has lost it, and a replayed graph without any has lost them all.
    """
    names = {LABEL + phase: phase for phase in phases}
    labels = [e for e in events if e.category == "user_annotation" and e.name in names]
    found = [names[label.name] for label in labels]
    if not found or found != list(phases) * (len(found) // len(phases)):
        raise TraceError("the trace does not show whole steps")
    starts = [label.start for label in labels]

    def place_of(moment: int) -> int | None:
        """Of the label that holds it."""
        place = bisect.bisect_right(starts, moment) - 1
        return place if place >= 0 and moment < labels[place].end else None

    host, kernels, memory = (defaultdict[int | None, list[TraceEvent]](list) for _ in range(3))
    launched_at: dict[object, int] = {}
    for event in events:
        if event.category in device.launch_categories:
            launched_at[event.details.get("correlation")] = event.start
        if event.category in (OPERATOR, *device.launch_categories):
            host[place_of(event.start)].append(event)
        elif event.name == "[memory]" and event.details.get("Device Type") == device.memory_type:
            memory[place_of(event.start)].append(event)
    for event in events if device.shows_kernels else ():
        if event.category in device.kernel_categories:
            launch = event.details.get("correlation")
            if launch in launched_at:
                # By its launch: backward runs on a thread of its own, and kernels run late.
                kernels[place_of(launched_at[launch])].append(event)
            elif event.start >= starts[0]:  # not of what ran before the steps that are kept
                raise TraceError(f"nothing in the trace launches the kernel {event.name}")
    traces = [
        PhaseTrace(names[label.name], label, nested(host[place]), kernels[place], memory[place])
        for place, label in enumerate(labels)
    ]
    if device.shows_kernels and not any(trace.kernels for trace in traces):
        raise TraceError("the trace shows no kernels")
    if not any(trace.calls for trace in traces):
        raise TraceError("the trace is empty")
    if device.shows_kernels and (lost := [call for trace in traces for call in _lost(trace)]):
        raise TraceError(
            f"the profiler lost kernels: {len(lost)} launches have none, the first of them a call "
            f"of {lost[0]}; profile the case again"
        )
    return traces


def _lost(trace: PhaseTrace) -> list[str]:
    """The names of calls that launched kernels which the trace lacks."""
    shown = {kernel.details.get("correlation") for kernel in trace.kernels}
    launches: dict[int, list[TraceEvent]] = defaultdict(list)
    for event, callers, _ in trace.calls:
        if event.category != OPERATOR and KERNEL_LAUNCH.search(event.name):
            # A runtime may launch through its driver: whichever of the two the kernel is of.
            calling = [caller for caller in callers if caller.category != OPERATOR]
            launches[id((*calling, event)[0])] += [*calling, event]
    return [
        calls[0].name
        for calls in launches.values()
        if not any(call.details.get("correlation") in shown for call in calls)
    ]


def nested(events: Iterable[TraceEvent]) -> list[Call]:
    """Each event with those it lies in on its thread; `events` in order of their start."""
    stacks: dict[object, list[TraceEvent]] = defaultdict(list)
    calls: list[tuple[TraceEvent, tuple[TraceEvent, ...]]] = []
    inner_ns: dict[int, int] = defaultdict(int)
    for event in events:
        stack = stacks[event.thread]
        while stack and stack[-1].end <= event.start:
            stack.pop()
        if stack:
            inner_ns[id(stack[-1])] += event.duration
        calls.append((event, tuple(stack)))
        stack.append(event)
    return [Call(e, above, max(e.duration - inner_ns[id(e)], 0)) for e, above in calls]
