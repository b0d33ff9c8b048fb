"""The profiler's trace: events nested by time, host's work by label, kernels by their launch."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from bench.devices.base import Device
from bench.devices.cpu import Cpu
from bench.devices.cuda import Cuda
from bench.devices.mps import Mps
from bench.devices.xpu import Xpu
from bench.matrix.case import WHOLE
from bench.matrix.step import PHASES
from bench.worker.profile.trace import LABEL, TraceEvent, nested, phase_traces, read_trace
from bench.worker.refusals import TraceError
from tests.worker.profile.chrome import (
    ENGINE,
    MAIN,
    STREAM,
    ChromeTrace,
    all_reduce,
    compiled_by_triton,
    cuda_steps,
    in_the_categories_of_2021,
    on_rocm,
    on_xpu,
    overlapping_streams,
    replayed_graphs,
)

CPU, CUDA, MPS, XPU = Cpu(), Cuda(), Mps(), Xpu()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[TraceEvent]:
    """Two labelled steps of one forward and one backward pass, and one that is not labelled so."""
    weight, rows = torch.ones(3, 3, requires_grad=True), torch.ones(3, 3)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        for label in ("unkept " + LABEL, LABEL, LABEL):
            with record_function(label + "forward"):
                loss = torch.nn.functional.linear(rows, weight).sum()
            torch.ones(7).neg_()
            with record_function(label + "backward"):
                loss.backward()
    path = tmp_path_factory.mktemp("traces") / "trace.json"
    profiler.export_chrome_trace(str(path))
    return read_trace(path)


# Reading


def test_events_come_in_order_and_what_holds_another_before_it(tmp_path: Path) -> None:
    trace = ChromeTrace()
    trace.event("late", 20, 5)
    trace.event("inner", 10, 3, "cuda_runtime", ENGINE, correlation=4)
    trace.event("outer", 10, 9)
    outer, inner, late = trace.read(tmp_path)
    assert [event.name for event in (outer, inner, late)] == ["outer", "inner", "late"]
    details = {"correlation": 4}
    assert inner == TraceEvent("inner", "cuda_runtime", 10_000, 3_000, ENGINE, details)
    assert (outer.start, outer.end) == (10_000, 19_000)


def test_arrows_names_of_threads_and_marks_of_the_recording_are_no_events(tmp_path: Path) -> None:
    trace = ChromeTrace()
    assert trace.read(tmp_path) == []
    trace.launch(5, 1)
    trace.memory(6, 512)
    assert [event.name for event in trace.read(tmp_path)] == ["cudaLaunchKernel", "[memory]"]


def test_real_trace_has_its_operators_its_labels_and_its_memory(
    recorded: list[TraceEvent],
) -> None:
    names = {(event.category, event.name) for event in recorded}
    assert ("cpu_op", "aten::linear") in names
    assert ("user_annotation", "sumnet: forward") in names
    assert ("user_annotation", "unkept sumnet: forward") in names
    assert ("cpu_instant_event", "[memory]") in names
    assert [event.start for event in recorded] == sorted(event.start for event in recorded)


# Nesting


def test_event_lies_in_those_that_last_longer_and_its_own_time_is_without_theirs(
    tmp_path: Path,
) -> None:
    trace = ChromeTrace()
    for name, start, duration in (
        ("step", 0, 100),
        ("linear", 10, 40),
        ("addmm", 15, 20),
        ("copy", 35, 5),
        ("relu", 50, 10),
        ("next", 100, 30),
    ):
        trace.event(name, start, duration)
    trace.event("elsewhere", 12, 20, thread=ENGINE)
    found = {
        event.name: ([e.name for e in above], own)
        for event, above, own in nested(trace.read(tmp_path))
    }
    assert found == {
        "step": ([], 50_000),
        "linear": (["step"], 15_000),
        "addmm": (["step", "linear"], 20_000),
        "copy": (["step", "linear"], 5_000),
        "relu": (["step"], 10_000),
        "next": ([], 30_000),
        "elsewhere": ([], 20_000),
    }


def test_in_a_real_trace_operators_lie_in_what_called_them(recorded: list[TraceEvent]) -> None:
    forward = phase_traces(recorded, ("forward", "backward"), CPU)[0]
    above = {event.name: [e.name for e in callers] for event, callers, _ in forward.calls}
    assert above["aten::linear"] == []
    assert above["aten::mm"][:2] == ["aten::linear", "aten::matmul"]


def test_own_times_add_up_to_those_of_the_outermost(recorded: list[TraceEvent]) -> None:
    for trace in phase_traces(recorded, ("forward", "backward"), CPU):
        outermost = sum(event.duration for event, callers, _ in trace.calls if not callers)
        assert outermost > 0
        assert sum(own for *_, own in trace.calls) == outermost


# Phases


def test_steps_are_found_by_their_labels_and_what_lies_between_belongs_to_none(
    recorded: list[TraceEvent],
) -> None:
    found = phase_traces(recorded, ("forward", "backward"), CPU)
    assert [trace.phase for trace in found] == ["forward", "backward"] * 2
    for trace in found:
        label = trace.label
        assert label.name == LABEL + trace.phase
        assert all(label.start <= event.start < label.end for event, *_ in trace.calls)
    assert found[0].counts["aten::linear"] == found[2].counts["aten::linear"] == 1
    assert found[1].counts["MmBackward0"] == found[3].counts["MmBackward0"] == 1
    assert not any(trace.counts["aten::neg_"] for trace in found)


def test_what_the_host_does_belongs_to_the_label_it_starts_in_on_whatever_thread(
    tmp_path: Path,
) -> None:
    found = phase_traces(cuda_steps().read(tmp_path), PHASES, CUDA)
    backward = found[1]
    assert {event.thread for event, *_ in backward.calls} == {MAIN, ENGINE}
    assert backward.counts["aten::mm"] == backward.counts["aten::ones_like"] == 1
    assert found[0].counts["aten::mm"] == found[2].counts["aten::mm"] == 0


def test_an_operator_at_the_end_of_a_label_belongs_to_the_next(tmp_path: Path) -> None:
    trace = ChromeTrace()
    trace.label("forward", 0, 100)
    trace.label("backward", 100, 100)
    for at in (99, 100, 199, 200):
        trace.event(f"aten::at{at}", at, 1)
    forward, backward = phase_traces(trace.read(tmp_path), ("forward", "backward"), MPS)
    assert [event.name for event, *_ in forward.calls] == ["aten::at99"]
    assert [event.name for event, *_ in backward.calls] == ["aten::at100", "aten::at199"]


def test_memory_is_that_of_the_device_asked_for(tmp_path: Path) -> None:
    trace = ChromeTrace()
    trace.label(WHOLE, 0, 100)
    trace.event("aten::empty", 5, 10)
    trace.memory(6, 512)
    trace.memory(7, 64, device=0)
    trace.memory(200, 1024)
    trace.launch(8, 1)
    trace.kernel("work", 20, 5, 1)
    for device, sizes in ((CUDA, [512]), (CPU, [64]), (MPS, [])):
        (step,) = phase_traces(trace.read(tmp_path), (WHOLE,), device)
        assert [event.details["Bytes"] for event in step.memory] == sizes


# Kernels


def test_kernels_belong_to_the_phase_that_launched_them_however_late_they_run(
    tmp_path: Path,
) -> None:
    """Backward's run while the main thread is in the step, the step's after its label."""
    found = phase_traces(cuda_steps().read(tmp_path), PHASES, CUDA)
    for forward, backward, step in (found[:3], found[3:]):
        assert [kernel.name for kernel in forward.kernels] == ["gemm"]
        assert [k.name for k in backward.kernels] == ["Memset (Device)", "gemm", "splitk"]
        assert [kernel.name for kernel in step.kernels] == ["vectorized_add"]
        assert forward.kernels[0].start >= forward.label.end
        assert all(kernel.start >= step.label.start for kernel in backward.kernels[1:])
        assert step.kernels[0].start >= step.label.end
        assert [trace.launches for trace in (forward, backward, step)] == [1, 3, 1]


@pytest.mark.parametrize("category", ["kernel", "gpu_memcpy", "gpu_memset"])
def test_kernels_copies_and_fills_are_all_work_of_the_device(tmp_path: Path, category: str) -> None:
    trace = ChromeTrace()
    trace.label(WHOLE, 0, 100)
    trace.launch(10, 1)
    trace.kernel("work", 200, 5, 1, category)
    (step,) = phase_traces(trace.read(tmp_path), (WHOLE,), CUDA)
    assert [kernel.name for kernel in step.kernels] == ["work"]
    assert step.counts["work"] == 1
    assert step.counts["cudaLaunchKernel"] == 0, "a launch is no operator"


def test_what_was_launched_outside_the_labels_is_nobodys(tmp_path: Path) -> None:
    """The state is put back between steps; its copies run when the next step has begun."""
    trace = cuda_steps()
    trace.launch(990, 77)
    trace.kernel("Memcpy DtoD", 1010, 5, 77, "gpu_memcpy")
    found = phase_traces(trace.read(tmp_path), PHASES, CUDA)
    assert not any(trace.counts["Memcpy DtoD"] for trace in found)


def test_a_captured_graph_is_one_launch_of_many_kernels(tmp_path: Path) -> None:
    trace = ChromeTrace()
    trace.label(WHOLE, 0, 100)
    trace.event("cudaGraphLaunch", 10, 5, "cuda_runtime", correlation=1)
    for number in range(20):
        trace.kernel(f"kernel{number}", 30 + 4 * number, 3, 1)
    (step,) = phase_traces(trace.read(tmp_path), (WHOLE,), CUDA)
    assert (step.launches, len(step.kernels)) == (1, 20)


def test_kernels_are_not_looked_for_where_the_profiler_sees_none(tmp_path: Path) -> None:
    found = phase_traces(cuda_steps().read(tmp_path), PHASES, CPU)
    assert not any(trace.kernels for trace in found)


class Cuda2021(Cuda):
    launch_categories = ("Runtime",)
    kernel_categories = ("Kernel", "Memcpy", "Memset")


TRITONS = [
    ["nvjet_tst_64x8", "triton_poi_fused_addmm_relu_0"],
    ["triton_per_fused_sum_1", "Memset (Device)"],
    ["triton_for_fused_0"],
]


@pytest.mark.parametrize(
    ("device", "made", "kernels"),
    [
        (CUDA, overlapping_streams, [["gemm"], ["gemm_backward"], ["multi_tensor_apply"]]),
        (
            CUDA,
            all_reduce,
            [
                ["gemm"],
                ["gemm_backward", "ncclDevKernel_AllReduce_Sum_f32_RING_LL"],
                ["multi_tensor_apply"],
            ],
        ),
        (CUDA, compiled_by_triton, TRITONS),
        (Cuda2021(), in_the_categories_of_2021, TRITONS),
        (CUDA, replayed_graphs, [["node 0"] * 20, ["node 1"] * 20, ["node 2"] * 20]),
        (XPU, on_xpu, [["gemm_kernel"], ["gemm_kernel", "Memcpy D2D"], ["fill", "fill"]]),
        (
            CUDA,
            on_rocm,
            [
                ["Cijk_Ailk_Bljk_SB_MT64x32x8"],
                ["elementwise_kernel", "Memcpy DtoD (Device -> Device)"],
                ["triton_for_fused_0"],
            ],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_kernels_are_in_the_phase_that_launched_them_whoever_launches(
    device: Device, made: Callable[[], ChromeTrace], kernels: list[list[str]], tmp_path: Path
) -> None:
    found = phase_traces(made().read(tmp_path), PHASES, device)
    assert [[kernel.name for kernel in trace.kernels] for trace in found] == kernels


# Kernels that the profiler lost

LAUNCHING = [
    *("cudaLaunchKernel", "cudaLaunchKernelExC", "cudaLaunchCooperativeKernel", "cudaGraphLaunch"),
    *("cuLaunchKernel", "cuLaunchKernelEx", "cuLaunchCooperativeKernel"),
    *("hipLaunchKernel", "hipModuleLaunchKernel", "hipExtModuleLaunchKernel", "hipGraphLaunch"),
]


@pytest.mark.parametrize("call", LAUNCHING)
def test_a_launch_without_its_kernel_is_an_error_and_no_smaller_count(
    tmp_path: Path, call: str
) -> None:
    """In every step alike: that steps differ would not tell."""
    trace = cuda_steps()
    for number in range(2):
        trace.launch(1000 + 400 * number + 240, 50 + number, call=call)
    with pytest.raises(TraceError, match=f"lost kernels: 2 launches .* a call of {call};"):
        phase_traces(trace.read(tmp_path), PHASES, CUDA)
    for number in range(2):
        trace.kernel("found", 1000 + 400 * number + 350, 5, 50 + number)
    assert phase_traces(trace.read(tmp_path), PHASES, CUDA)


@pytest.mark.parametrize(
    "call",
    [
        *("cudaMemcpyAsync", "cudaMemsetAsync", "hipMemcpyWithStream", "cudaLaunchHostFunc"),
        *("cudaStreamSynchronize", "cudaStreamIsCapturing", "cudaEventRecord"),
    ],
)
def test_a_call_that_may_give_the_device_nothing_needs_no_kernel(tmp_path: Path, call: str) -> None:
    trace = cuda_steps()
    trace.launch(1000 + 240, 50, call=call)
    assert phase_traces(trace.read(tmp_path), PHASES, CUDA)


@pytest.mark.parametrize("of", [50, 51])
def test_a_launch_within_a_launch_is_one(tmp_path: Path, of: int) -> None:
    trace = cuda_steps()
    trace.event("cudaLaunchKernel", 1240, 9, "cuda_runtime", correlation=50)
    trace.event("cuLaunchKernel", 1242, 5, "cuda_driver", correlation=51)
    trace.kernel("work", 1350, 5, of)
    found = phase_traces(trace.read(tmp_path), PHASES, CUDA)
    assert [kernel.name for kernel in found[2].kernels] == ["vectorized_add", "work"]


def test_kernels_lost_before_the_steps_that_are_kept_are_no_loss(tmp_path: Path) -> None:
    trace = cuda_steps()
    trace.launch(900, 50)
    trace.launch(950, 51, call="cudaGraphLaunch")
    assert phase_traces(trace.read(tmp_path), PHASES, CUDA)


# Traces that show nothing


def test_an_empty_trace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="does not show whole steps"):
        phase_traces(ChromeTrace().read(tmp_path), PHASES, CUDA)


def test_labels_with_nothing_in_them_are_refused(tmp_path: Path) -> None:
    trace = ChromeTrace()
    trace.label(WHOLE, 0, 100)
    trace.event("aten::add", 300, 10)
    with pytest.raises(TraceError, match="the trace is empty"):
        phase_traces(trace.read(tmp_path), (WHOLE,), CPU)


def test_a_trace_without_kernels_is_refused_where_the_profiler_should_see_them(
    tmp_path: Path,
) -> None:
    trace = cuda_steps()
    trace.events = [event for event in trace.events if event.get("tid") not in (STREAM, 9)]
    with pytest.raises(TraceError, match="shows no kernels"):
        phase_traces(trace.read(tmp_path), PHASES, CUDA)
    assert phase_traces(trace.read(tmp_path), PHASES, CPU)


def test_a_kernel_that_nothing_launches_is_refused_by_name(tmp_path: Path) -> None:
    trace = cuda_steps()
    trace.kernel("stray", 1250, 5, correlation=999)
    with pytest.raises(TraceError, match="nothing in the trace launches the kernel stray"):
        phase_traces(trace.read(tmp_path), PHASES, CUDA)


def test_a_kernel_that_nothing_launches_before_the_kept_steps_is_nobodys(tmp_path: Path) -> None:
    trace = cuda_steps()
    trace.kernel("stray", 900, 5, correlation=999)
    found = phase_traces(trace.read(tmp_path), PHASES, CUDA)
    assert not any(trace.counts["stray"] for trace in found)


def test_a_step_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    trace = cuda_steps()
    trace.label("forward", 2000, 100)
    with pytest.raises(TraceError, match="does not show whole steps"):
        phase_traces(trace.read(tmp_path), PHASES, CUDA)
