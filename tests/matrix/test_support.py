"""Why a case cannot run: each rule, its reason, and a case it lets pass."""

from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given

from bench.devices import DEVICES
from bench.devices.cpu import Cpu
from bench.devices.facts import DeviceFacts, Facts
from bench.matrix.case import Case
from bench.matrix.compilation import COMPILATIONS
from bench.matrix.optimizers import IMPLEMENTATIONS, OPTIMIZERS
from bench.matrix.support import estimated_bytes, objections, unsupported_reason
from bench.worker.loop import Loop
from bench.worker.profile.memory import allocation_peak
from sumnet.steps import Step
from tests.cases import sumnet
from tests.loops import build_loop
from tests.matrix.strategies import CASES, FACTS

MACHINE = Facts(
    torch="2.13.0",
    cores=4,
    isolates_compiled=True,
    devices={
        **{kind: (DeviceFacts(unavailable=f"sees no {kind} device here"),) for kind in DEVICES},
        "cpu": (DeviceFacts(memory_bytes=8 * 2**30, refused_dtypes={"tf32": "no such on a CPU"}),),
        "cuda": 2 * (DeviceFacts(memory_bytes=16 * 2**30),),
    },
)


def machine(kind: str, **facts: object) -> Facts:
    """MACHINE with other facts of one kind of device."""
    changed = tuple(msgspec.structs.replace(each, **facts) for each in MACHINE.devices[kind])
    return msgspec.structs.replace(MACHINE, devices=MACHINE.devices | {kind: changed})


WITH_MPS = machine("mps", unavailable=None, memory_bytes=8 * 2**30)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_a_common_case_runs(device: str) -> None:
    assert unsupported_reason(sumnet(device=device), MACHINE) is None


# The device


def test_a_device_that_is_not_there_is_refused_for_its_own_reason() -> None:
    reason = unsupported_reason(sumnet(device="mps"), MACHINE)
    assert reason == "sees no mps device here"
    without = machine("cuda", unavailable="its cable is out")
    assert unsupported_reason(sumnet(device="cuda:1"), without) == "its cable is out"
    assert unsupported_reason(sumnet(device="cuda:7"), without) == "its cable is out"


@pytest.mark.parametrize("device", ["cuda:2", "cuda:99"])
def test_an_index_beyond_the_devices_there_are_is_refused(device: str) -> None:
    reason = unsupported_reason(sumnet(device=device), MACHINE)
    assert reason == f"there is no {device} here: the last is cuda:1"


# The optimizer and its implementation


REFUSALS = {
    "muon": "Muon optimizes matrices alone, and the net has biases",
    "sparseadam": "SparseAdam takes sparse gradients alone",
}


@pytest.mark.parametrize("optimizer", REFUSALS)
def test_an_optimizer_that_cannot_train_the_net_is_refused_for_its_own_reason(
    optimizer: str,
) -> None:
    for device in ("cpu", "cuda"):
        reason = unsupported_reason(sumnet(device=device, optimizer=optimizer), MACHINE)
        assert reason == REFUSALS[optimizer]


@pytest.mark.parametrize(
    ("optimizer", "implementation", "device", "reason"),
    [
        ("lbfgs", "foreach", "cpu", "torch's LBFGS has no foreach implementation"),
        ("lbfgs", "for-loop", "cpu", "torch's LBFGS has no for-loop implementation"),
        ("sgd", "capturable", "cuda", "torch's SGD has no capturable implementation"),
        ("rprop", "fused", "cuda", "torch's Rprop has no fused kernel for cuda"),
        ("adagrad", "fused", "mps", "torch's Adagrad has no fused kernel for mps"),
    ],
)
def test_an_implementation_torch_does_not_have_is_refused(
    optimizer: str, implementation: str, device: str, reason: str
) -> None:
    case = sumnet(device=device, optimizer=optimizer, implementation=implementation)
    assert unsupported_reason(case, WITH_MPS) == reason


@pytest.mark.parametrize(
    ("optimizer", "implementation", "device"),
    [
        ("lbfgs", "default", "cpu"),
        ("rprop", "foreach", "cpu"),
        ("adafactor", "for-loop", "cuda"),
        ("adagrad", "fused", "cpu"),
        ("adagrad", "fused", "cuda"),
        ("adamw", "fused", "mps"),
        ("asgd", "capturable", "cuda"),
    ],
)
def test_an_implementation_torch_has_runs(optimizer: str, implementation: str, device: str) -> None:
    case = sumnet(device=device, optimizer=optimizer, implementation=implementation)
    assert unsupported_reason(case, WITH_MPS) is None


@pytest.mark.parametrize("scope", ["off", "loss"])
@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_a_capturable_step_that_is_not_compiled_needs_cuda(device: str, scope: str) -> None:
    case = sumnet(device=device, optimizer="adam", implementation="capturable", compile=scope)
    assert unsupported_reason(case, WITH_MPS) == (
        f"a capturable step keeps its count on the device: torch refuses it on {device}"
    )
    compiled = msgspec.structs.replace(case, compile="step")
    assert unsupported_reason(compiled, WITH_MPS) is None
    on_cuda = msgspec.structs.replace(case, device="cuda")
    assert unsupported_reason(on_cuda, WITH_MPS) is None


