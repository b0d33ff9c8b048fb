"""Reading the trace that torch.profiler exports for Chrome and Perfetto."""

import bisect
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

LABEL = "sumnet: "
"""Before a phase's name."""
HOST = ("cpu_op", "cuda_runtime", "cuda_driver")
LAUNCHES = ("cuda_runtime", "cuda_driver")
KERNELS = ("kernel", "gpu_memcpy", "gpu_memset")


class TraceError(Exception):
    """The trace is empty, or does not show the same steps again and again."""


class TraceEvent(NamedTuple):
    """One event of the trace; times in microseconds."""

    name: str
    category: str
    start: float
    duration: float
    thread: object
    details: Mapping[str, Any]

    @property
    def end(self) -> float:
        return self.start + self.duration


def read_trace(path: Path) -> list[TraceEvent]:
    """The events of a Chrome trace, in order of their start."""
    events = [
        TraceEvent(
            event["name"],
            event["cat"],
            event["ts"],
            event.get("dur", 0.0),
            event.get("tid"),
            event.get("args", {}),
        )
        for event in msgspec.json.decode(path.read_bytes())["traceEvents"]
        if event.get("ph") in ("X", "i") and "cat" in event
    ]
    # Of two that start together, the longer holds the other.
    return sorted(events, key=lambda event: (event.start, -event.duration))


class Stretch(NamedTuple):
    """One phase of one step, and what happened in it."""

    phase: str
    label: TraceEvent
    host: list[TraceEvent]
    kernels: list[TraceEvent]
    launches: set[object]
    memory: list[TraceEvent]

    @property
    def counts(self) -> Counter[str]:
        """Operators and kernels by name."""
        ran = [event for event in self.host if event.category not in LAUNCHES]
        return Counter(event.name for event in [*ran, *self.kernels])


def stretches(
    events: Sequence[TraceEvent], phases: Sequence[str], memory: int | None, sees_kernels: bool
) -> list[Stretch]:
    """The phases of each labelled step, in order, with what the host and the device did for them.

    `memory` is the type of device whose allocations are wanted. Raises TraceError where steps,
    kernels or what launched them are missing.
    """
    names = {LABEL + phase: phase for phase in phases}
    found = [
        Stretch(names[event.name], event, [], [], set(), [])
        for event in events
        if event.category == "user_annotation" and event.name in names
    ]
    if not found or [s.phase for s in found] != list(phases) * (len(found) // len(phases)):
        raise TraceError("the trace does not show whole steps")
    starts = [stretch.label.start for stretch in found]

    def holding(moment: float) -> Stretch | None:
        place = bisect.bisect_right(starts, moment) - 1
        return found[place] if place >= 0 and moment < found[place].label.end else None

    launched_at: dict[object, float] = {}
    for event in events:
        if event.category in LAUNCHES:
            launched_at[event.details.get("correlation")] = event.start
        within = holding(event.start)
        if within is None:
            continue
        if event.category in HOST:
            within.host.append(event)
        elif event.name == "[memory]" and event.details.get("Device Type") == memory:
            within.memory.append(event)
    for event in events if sees_kernels else ():
        if event.category in KERNELS:
            launch = event.details.get("correlation")
            if launch not in launched_at and event.start < starts[0]:
                continue  # of what ran before the steps that are kept
            if launch not in launched_at:
                raise TraceError(f"nothing in the trace launches the kernel {event.name}")
            # By when it was given out: backward runs on a thread of its own, and kernels run late.
            within = holding(launched_at[launch])
            if within is not None:
                within.kernels.append(event)
                within.launches.add(launch)
    if sees_kernels and not any(stretch.kernels for stretch in found):
        raise TraceError("the trace shows no kernels")
    if not any(stretch.host or stretch.kernels for stretch in found):
        raise TraceError("the trace is empty")
    return found


def nested(
    events: Sequence[TraceEvent],
) -> Iterator[tuple[TraceEvent, tuple[TraceEvent, ...], float]]:
    """Each event with those it lies in, outermost first, and its own time, microseconds."""
    stacks: dict[object, list[TraceEvent]] = defaultdict(list)
    above: list[tuple[TraceEvent, ...]] = []
    inner_us: dict[int, float] = defaultdict(float)
    for event in events:
        stack = stacks[event.thread]
        while stack and stack[-1].end <= event.start:
            stack.pop()
        if stack:
            inner_us[id(stack[-1])] += event.duration
        above.append(tuple(stack))
        stack.append(event)
    for event, ancestors in zip(events, above, strict=True):
        yield event, ancestors, max(event.duration - inner_us[id(event)], 0.0)
