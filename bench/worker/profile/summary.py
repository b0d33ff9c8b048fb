"""What a profiler's trace shows of a training step: operators, kernels and memory, by phase.

Durations under a profiler are not those of training, so what is kept of them is shares; counts are
exact.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence

from ...devices.base import Device
from ...protocol.profile import Operator, PhaseProfile
from ..refusals import TraceError
from .trace import OPERATOR, PhaseTrace, TraceEvent

OPERATORS_KEPT = 12

NODE = "autograd::engine::evaluate_function: "
LEAF_NODE = "AccumulateGrad"
COMPILED_NODE = "CompiledFunctionBackward"
COMPILED_GRAPH = "## Call CompiledFxGraph"
WORKLESS = frozenset(
    f"aten::{name}"
    for name in (
        *("_local_scalar_dense", "alias", "as_strided", "broadcast_tensors", "detach", "detach_"),
        *("empty", "empty_like", "empty_strided", "expand", "fill_", "full", "full_like"),
        *("is_nonzero", "item", "lift_fresh", "ones", "ones_like", "permute", "reshape"),
        *("resolve_conj", "result_type", "select", "slice", "squeeze", "t", "to", "transpose"),
        *("unbind", "unsqueeze", "view", "view_as", "zero_", "zeros", "zeros_like"),
    )
)
"""Operators that read no numbers, or one, and cost less than those that compute with them."""


def summarize(traces: Sequence[PhaseTrace], device: Device) -> dict[str, PhaseProfile]:
    """Phase to its profile, a step. Raises TraceError where steps differ."""
    step_ns = sum(trace.label.duration for trace in traces)
    by_phase: dict[str, list[PhaseTrace]] = {}
    for trace in traces:
        by_phase.setdefault(trace.phase, []).append(trace)
    return {phase: _profile(of_phase, step_ns, device) for phase, of_phase in by_phase.items()}


def folded(traces: Sequence[PhaseTrace]) -> list[str]:
    """Stacks of operators with their own time, nanoseconds, a line each, as flame graphs take."""
    own_ns: dict[str, int] = defaultdict(int)
    for trace in traces:
        left = trace.label.duration
        for event, callers, own in trace.calls:
            stack = [trace.phase, *(caller.name for caller in callers), event.name]
            own_ns[";".join(name.replace(";", ",") for name in stack)] += own
            left -= 0 if callers else event.duration
        own_ns[trace.phase] += max(left, 0)
    return [f"{stack} {ns}" for stack, ns in own_ns.items()]


def _profile(traces: Sequence[PhaseTrace], step_ns: int, device: Device) -> PhaseProfile:
    """Of one phase, by its trace in every step."""
    first, counts = traces[0], traces[0].counts
    for trace in traces[1:]:
        if (other := trace.counts) != counts:
            name = next(iter((counts - other) | (other - counts)))
            raise TraceError(
                f"steps differ: {first.phase} runs {name} {counts[name]} times in one and "
                f"{other[name]} times in another"
            )
    phase_ns = sum(trace.label.duration for trace in traces)
    own_ns: dict[str, int] = defaultdict(int)
    in_operators = 0
    for trace in traces:
        for event, callers, own in trace.calls:
            own_ns[event.name] += own
            if _is_operator(event) and not any(map(_is_operator, callers)):
                in_operators += event.duration
    names = Counter(event.name for event, *_ in first.calls)
    ordered = sorted(own_ns.items(), key=lambda item: -item[1])[:OPERATORS_KEPT]
    return PhaseProfile(
        share=phase_ns / step_ns,
        in_operators=min(in_operators / phase_ns, 1.0),
        ops=sum(
            _computes(event) and not any(map(_hides_calls, callers))
            for event, callers, _ in first.calls
        ),
        nodes=sum(
            times
            for name, times in names.items()
            if name.startswith(NODE) and not name.endswith(LEAF_NODE)
        ),
        launches=first.launches,
        kernels=len(first.kernels),
        compiled=any(COMPILED_GRAPH in name or name.endswith(COMPILED_NODE) for name in names),
        operators=tuple(Operator(name, names[name], own / phase_ns) for name, own in ordered),
        **(_device_time(traces) if device.shows_kernels else {}),
        **(_memory(first) if device.memory_type is not None else {}),
    )


def _is_operator(event: TraceEvent) -> bool:
    """Whether an event is no wrapper in Python around what runs, as those of the compiler are."""
    if event.name.startswith(NODE):
        return not event.name.endswith(COMPILED_NODE)
    space, _, name = event.name.partition("::")
    named = bool(name) and " " not in space and space not in ("autograd", "torch")
    return named or event.name.startswith(COMPILED_GRAPH) or event.category != OPERATOR


def _computes(event: TraceEvent) -> bool:
    is_node, is_launch = event.name.startswith(NODE), event.category != OPERATOR
    return _is_operator(event) and not (is_node or is_launch or event.name in WORKLESS)


def _hides_calls(event: TraceEvent) -> bool:
    """Whether what an event calls is called from C++, at less cost than from Python."""
    if event.name.startswith(NODE):
        return _is_operator(event)
    return _computes(event) and not event.name.startswith(COMPILED_GRAPH)


def _device_time(traces: Sequence[PhaseTrace]) -> dict[str, int]:
    """A step's time in kernels, and the time in which the device ran at least one."""
    kernels_ns = busy_ns = 0
    for trace in traces:
        done = 0
        for kernel in sorted(trace.kernels, key=lambda kernel: kernel.start):
            kernels_ns += kernel.duration
            busy_ns += max(kernel.end - max(kernel.start, done), 0)
            done = max(done, kernel.end)
    return {
        "kernels_ns": round(kernels_ns / len(traces)),
        "busy_ns": round(busy_ns / len(traces)),
    }


def _memory(trace: PhaseTrace) -> dict[str, int]:
    sizes = [int(event.details["Bytes"]) for event in trace.memory]
    allocated = [size for size in sizes if size > 0]
    return {
        "allocations": len(allocated),
        "allocated_bytes": sum(allocated),
        "peak_bytes": max(itertools.accumulate(sizes, initial=0)),
    }
