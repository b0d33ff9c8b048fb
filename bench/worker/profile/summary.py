"""What a profiler's trace says of a training step: operators, kernels and memory, phase by phase.

The trace is the one that torch.profiler exports for Chrome and Perfetto. Durations under a profiler
are not those of training, so what is kept of them is shares; counts are exact.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from bench.protocol.profile import Operator, PhaseProfile
from bench.worker.profile.trace import LAUNCHES, Stretch, TraceError, TraceEvent, nested, stretches

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
DEVICE_TYPES = {"cpu": 0, "cuda": 1}
"""As the trace's records of memory have them."""


def break_down(
    events: Sequence[TraceEvent], phases: Sequence[str], kind: str, *, sees_kernels: bool
) -> dict[str, PhaseProfile]:
    """Phase to its profile, a step. Raises TraceError where steps are missing or differ."""
    seen = stretches(events, phases, DEVICE_TYPES.get(kind), sees_kernels)
    steps = len(seen) // len(phases)
    step_us = sum(stretch.label.duration for stretch in seen)
    found: dict[str, PhaseProfile] = {}
    for phase in phases:
        of_phase = [stretch for stretch in seen if stretch.phase == phase]
        _check_alike(of_phase)
        phase_us = sum(stretch.label.duration for stretch in of_phase)
        own_us: dict[str, float] = defaultdict(float)
        in_operators = 0.0
        for stretch in of_phase:
            for event, above, own in nested(stretch.host):
                own_us[event.name] += own
                if _is_operator(event) and not any(map(_is_operator, above)):
                    in_operators += event.duration
        first = of_phase[0]
        ordered = sorted(own_us.items(), key=lambda item: -item[1])[:OPERATORS_KEPT]
        calls = Counter(event.name for event in first.host)
        found[phase] = PhaseProfile(
            share=phase_us / step_us,
            in_operators=min(in_operators / phase_us, 1.0),
            ops=_count_ops(first),
            nodes=_count_nodes(first),
            launches=len(first.launches),
            kernels=len(first.kernels),
            operators=tuple(Operator(n, calls[n], own / phase_us) for n, own in ordered),
            **_device_time(of_phase, steps, sees_kernels),
            **(_memory(first) if kind in DEVICE_TYPES else {}),
        )
    return found


def folded(events: Sequence[TraceEvent], phases: Sequence[str]) -> list[str]:
    """Stacks of operators with their own time, nanoseconds, a line each, as flame graphs take."""
    own_ns: dict[str, float] = defaultdict(float)
    for stretch in stretches(events, phases, None, sees_kernels=False):
        left = stretch.label.duration
        for event, above, own in nested(stretch.host):
            stack = [stretch.phase, *(e.name for e in above), event.name]
            own_ns[";".join(name.replace(";", ",") for name in stack)] += 1e3 * own
            left -= 0 if above else event.duration
        own_ns[stretch.phase] += 1e3 * max(left, 0.0)
    return [f"{stack} {round(ns)}" for stack, ns in own_ns.items()]


def _check_alike(of_phase: Sequence[Stretch]) -> None:
    first = of_phase[0].counts
    for stretch in of_phase[1:]:
        if (other := stretch.counts) != first:
            name = next(iter((first - other) | (other - first)))
            raise TraceError(
                f"steps differ: {stretch.phase} runs {name} {first[name]} times in one and "
                f"{other[name]} times in another"
            )


def _count_ops(stretch: Stretch) -> int:
    return sum(
        _computes(event) and not any(_hides_calls(ancestor) for ancestor in above)
        for event, above, _ in nested(stretch.host)
    )


def _count_nodes(stretch: Stretch) -> int:
    names = [event.name for event in stretch.host if event.name.startswith(NODE)]
    return sum(not name.endswith(LEAF_NODE) for name in names)


def _is_operator(event: TraceEvent) -> bool:
    """Whether an event is no wrapper in Python around what runs, as those of the compiler are."""
    if event.name.startswith(NODE):
        return not event.name.endswith(COMPILED_NODE)
    space, _, name = event.name.partition("::")
    named = bool(name) and " " not in space and space not in ("autograd", "torch")
    return named or event.name.startswith(COMPILED_GRAPH) or event.category in LAUNCHES


def _computes(event: TraceEvent) -> bool:
    is_node, is_launch = event.name.startswith(NODE), event.category in LAUNCHES
    return _is_operator(event) and not (is_node or is_launch or event.name in WORKLESS)


def _hides_calls(event: TraceEvent) -> bool:
    """Whether what an event calls is called from C++, at less cost than from Python."""
    if event.name.startswith(NODE):
        return _is_operator(event)
    return _computes(event) and not event.name.startswith(COMPILED_GRAPH)


def _device_time(of_phase: Sequence[Stretch], steps: int, sees: bool) -> dict[str, int]:
    if not sees:
        return {}
    kernels_us = busy_us = 0.0
    for stretch in of_phase:
        done = 0.0
        for kernel in sorted(stretch.kernels, key=lambda kernel: kernel.start):
            kernels_us += kernel.duration
            busy_us += max(kernel.end - max(kernel.start, done), 0.0)
            done = max(done, kernel.end)
    return {
        "kernels_ns": round(1e3 * kernels_us / steps),
        "busy_ns": round(1e3 * busy_us / steps),
    }


def _memory(stretch: Stretch) -> dict[str, int]:
    held = peak = allocated = allocations = 0
    for event in stretch.memory:
        size = int(event.details["Bytes"])
        held += size
        peak = max(peak, held)
        if size > 0:
            allocations += 1
            allocated += size
    return {"allocations": allocations, "allocated_bytes": allocated, "peak_bytes": peak}
