"""Chrome traces made by hand, as kineto writes them: what happened when is known exactly."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from bench.matrix.step import PHASES
from bench.worker.profile.trace import LABEL, TraceEvent, read_trace

MAIN, ENGINE, STREAM = 100, 200, 7
"""The thread that calls, autograd's own for a device, and a stream of the device."""
Microseconds = int | float | Decimal


class ChromeTrace:
    """A trace that grows by what is added to it; times in microseconds."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "ts": 0, "pid": 1, "args": {"name": "python"}},
            {"ph": "i", "s": "g", "name": "Record Window End", "pid": "", "tid": "", "ts": 1e9},
        ]

    def event(
        self,
        name: str,
        start: Microseconds,
        duration: Microseconds,
        category: str = "cpu_op",
        thread: int = MAIN,
        **details: object,
    ) -> None:
        event = {"ph": "X", "cat": category, "name": name, "pid": 1, "tid": thread}
        self.events.append(event | {"ts": start, "dur": duration, "args": details})

    def label(self, phase: str, start: Microseconds, duration: Microseconds) -> None:
        """A phase, on the host and, as kineto has it, over its kernels."""
        self.event(LABEL + phase, start, duration, "user_annotation")
        self.event(LABEL + phase, start + 60, duration, "gpu_user_annotation", STREAM)

    def launch(
        self,
        start: Microseconds,
        correlation: int,
        thread: int = MAIN,
        call: str = "cudaLaunchKernel",
    ) -> None:
        """A call that gives the device work, in the category that kineto has it in."""
        prefixes = {"cuL": "cuda_driver", "ur": "xpu_runtime", "ze": "xpu_driver"}
        of = [category for prefix, category in prefixes.items() if call.startswith(prefix)]
        category = of[0] if of else "cuda_runtime"
        self.event(call, start, 2, category, thread, correlation=correlation, cbid=211)
        flow = {"ph": "s", "cat": "ac2g", "name": "ac2g", "pid": 1, "tid": thread, "ts": start}
        self.events.append(flow | {"id": correlation})

    def kernel(
        self,
        name: str,
        start: Microseconds,
        duration: Microseconds,
        correlation: int,
        category: str = "kernel",
        stream: int = STREAM,
    ) -> None:
        details = {"stream": stream, "correlation": correlation, "device": 0}
        self.event(name, start, duration, category, stream, **details)

    def memory(self, at: float, size: int, device: int = 1) -> None:
        event = {"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", "pid": 1}
        details = {"Total Allocated": 0, "Bytes": size, "Device Id": 0, "Device Type": device}
        self.events.append(event | {"tid": MAIN, "ts": at, "args": details})

    def read(self, folder: Path) -> list[TraceEvent]:
        """The trace as it is read from a file."""
        path = folder / "trace.json"
        encode = msgspec.json.Encoder(decimal_format="number").encode
        path.write_bytes(encode({"schemaVersion": 1, "traceEvents": self.events}))
        return read_trace(path)


def cuda_step(trace: ChromeTrace, at: float, number: int) -> None:
    """A step from `at` on, 300 us: the device begins its work when the host is two phases on.

    Autograd's thread launches backward's kernels while the main one sits in the label.
    """
    first = 10 * number
    trace.label("forward", at, 100)
    trace.event("aten::linear", at + 10, 40)
    trace.event("aten::addmm", at + 15, 30)
    trace.launch(at + 20, first)
    trace.kernel("gemm", at + 150, 30, first)
    trace.label("backward", at + 100, 100)
    trace.event("aten::ones_like", at + 102, 10)
    trace.launch(at + 105, first + 1)
    trace.kernel("Memset (Device)", at + 180, 2, first + 1, "gpu_memset")
    trace.event("autograd::engine::evaluate_function: AddmmBackward0", at + 120, 60, thread=ENGINE)
    trace.event("AddmmBackward0", at + 125, 50, thread=ENGINE)
    trace.event("aten::mm", at + 130, 40, thread=ENGINE)
    trace.launch(at + 135, first + 2, ENGINE)
    trace.launch(at + 150, first + 3, ENGINE, "cuLaunchKernel")
    trace.kernel("gemm", at + 205, 30, first + 2)
    trace.kernel("splitk", at + 225, 30, first + 3, stream=9)
    trace.label("step", at + 200, 100)
    trace.event("aten::add_", at + 210, 20)
    trace.launch(at + 215, first + 4)
    trace.kernel("vectorized_add", at + 320, 20, first + 4)


def cuda_steps(count: int = 2) -> ChromeTrace:
    """So many of them, one every 400 us."""
    trace = ChromeTrace()
    for number in range(count):
        cuda_step(trace, 1000 + 400 * number, number)
    return trace


def overlapping_streams() -> ChromeTrace:
    """Backward's kernels run on a stream of their own, among forward's and the step's."""
    trace = three_phases()
    trace.launch(1010, 1)
    trace.kernel("gemm", 1050, 100, 1)
    trace.launch(1110, 2, ENGINE)
    trace.kernel("gemm_backward", 1120, 150, 2, stream=9)
    trace.launch(1210, 3)
    trace.kernel("multi_tensor_apply", 1220, 30, 3)
    return trace


