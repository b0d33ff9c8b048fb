"""Chrome traces made by hand, as kineto writes them: what happened when is known exactly."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

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
        self, start: Microseconds, correlation: int, thread: int = MAIN, driver: bool = False
    ) -> None:
        name, category = (
            ("cuLaunchKernel", "cuda_driver") if driver else ("cudaLaunchKernel", "cuda_runtime")
        )
        self.event(name, start, 2, category, thread, correlation=correlation, cbid=211)
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
    trace.launch(at + 150, first + 3, ENGINE, driver=True)
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
