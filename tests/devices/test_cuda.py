"""CUDA devices: what is said of one, of several, of one that is broken, and of none."""

import time
from types import SimpleNamespace

import pytest
import torch

from bench.devices import probe
from bench.devices.cuda import Cuda
from bench.devices.event_clock import EVENTS
from bench.matrix.support import unsupported_reason
from tests.cases import sumnet
from tests.loops import build_loop

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")


def gpu(**known: object) -> SimpleNamespace:
    """Properties as torch has them, of a Hopper GPU where `known` says nothing else."""
    return SimpleNamespace(
        **{"name": "A GPU", "major": 9, "minor": 0, "total_memory": 2**34, "uuid": "one"} | known
    )


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What torch sees; the test fills it."""
    found: list[SimpleNamespace] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(found))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
    monkeypatch.setattr(torch.cuda, "get_device_properties", found.__getitem__)
    monkeypatch.setattr(torch.cuda, "get_arch_list", list)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    return found


# What is said of it


def test_where_torch_sees_no_device_it_is_unavailable_for_that_reason(
    seen: list[SimpleNamespace],
) -> None:
    facts = probe()
    for device in ("cuda", "cuda:3"):
        reason = facts.of(device).unavailable
        assert reason == f"torch {torch.__version__} sees no cuda device here"


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.DeferredCudaCallError("CUDA call failed lazily\nwith a trace"),
        RuntimeError("CUDA call failed lazily"),
        AssertionError("CUDA call failed lazily"),
    ],
)
@pytest.mark.parametrize("where", ["is_available", "device_count", "get_device_properties"])
def test_a_broken_driver_is_the_devices_reason_and_ends_nothing_else(
    where: str,
    error: Exception,
    seen: list[SimpleNamespace],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DeferredCudaCallError is no RuntimeError."""

    def fail(*about: object) -> None:
        raise error

    seen.append(gpu())
    monkeypatch.setattr(torch.cuda, where, fail)
    facts = probe()
    assert facts.of("cuda").unavailable == "cuda does not start: CUDA call failed lazily"
    assert facts.of("cpu").unavailable is None