def all_reduce() -> ChromeTrace:
    """NCCL's kernel runs on a stream of its own, and into the step that waits for it."""
    trace = three_phases()
    trace.launch(1010, 1)
    trace.kernel("gemm", 1050, 20, 1)
    trace.launch(1110, 2, ENGINE)
    trace.kernel("gemm_backward", 1115, 20, 2)
    trace.launch(1150, 3, ENGINE, "cuLaunchKernelEx")
    trace.kernel("ncclDevKernel_AllReduce_Sum_f32_RING_LL", 1160, 90, 3, stream=20)
    trace.event("cudaStreamWaitEvent", 1205, 1, "cuda_runtime", correlation=4)
    trace.launch(1210, 5)
    trace.kernel("multi_tensor_apply", 1255, 20, 5)
    return trace


def compiled_by_triton() -> ChromeTrace:
    """Triton launches by the driver, products come by the runtime, and a fill by neither."""
    trace = three_phases()
    trace.event("## Call CompiledFxGraph fabc ##", 1005, 80)
    trace.launch(1010, 1, call="cudaLaunchKernelExC")
    trace.kernel("nvjet_tst_64x8", 1050, 20, 1)
    trace.launch(1020, 2, call="cuLaunchKernelEx")
    trace.kernel("triton_poi_fused_addmm_relu_0", 1070, 5, 2)
    trace.launch(1110, 3, ENGINE, "cuLaunchKernelEx")
    trace.kernel("triton_per_fused_sum_1", 1120, 5, 3)
    trace.launch(1130, 4, ENGINE, "cudaMemsetAsync")
    trace.kernel("Memset (Device)", 1140, 1, 4, "gpu_memset")
    trace.launch(1210, 5, call="cuLaunchKernel")
    trace.kernel("triton_for_fused_0", 1300, 9, 5)
    return trace


def replayed_graphs() -> ChromeTrace:
    """A launch of a graph has all its kernels, which the device may run on several streams."""
    trace = three_phases()
    for phase in range(3):
        trace.launch(1010 + 100 * phase, phase, call="cudaGraphLaunch")
        for number in range(20):
            start = 1050 + 100 * phase + 5 * number
            trace.kernel(f"node {phase}", start, 7, phase, stream=STREAM + number % 2)
    return trace


def on_rocm() -> ChromeTrace:
    """ROCm's calls and kernels, in the categories of CUDA's."""
    trace = three_phases()
    trace.launch(1010, 1, call="hipExtModuleLaunchKernel")
    trace.kernel("Cijk_Ailk_Bljk_SB_MT64x32x8", 1050, 20, 1, stream=0)
    trace.launch(1110, 2, ENGINE, "hipLaunchKernel")
    trace.kernel("elementwise_kernel", 1205, 20, 2, stream=0)
    trace.launch(1120, 3, ENGINE, "hipMemcpyWithStream")
    trace.kernel("Memcpy DtoD (Device -> Device)", 1230, 5, 3, "gpu_memcpy", stream=0)
    trace.launch(1210, 4, call="hipModuleLaunchKernel")
    trace.kernel("triton_for_fused_0", 1300, 9, 4, stream=0)
    return trace


def on_xpu() -> ChromeTrace:
    """SYCL's runtime launches through Level Zero, its driver, within its own call."""
    trace = three_phases()
    for phase, name in enumerate(("gemm_kernel", "gemm_kernel", "fill")):
        at = 1010 + 100 * phase
        trace.event("urEnqueueKernelLaunch", at, 9, "xpu_runtime", correlation=phase)
        trace.launch(at + 3, 10 + phase, call="zeCommandListAppendLaunchKernel")
        trace.kernel(name, at + 70, 20, phase)
    trace.event("urEnqueueUSMFill", 1230, 9, "xpu_runtime", correlation=6)
    trace.launch(1233, 16, call="zeCommandListAppendLaunchKernel")
    trace.kernel("fill", 1300, 5, 6)
    trace.launch(1150, 5, ENGINE, "urEnqueueUSMMemcpy")
    trace.kernel("Memcpy D2D", 1255, 5, 5, "gpu_memcpy")
    return trace


def in_the_categories_of_2021() -> ChromeTrace:
    """What kineto called its categories when torch.profiler was new."""
    trace = compiled_by_triton()
    then = {"cuda_runtime": "Runtime", "cuda_driver": "Runtime"}
    then |= {"kernel": "Kernel", "gpu_memcpy": "Memcpy", "gpu_memset": "Memset"}
    for event in trace.events:
        if event.get("cat") in then:
            event["cat"] = then[event["cat"]]
    return trace


def three_phases() -> ChromeTrace:
    """The labels of one step from 1000 on, 100 us for each phase."""
    trace = ChromeTrace()
    for start, phase in zip((1000, 1100, 1200), PHASES, strict=True):
        trace.label(phase, start, 100)
        trace.event(f"aten::{phase}", start + 2, 90)
    return trace
