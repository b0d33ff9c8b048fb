"""What a trace shows of each phase: counts, shares, and the device's own time."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.devices import device_named
from bench.protocol.profile import PhaseProfile, StepProfile
from bench.worker.profile.summary import folded, summarize
from bench.worker.profile.trace import PhaseTrace, phase_traces
from bench.worker.refusals import TraceError
from tests.worker.profile.chrome import ChromeTrace, cuda_steps

NODE = "autograd::engine::evaluate_function: "


def traces_of(trace: ChromeTrace, folder: Path, kind: str = "cpu") -> list[PhaseTrace]:
    phases = [
        event["name"].removeprefix("sumnet: ")
        for event in trace.events
        if event.get("cat") == "user_annotation"
    ]
    return phase_traces(trace.read(folder), list(dict.fromkeys(phases)), device_named(kind))


def summarized(trace: ChromeTrace, folder: Path, kind: str = "cpu") -> dict[str, PhaseProfile]:
    return summarize(traces_of(trace, folder, kind), device_named(kind))


def one_phase(*operators: tuple[str, float, float], duration: float = 100) -> ChromeTrace:
    """One step of one phase, which begins at 1000, with these operators: name, start, duration."""
    trace = ChromeTrace()
    trace.label("forward", 1000, duration)
    for name, start, took in operators:
        trace.event(name, 1000 + start, took)
    return trace


def test_kernels_are_counted_where_they_were_launched(tmp_path: Path) -> None:
    found = summarized(cuda_steps(), tmp_path, "cuda")
    assert {name: phase.kernels for name, phase in found.items()} == {
        "forward": 1,
        "backward": 3,
        "step": 1,
    }
    assert {name: phase.launches for name, phase in found.items()} == {
        "forward": 1,
        "backward": 3,
        "step": 1,
    }


def test_kernels_that_overlap_keep_the_device_at_work_once(tmp_path: Path) -> None:
    backward = summarized(cuda_steps(), tmp_path, "cuda")["backward"]
    assert backward.kernels_ns == 2_000 + 30_000 + 30_000
    assert backward.busy_ns == 2_000 + 50_000
    assert PhaseProfile(1, 1, 0, 0, 0, 0).busy_ns is None, "where they are not seen"


MONTHS_NS = 2 * 10**16
"""A clock that began when the machine did has as much after eight months."""


@given(
    st.lists(
        st.tuples(st.integers(MONTHS_NS, MONTHS_NS + 2000), st.integers(1, 500)),
        min_size=1,
        max_size=12,
    )
)
def test_a_device_is_never_busier_than_with_its_kernels_to_the_nanosecond(
    tmp_path_factory: pytest.TempPathFactory, spans: list[tuple[int, int]]
) -> None:
    def us(ns: int) -> Decimal:
        return Decimal(ns) / 1000

    trace = ChromeTrace()
    trace.label("forward", us(MONTHS_NS - 10**6), 900)
    for number, (start, took) in enumerate(spans):
        trace.launch(us(MONTHS_NS - 10**6 + 3000 * number), number)
        trace.kernel("work", us(start), us(took), number, stream=number)
    found = summarized(trace, tmp_path_factory.getbasetemp(), "cuda")["forward"]
    at_work = {moment for start, took in spans for moment in range(start, start + took)}
    assert found.kernels_ns == sum(took for _, took in spans)
    assert found.busy_ns == len(at_work) <= found.kernels_ns


def test_kernel_that_runs_all_through_others_is_all_the_device_is_busy_with(
    tmp_path: Path,
) -> None:
    trace = ChromeTrace()
    trace.label("forward", 1000, 100)
    for number, (start, took) in enumerate(((1100, 50), (1110, 10), (1140, 5), (1145, 10))):
        trace.launch(1000 + 10 * number, number)
        trace.kernel(f"kernel{number}", start, took, number, stream=number)
    forward = summarized(trace, tmp_path, "cuda")["forward"]
    assert (forward.kernels_ns, forward.busy_ns) == (75_000, 55_000)


def test_step_is_as_busy_as_its_phases_together(tmp_path: Path) -> None:
    found = summarized(cuda_steps(), tmp_path, "cuda")
    assert StepProfile(2, found, {}, 0).busy_ns == 30_000 + 52_000 + 20_000
    assert StepProfile(2, {"forward": PhaseProfile(1, 1, 0, 0, 0, 0)}, {}, 0).busy_ns is None


def test_one_launch_of_a_captured_graph_launches_all_its_kernels(tmp_path: Path) -> None:
    trace = ChromeTrace()
    trace.label("train_step", 1000, 100)
    trace.event("cudaGraphLaunch", 1010, 5, "cuda_runtime", correlation=1)
    for number in range(5):
        trace.kernel("gemm", 1050 + 10 * number, 8, 1)
    found = summarized(trace, tmp_path, "cuda")["train_step"]
    assert (found.launches, found.kernels, found.ops) == (1, 5, 0)


def test_operators_count_that_compute_and_are_called_from_python(tmp_path: Path) -> None:
    trace = one_phase(
        ("aten::linear", 0, 30),
        ("aten::t", 1, 5),
        ("aten::addmm", 10, 15),
        ("aten::detach", 40, 2),
        ("aten::relu", 50, 10),
        ("aten::clamp_min", 52, 5),
    )
    assert summarized(trace, tmp_path)["forward"].ops == 2


def test_operator_that_a_look_at_a_tensor_calls_counts(tmp_path: Path) -> None:
    trace = one_phase(("aten::to", 0, 30), ("aten::_to_copy", 1, 20), ("aten::copy_", 5, 10))
    assert summarized(trace, tmp_path)["forward"].ops == 1


def test_compiled_graph_is_a_call_and_so_is_each_operator_it_calls(tmp_path: Path) -> None:
    trace = one_phase(
        ("Torch-Compiled Region: 0/0", 0, 90),
        ("TorchDynamo Cache Lookup", 1, 5),
        ("CompiledFunction", 10, 70),
        ("## Call CompiledFxGraph fabc ##", 15, 60),
        ("aten::addmm", 20, 10),
        ("aten::copy_", 22, 2),
        ("aten::addmm", 40, 10),
    )
    assert summarized(trace, tmp_path)["forward"].ops == 3


def test_operators_of_a_node_are_the_nodes_and_gathering_gradients_is_none(tmp_path: Path) -> None:
    trace = one_phase(
        ("aten::ones_like", 0, 5),
        (f"{NODE}AddmmBackward0", 10, 20),
        ("AddmmBackward0", 11, 18),
        ("aten::mm", 15, 10),
        (f"{NODE}torch::autograd::AccumulateGrad", 40, 10),
        ("torch::autograd::AccumulateGrad", 41, 8),
        ("aten::detach", 42, 2),
    )
    found = summarized(trace, tmp_path)["forward"]
    assert (found.ops, found.nodes) == (0, 1)


def test_compiled_node_calls_its_operators_from_python(tmp_path: Path) -> None:
    trace = one_phase(
        (f"{NODE}CompiledFunctionBackward", 0, 80),
        ("CompiledFunctionBackward", 1, 78),
        ("## Call CompiledFxGraph fabc ##", 10, 60),
        ("aten::mm", 20, 10),
    )
    found = summarized(trace, tmp_path)["forward"]
    assert (found.ops, found.nodes) == (2, 1)


def test_operators_that_compute_nothing_are_no_ops_whoever_calls_them(tmp_path: Path) -> None:
    trace = one_phase(
        ("aten::item", 0, 5),
        ("aten::_local_scalar_dense", 1, 3),
        ("aten::lift_fresh", 10, 5),
        ("aten::empty", 20, 5),
        ("aten::zero_", 30, 5),
    )
    assert summarized(trace, tmp_path)["forward"].ops == 0


def test_what_the_compiler_wraps_around_operators_is_none(tmp_path: Path) -> None:
    trace = one_phase(
        ("Torch-Compiled Region: 0/0", 0, 90),
        ("## Call CompiledFxGraph fabc ##", 20, 50),
        ("aten::addmm", 30, 10),
    )
    assert summarized(trace, tmp_path)["forward"].in_operators == 0.5


def test_shares_are_of_the_step_of_the_phase_and_of_an_operator_itself(tmp_path: Path) -> None:
    trace = one_phase(("aten::linear", 10, 50), ("aten::addmm", 20, 30), duration=100)
    trace.label("backward", 1100, 300)
    trace.event("aten::mm", 1100, 150)
    found = summarized(trace, tmp_path)
    forward, backward = found["forward"], found["backward"]
    assert (forward.share, backward.share) == (0.25, 0.75)
    assert (forward.in_operators, backward.in_operators) == (0.5, 0.5)
    assert [(o.name, o.calls, o.share) for o in forward.operators] == [
        ("aten::addmm", 1, 0.3),
        ("aten::linear", 1, 0.2),
    ]


def test_memory_is_what_is_held_above_the_beginning_at_most(tmp_path: Path) -> None:
    trace = one_phase(("aten::linear", 0, 90))
    for at, size in ((10, 100), (20, 50), (30, -120), (40, 40)):
        trace.memory(1000 + at, size, device=0)
    trace.memory(1015, 10**6, device=1)
    found = summarized(trace, tmp_path)["forward"]
    assert (found.allocations, found.allocated_bytes, found.peak_bytes) == (3, 190, 150)


def test_memory_of_a_device_that_keeps_no_record_is_unavailable(tmp_path: Path) -> None:
    found = summarized(one_phase(("aten::linear", 0, 90)), tmp_path, "mps")["forward"]
    assert (found.allocations, found.peak_bytes) == (None, None)


def test_steps_that_differ_are_refused_with_what_differs(tmp_path: Path) -> None:
    trace = cuda_steps(3)
    trace.event("aten::mul_", 1000 + 2 * 400 + 240, 5)
    with pytest.raises(TraceError, match="step runs aten::mul_ 0 times in one and 1 times in"):
        summarized(trace, tmp_path, "cuda")


def test_kernels_that_differ_are_refused_too(tmp_path: Path) -> None:
    trace = cuda_steps()
    trace.launch(1000 + 400 + 90, 99)
    trace.kernel("late", 2500, 10, 99)
    with pytest.raises(TraceError, match="forward runs late 0 times in one and 1 times in"):
        summarized(trace, tmp_path, "cuda")


def test_folded_stacks_add_up_to_the_phases(tmp_path: Path) -> None:
    trace = one_phase(("aten::linear", 10, 50), ("aten::addmm", 20, 30))
    lines = folded(traces_of(trace, tmp_path))
    assert dict(line.rsplit(" ", 1) for line in lines) == {
        "forward": "50000",
        "forward;aten::linear": "20000",
        "forward;aten::linear;aten::addmm": "30000",
    }


def test_name_with_the_separator_of_stacks_in_it_is_one_name(tmp_path: Path) -> None:
    lines = folded(traces_of(one_phase(("a; b", 0, 100)), tmp_path))
    assert lines == ["forward;a, b 100000", "forward 0"]


def test_folded_stacks_of_a_device_have_the_host_alone(tmp_path: Path) -> None:
    lines = folded(traces_of(cuda_steps(), tmp_path, "cuda"))
    assert not [line for line in lines if "gemm" in line]
    in_backward = sum(int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("backward"))
    assert in_backward == 2 * 100_000