def test_one_broken_gpu_leaves_the_others(
    seen: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen += [gpu(), SimpleNamespace(), gpu(name="Third")]
    facts = probe()
    assert facts.of("cuda:1").unavailable
    assert [facts.of(f"cuda:{index}").name for index in (0, 2)] == ["A GPU", "Third"]


@pytest.mark.parametrize(
    ("major", "hip", "refused"),
    [
        (7, None, {"tf32", "bfloat16", "amp-bfloat16"}),
        (8, None, set()),
        (9, None, set()),
        (6, "6.4", set()),
    ],
)
def test_a_device_without_matrix_units_for_a_dtype_refuses_it(
    major: int,
    hip: str | None,
    refused: set[str],
    seen: list[SimpleNamespace],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen.append(gpu(major=major, gcnArchName="gfx942:sramecc+"))
    monkeypatch.setattr(torch.version, "hip", hip)
    facts = Cuda().facts()
    assert (facts.unavailable, facts.name) == (None, "A GPU")
    assert facts.memory_bytes == 2**34
    assert facts.refused_dtypes.keys() == refused
    assert all("A GPU" in reason for reason in facts.refused_dtypes.values())


def test_what_drives_it_is_told_by_its_own_name(
    seen: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen.append(gpu(gcnArchName="gfx942"))
    assert Cuda().facts().platform == "CUDA 13.0"
    monkeypatch.setattr(torch.version, "hip", "6.4.43482")
    assert Cuda().facts().platform == "ROCm 6.4.43482"


def test_gpus_of_one_name_are_told_apart(seen: list[SimpleNamespace]) -> None:
    seen += [gpu(), gpu(uuid="two"), gpu(uuid=None)]
    first, second, unknown = (facts.identity for facts in probe().devices["cuda"])
    assert first and second and first != second
    assert unknown == ""
    assert "one" not in first


@pytest.mark.parametrize(
    ("built", "major", "minor", "runs"),
    [
        (["sm_75", "sm_80", "sm_90"], 7, 0, False),
        (["sm_75", "sm_80", "sm_90"], 7, 5, True),
        (["sm_75", "sm_80", "sm_90"], 8, 9, True),
        (["sm_86"], 8, 0, False),
        (["sm_90"], 12, 0, False),
        (["sm_90", "compute_90"], 12, 0, True),
        (["sm_90a"], 9, 0, True),
        (["sm_100a", "compute_100a"], 10, 3, False),
        (["sm_100f"], 10, 3, True),
        (["compute_100f"], 12, 0, False),
        (["sm_120"], 12, 1, True),
        ([], 7, 0, True),
        (["sm_ancient"], 9, 0, False),
    ],
)
def test_a_gpu_that_this_torch_was_not_built_for_is_unavailable(
    built: list[str],
    major: int,
    minor: int,
    runs: bool,
    seen: list[SimpleNamespace],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen.append(gpu(major=major, minor=minor))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    facts = probe()
    reason = unsupported_reason(sumnet(device="cuda"), facts)
    assert (reason is None) == runs
    if not runs:
        assert f"not for A GPU (sm_{major}{minor})" in (reason or "")
        assert all(arch in (reason or "") for arch in built)
    assert unsupported_reason(sumnet(), facts) is None


@pytest.mark.parametrize(
    ("built", "runs"),
    [
        (["gfx90a", "gfx942"], True),
        (["gfx90a", "gfx1100"], False),
        (["gfx9-4-generic"], True),
        ([], True),
    ],
)
def test_on_rocm_it_is_the_architectures_own_name_that_counts(
    built: list[str],
    runs: bool,
    seen: list[SimpleNamespace],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen.append(gpu(gcnArchName="gfx942:sramecc+:xnack-"))
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    assert (Cuda().facts().unavailable is None) == runs


def on_the_bus(monkeypatch: pytest.MonkeyPatch, hip: str | None) -> None:
    """Torch sees a GPU for each index, whose bus has that number."""
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda index: SimpleNamespace(pci_domain_id=1, pci_bus_id=0xC0 + index, pci_device_id=3),
    )
    monkeypatch.setattr(torch.version, "hip", hip)


def test_a_device_is_known_to_the_drivers_tools_by_where_it_is_on_the_bus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_the_bus(monkeypatch, hip=None)
    monkeypatch.setattr("bench.devices.cuda.nvml_joules", {"00000001:c1:03.0": 12.5}.__getitem__)
    assert Cuda(1).bus_id() == "00000001:c1:03.0"
    assert Cuda(1).joules() == 12.5


def test_nvidias_tools_are_not_asked_about_a_gpu_of_another_maker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_the_bus(monkeypatch, hip="6.4")
    monkeypatch.setattr("bench.devices.cuda.nvml_joules", lambda bus_id: pytest.fail(bus_id))
    assert Cuda().bus_id() is None
    assert Cuda().joules() is None


def test_the_profiler_watches_host_and_device() -> None:
    assert Cuda().activities == ("CPU", "CUDA")


# A real one


@needs_cuda
def test_a_device_that_is_there_says_what_it_is() -> None:
    facts = Cuda().facts()
    assert facts.unavailable is None
    assert facts.name == torch.cuda.get_device_name(0)
    assert Cuda.count() == torch.cuda.device_count() >= 1
    assert facts.memory_bytes > 2**30


@needs_cuda
def test_working_on_a_device_makes_it_the_current_one_and_binds_no_cores() -> None:
    last = torch.cuda.device_count() - 1
    before = torch.cuda.current_device()
    try:
        assert Cuda(last).enter(4) == []
        assert torch.cuda.current_device() == last
    finally:
        torch.cuda.set_device(before)


@needs_cuda
def test_marks_of_a_real_device_come_in_order() -> None:
    clock, matrix = Cuda().clock(), torch.rand(512, 512, device="cuda")
    for _ in range(EVENTS + 5):
        matrix = matrix @ matrix / 256
        clock.mark()
    marks = clock.read()
    assert len(marks) == EVENTS + 5
    assert marks[0] == 0
    assert marks == sorted({*marks}), "work stands between any two"


@needs_cuda
def test_the_peak_is_above_what_was_held() -> None:
    device = Cuda()
    held = torch.ones(2**24, device="cuda")
    device.reset_peak()
    assert device.peak_bytes() == 0
    _ = held + 1
    assert 2**26 <= (device.peak_bytes() or 0) < 2**26 + 2**20
    device.reset_peak()
    assert device.peak_bytes() == 0


@needs_cuda
def test_a_warm_device_takes_no_more_memory_for_libraries() -> None:
    device, stream = Cuda(), torch.cuda.Stream()
    with torch.cuda.stream(stream):
        device.warm_up()
        held = torch.cuda.memory_allocated()
        net, rows = torch.nn.Linear(4, 4, device="cuda"), torch.ones(3, 4, device="cuda")
        torch.nn.functional.mse_loss(net(rows), rows).backward()
        (rows @ rows.T).sum().item()
        del net, rows
    assert torch.cuda.memory_allocated() == held


@needs_cuda
def test_training_uses_energy_where_the_driver_counts_it() -> None:
    device = Cuda()
    before = device.joules()
    if before is None:
        pytest.skip("the driver counts no energy of this GPU, or it is not NVIDIA's")
    loop = build_loop(2**20, device="cuda", optimizer="adam")
    ends = time.monotonic() + 1.0  # the counter moves in steps of a tenth of a second
    while time.monotonic() < ends:
        loop.train_step()
        device.synchronize()
    assert (device.joules() or 0.0) > before