# The dtype


def test_a_dtype_a_device_refuses_is_refused_on_that_device_alone() -> None:
    assert unsupported_reason(sumnet(dtype="tf32"), MACHINE) == "no such on a CPU"
    assert unsupported_reason(sumnet(dtype="tf32", device="cuda"), MACHINE) is None
    assert unsupported_reason(sumnet(dtype="float64"), MACHINE) is None


def test_gradients_are_not_scaled_for_an_optimizer_that_calls_backward_itself() -> None:
    reason = unsupported_reason(sumnet(optimizer="lbfgs", dtype="amp-float16"), MACHINE)
    assert reason == "GradScaler takes no optimizer that is given a closure, as lbfgs is"
    assert unsupported_reason(sumnet(optimizer="lbfgs", dtype="amp-bfloat16"), MACHINE) is None
    assert unsupported_reason(sumnet(optimizer="adam", dtype="amp-float16"), MACHINE) is None


def test_torchs_scaler_does_refuse_such_an_optimizer() -> None:
    loop = build_loop(optimizer="lbfgs")
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(loop.step.loss()).backward()  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="losure use is not currently supported"):
        scaler.step(loop.optimizer, closure=loop.step.loss)


# Compiled


@pytest.mark.parametrize(
    ("optimizer", "implementation", "reason"),
    [
        ("adam", "fused", "torch.compile captures nothing of a fused optimizer step"),
        ("adafactor", "default", "torch.compile captures nothing of Adafactor's step"),
        ("lbfgs", "default", "torch.compile captures nothing of LBFGS's step"),
    ],
)
def test_a_step_that_torch_cannot_capture_is_not_compiled(
    optimizer: str, implementation: str, reason: str
) -> None:
    case = sumnet(optimizer=optimizer, implementation=implementation)
    for scope in ("on", "step", "on+max-autotune"):
        compiled = msgspec.structs.replace(case, compile=scope)
        assert unsupported_reason(compiled, MACHINE) == reason
    for scope in ("off", "loss"):
        others = msgspec.structs.replace(case, compile=scope)
        assert unsupported_reason(others, MACHINE) is None


@pytest.mark.parametrize("scope", ["on", "loss", "step"])
def test_a_mode_that_adds_cuda_graphs_is_for_cuda(scope: str) -> None:
    for device in ("cpu", "mps"):
        case = sumnet(device=device, compile=f"{scope}+reduce-overhead")
        assert unsupported_reason(case, WITH_MPS) == (
            "reduce-overhead is the default mode with CUDA graphs: "
            f"on {device} it would be the default under another name"
        )
    on_cuda = sumnet(device="cuda", compile=f"{scope}+reduce-overhead")
    assert unsupported_reason(on_cuda, MACHINE) is None
    assert unsupported_reason(sumnet(compile=f"{scope}+max-autotune"), MACHINE) is None


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_where_nothing_can_be_compiled_the_device_says_why(kind: str) -> None:
    none = machine(kind, compile_refusal="it needs a compiler")
    other = "cuda" if kind == "cpu" else "cpu"
    for scope in ("on", "loss", "step+max-autotune"):
        refused = sumnet(device=kind, compile=scope)
        assert unsupported_reason(refused, none) == "it needs a compiler"
        assert unsupported_reason(sumnet(device=other, compile=scope), none) is None
    assert unsupported_reason(sumnet(device=kind), none) is None


def test_a_captured_step_is_not_compiled_and_needs_no_compiler() -> None:
    none = machine("cuda", compile_refusal="it needs a compiler")
    assert unsupported_reason(sumnet(device="cuda", compile="graph"), none) is None


# Captured as a CUDA graph


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_a_cuda_graph_needs_cuda(device: str) -> None:
    reason = unsupported_reason(sumnet(device=device, compile="graph"), WITH_MPS)
    assert reason == f"a CUDA graph cannot be captured on {device}"


@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        (
            {"dtype": "amp-float16"},
            "GradScaler asks the device in every step, which a CUDA graph cannot hold",
        ),
        ({"optimizer": "adam"}, "torch captures Adam only as --implementation capturable"),
        (
            {"optimizer": "nadam", "implementation": "foreach"},
            "torch captures NAdam only as --implementation capturable",
        ),
        (
            {"optimizer": "adagrad"},
            "Adagrad's step counts or decides on the host: a CUDA graph cannot hold it",
        ),
        (
            {"optimizer": "lbfgs"},
            "LBFGS's step counts or decides on the host: a CUDA graph cannot hold it",
        ),
    ],
)
def test_a_step_that_asks_the_host_is_not_captured(axes: dict[str, Any], reason: str) -> None:
    assert unsupported_reason(sumnet(device="cuda", compile="graph", **axes), MACHINE) == reason


