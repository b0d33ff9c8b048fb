"""Cases under the real profiler."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.devices.cpu import Cpu
from bench.devices.cuda import Cuda
from bench.matrix.case import WHOLE, Case
from bench.matrix.step import PHASES
from bench.protocol.profile import StepProfile
from bench.runner.batches import MAX_CASES
from bench.worker.prepared_case import PreparedCase, build
from bench.worker.profile.profiler import HEAD, STEPS
from bench.worker.profile.trace import LABEL, TraceEvent, nested, read_trace
from bench.worker.refusals import TraceError, Unsupported
from tests.cases import sumnet
from tests.loops import SUITE

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
CASES = [
    sumnet(optimizer="adam"),
    sumnet(optimizer="adam", implementation="fused"),
    sumnet(optimizer="adam", implementation="foreach", batch=64),
    sumnet(dtype="amp-bfloat16"),
    sumnet(compile="on"),
    sumnet(optimizer="lbfgs"),
]


def counts(profile: StepProfile) -> dict[str, tuple[object, ...]]:
    return {
        name: (phase.ops, phase.nodes, phase.allocations, phase.allocated_bytes, phase.peak_bytes)
        for name, phase in profile.phases.items()
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_a_step_does_is_the_same_twice_and_leaves_its_state(case: Case) -> None:
    prepared = PreparedCase(SUITE, case)
    prepared.restore()
    weights = [p.detach().clone() for p in prepared._loop.model.parameters()]
    first, second = prepared.profile(), prepared.profile()
    assert counts(first) == counts(second)
    assert first.work == second.work
    assert (first.steps, first.busy_ns) == (STEPS, None)
    assert list(first.phases) == (list(PHASES) if case.phases else [WHOLE])
    assert sum(phase.share for phase in first.phases.values()) == pytest.approx(1)
    assert sum(phase.ops + phase.nodes for phase in first.phases.values()) > 3
    for weight, before in zip(prepared._loop.model.parameters(), weights, strict=True):
        assert torch.equal(weight, before)


def test_eager_adam_calls_what_its_source_says() -> None:
    profile = PreparedCase(SUITE, sumnet(optimizer="adam")).profile()
    forward, backward, step = (profile.phases[phase] for phase in PHASES)
    assert forward.ops == 4, "two linear layers, ReLU and the loss"
    assert (backward.ops, backward.nodes) == (0, 6), "of these four, and of two transposed weights"
    assert step.ops == 32, "eight for each of four parameters"
    assert profile.state_elements == 2 * 41
    assert {o.name for o in step.operators} >= {"aten::lerp_", "aten::addcdiv_"}


def test_fused_step_is_one_operator_beside_its_count() -> None:
    plain, fused = (
        PreparedCase(SUITE, sumnet(optimizer="adam", implementation=name)).profile().phases["step"]
        for name in ("for-loop", "fused")
    )
    assert fused.ops == 2 < plain.ops


def test_compiled_step_calls_its_graphs_and_few_operators() -> None:
    phases = PreparedCase(SUITE, sumnet(compile="on")).profile().phases
    assert [phases[name].ops for name in PHASES] == [3, 3, 1], "a graph each, and its products"
    assert phases["backward"].nodes == 1


def test_flop_are_those_of_torchs_own_counter() -> None:
    case = sumnet(batch=64, hidden=64)
    profile = PreparedCase(SUITE, case).profile()
    loop = build(SUITE, case, None, Cpu())
    with FlopCounterMode(display=False) as forward:
        loss = loop.phases["forward"](None)
    with FlopCounterMode(display=False) as backward:
        loop.phases["backward"](loss)
    assert profile.work["forward"].flops == forward.get_total_flops() > 0
    assert profile.work["backward"].flops == backward.get_total_flops() > 0
    assert profile.work["step"].flops == 0


def test_traces_are_kept_where_they_are_wanted(tmp_path: Path) -> None:
    case = sumnet()
    PreparedCase(SUITE, case).profile(tmp_path)
    stem = case.id.replace("/", "-")
    assert {path.name for path in tmp_path.iterdir()} == {f"{stem}.trace.json", f"{stem}.folded"}
    trace = json.loads((tmp_path / f"{stem}.trace.json").read_text())
    labels = [e["name"] for e in trace["traceEvents"] if e["name"].startswith("sumnet: ")]
    assert sorted(set(labels)) == ["sumnet: backward", "sumnet: forward", "sumnet: step"]
    assert len(labels) == 3 * STEPS
    stacks = (tmp_path / f"{stem}.folded").read_text().splitlines()
    assert any(line.startswith("forward;aten::linear;aten::addmm ") for line in stacks)
    folded = dict.fromkeys(PHASES, 0)
    for line in stacks:
        names, nanoseconds = line.rsplit(" ", 1)
        folded[names.split(";")[0]] += int(nanoseconds)
    labelled = [e for e in read_trace(tmp_path / f"{stem}.trace.json") if e.name[:8] == LABEL]
    for phase in PHASES:
        spent = sum(e.duration for e in labelled if e.name == LABEL + phase)
        assert folded[phase] == spent


def test_trace_that_cannot_be_written_is_an_error_and_an_old_one_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = PreparedCase(SUITE, sumnet())
    with pytest.raises(OSError):
        prepared.profile(tmp_path / "not there")
    prepared.profile(tmp_path)
    # What a full disk or a folder without leave to write does: the profiler prints, and goes on.
    monkeypatch.setattr("torch.profiler.profile.export_chrome_trace", lambda self, path: None)
    with pytest.raises(FileNotFoundError):
        prepared.profile(tmp_path)


class KernelCpu(Cpu):
    """Its kernels are the operators that call no others."""

    shows_kernels = True
    launch_categories = Cuda.launch_categories
    kernel_categories = Cuda.kernel_categories


def with_kernels(lost: int) -> Callable[[Path], list[TraceEvent]]:
    """Reads a trace, with a launch and a kernel for each such operator; the first are `lost`."""

    def read(path: Path) -> list[TraceEvent]:
        events = read_trace(path)
        calls = nested(event for event in events if event.category == "cpu_op")
        outer = {id(caller) for call in calls for caller in call.callers}
        inner = [call.event for call in calls if id(call.event) not in outer]
        for number, (name, _, start, duration, thread, _) in enumerate(inner):
            details = {"correlation": number}
            call = TraceEvent("cudaLaunchKernel", "cuda_runtime", start, duration, thread, details)
            events.append(call)
            if number >= lost:
                events.append(TraceEvent(name, "kernel", start + duration, 10, 7, details))
        return sorted(events, key=lambda event: (event.start, -event.duration))

    return read


def test_kernels_that_a_later_profile_of_a_process_loses_are_none_of_a_step_that_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It loses its first ones, more of them with each profile; what it would keep is refused."""
    prepared = PreparedCase(SUITE, sumnet())
    monkeypatch.setattr(prepared, "_device", KernelCpu())

    def profiled(lost: int) -> list[tuple[int, int]]:
        monkeypatch.setattr("bench.worker.profile.profiler.read_trace", with_kernels(lost))
        phases = prepared.profile().phases
        return [(phase.launches, phase.kernels) for phase in phases.values()]

    assert min(kernels for _, kernels in profiled(0)) > 0
    assert profiled(0) == profiled(MAX_CASES) == profiled(HEAD)
    with pytest.raises(TraceError, match="the profiler lost kernels"):
        profiled(HEAD + 200)


def test_graphs_are_not_profiled_where_the_profiler_hides_what_they_launch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared = PreparedCase(SUITE, sumnet())
    for device in (Cpu(), Cuda()):
        assert device.hides_graphs() is None
    monkeypatch.setattr(torch.version, "hip", "7.2")
    monkeypatch.setattr(prepared._device, "hides_graphs", Cuda().hides_graphs)
    assert prepared.profile().phases
    prepared.case = sumnet(device="cuda", compile="on+reduce-overhead")
    with pytest.raises(Unsupported, match=r"loses kernels of graphs .* profile the case without"):
        prepared.profile()


def test_nothing_is_said_of_durations_under_the_profiler_but_the_devices_own() -> None:
    def names(tree: Any) -> Iterator[str]:
        for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield str(name)
            if isinstance(value, dict | list):
                yield from names(value)

    profile = msgspec.to_builtins(PreparedCase(SUITE, sumnet()).profile())
    timed = {name for name in names(profile) if name.endswith(("_s", "_ms", "_us", "_ns"))}
    assert timed == {"kernels_ns", "busy_ns"}
    assert {profile["phases"][phase][name] for phase in PHASES for name in timed} == {None}


@needs_cuda
@pytest.mark.parametrize("batch", [2, 2**20])
def test_kernels_of_a_cuda_step_add_up_and_are_in_their_phases(batch: int) -> None:
    profile = PreparedCase(SUITE, sumnet(device="cuda", batch=batch, optimizer="adam")).profile()
    for phase in profile.phases.values():
        assert phase.kernels >= phase.launches > 0
        assert phase.kernels_ns is not None and phase.busy_ns is not None
        assert phase.kernels_ns == pytest.approx(phase.busy_ns, rel=0.05)
    assert profile.phases["backward"].kernels >= 5


@needs_cuda
def test_captured_cuda_graph_is_one_launch() -> None:
    profile = PreparedCase(SUITE, sumnet(device="cuda", compile="graph")).profile()
    (phase,) = profile.phases.values()
    assert (phase.launches, phase.kernels > 10) == (1, True)