@pytest.mark.parametrize(
    "axes",
    [
        {"implementation": "fused"},
        {"optimizer": "sgd-momentum", "dtype": "amp-bfloat16"},
        {"optimizer": "rprop", "implementation": "capturable"},
    ],
)
def test_a_step_that_asks_only_the_device_is_captured(axes: dict[str, Any]) -> None:
    assert unsupported_reason(sumnet(device="cuda", compile="graph", **axes), MACHINE) is None


# Threads and memory


def test_threads_need_a_core_each_where_they_compute() -> None:
    reason = unsupported_reason(sumnet(threads=5), MACHINE)
    assert reason == "needs 5 cores, one per thread; this process may use 4"
    assert unsupported_reason(sumnet(threads=4), MACHINE) is None
    assert unsupported_reason(sumnet(threads=5, device="cuda"), MACHINE) is None


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_case_has_no_more_threads_than_the_process_may(device: str) -> None:
    limited = msgspec.structs.replace(MACHINE, thread_limit=2)
    assert unsupported_reason(sumnet(threads=2, device=device), limited) is None
    assert unsupported_reason(sumnet(threads=3, device=device), limited) == (
        "needs 3 threads; OMP_THREAD_LIMIT or the control group's pids.max allows 2"
    )


def test_no_case_is_too_large_for_memory_that_is_unavailable() -> None:
    case = sumnet(batch=2**22, hidden=4096)
    assert unsupported_reason(case, machine("cpu", memory_bytes=0)) is None


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_case_may_take_half_of_its_devices_memory(kind: str) -> None:
    case = sumnet(device=kind, batch=2**20, hidden=64)
    need = estimated_bytes(case)
    assert unsupported_reason(case, machine(kind, memory_bytes=2 * need)) is None
    reason = unsupported_reason(case, machine(kind, memory_bytes=2 * need - 2))
    assert reason is not None
    assert f"of {kind} memory" in reason


def test_the_reason_for_want_of_memory_says_how_much_and_of_how_much() -> None:
    reason = unsupported_reason(sumnet(batch=2**22, hidden=4096), MACHINE)
    need = estimated_bytes(sumnet(batch=2**22, hidden=4096)) / 2**30
    assert reason == f"needs about {need:.1f} GiB, more than half of the 8.0 GiB of cpu memory"


def test_memory_grows_with_rows_units_and_the_size_of_an_item() -> None:
    base = estimated_bytes(sumnet(batch=1000, hidden=100))
    assert estimated_bytes(sumnet(batch=2000, hidden=100)) > base
    assert estimated_bytes(sumnet(batch=1000, hidden=200)) > base
    for dtype, ratio in {"tf32": 1.0, "float64": 2.0, "bfloat16": 0.5, "float16": 0.5}.items():
        assert estimated_bytes(sumnet(batch=1000, hidden=100, dtype=dtype)) == ratio * base
    mixed = estimated_bytes(sumnet(batch=1000, hidden=100, dtype="amp-bfloat16"))
    assert 0.5 * base < mixed < 0.6 * base


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "amp-bfloat16"])
def test_memory_is_estimated_within_half_of_what_a_step_really_takes(dtype: str) -> None:
    case = sumnet(batch=2**18, hidden=32, dtype=dtype)

    def build_and_train() -> None:
        build_loop(2**18, precision=dtype, hidden=32).train_step()

    loop = Loop(Step(run=build_and_train), {}, build_and_train)
    taken = allocation_peak(loop, Cpu(), lambda: None)
    assert 1 / 1.5 < estimated_bytes(case) / taken < 1.5


# All of them


def test_of_several_reasons_the_first_is_given() -> None:
    case = sumnet(device="mps", implementation="fused", compile="on", threads=5)
    assert unsupported_reason(case, MACHINE) == MACHINE.of("mps").unavailable
    reason = unsupported_reason(msgspec.structs.replace(case, device="cpu"), MACHINE)
    assert reason is not None
    assert "fused" in reason


@given(CASES, FACTS)
def test_any_case_on_any_machine_runs_or_has_the_first_reason(case: Case, facts: Facts) -> None:
    reasons = list(objections(case, facts))
    assert unsupported_reason(case, facts) == (reasons[0] if reasons else None)
    assert all(reasons), "a reason is never empty"


def test_every_value_of_every_table_runs_somewhere() -> None:
    """On a machine that has all, each optimizer, implementation and compilation has its case."""

    def runs(**axes: Any) -> bool:
        return any(
            unsupported_reason(sumnet(device="cuda", optimizer=optimizer, **axes), MACHINE) is None
            for optimizer in OPTIMIZERS
        )

    assert all(runs(implementation=name) for name in IMPLEMENTATIONS)
    assert all(runs(compile=name) for name in COMPILATIONS)
