"""What finds out a ceiling: that it does what it says, on what, and by which clock it is timed."""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.devices import device_named
from bench.devices.cpu import Cpu, WallClock
from bench.matrix.ceiling import ACCELERATOR_WIDTHS, CACHED, QUEUED, TRANSFERS, Ceiling, ceilings
from bench.protocol.messages import CEILING
from bench.protocol.reference_loops import DISPATCH, LARGE_BYTES, MEMORY
from bench.worker.ceilings.microbenchmarks import (
    CHAIN,
    FRESH_BYTES,
    IN_FLIGHT,
    MICROBENCHMARKS,
    Microbenchmark,
    arrays,
)
from bench.worker.ceilings.prepared_ceiling import MAX_CALLS, SAMPLE_NS, PreparedCeiling
from bench.worker.refusals import InvalidCase
from tests.worker.simulation import Costs, SimulatedDevice

ENDS = (CACHED[0], 2**20, CACHED[-1], 64, 512, None)
"""Sizes that stand for all of a CPU's."""
ON_CPU = [
    ceiling
    for ceiling in ceilings("cpu", 1, ["float32", "float64", "bfloat16", "float16"])
    if ceiling.size in ENDS
]
SHUFFLED = [Ceiling("copy", size=2**16), Ceiling("triad", size=2**16)]
PRODUCTS = [Ceiling("matmul", dtype=dtype, size=64) for dtype in ("float32", "float64", "bfloat16")]


def work_of(ceiling: Ceiling) -> float:
    """What one call of it moves, computes or asks for, as METHODOLOGY.md has it."""
    size = ceiling.size or 0
    if ceiling.what in ("copy", "triad"):
        arrays_of = {"copy": 2, "triad": 3}[ceiling.what]
        return size // (4 * arrays_of) * 4 * arrays_of
    if ceiling.what in ("fresh-memory", *TRANSFERS):
        return FRESH_BYTES
    return {"matmul": 2 * size**3, "node": CHAIN - 1, "launch": IN_FLIGHT}.get(ceiling.what, 1)


class Watch(TorchDispatchMode):
    """Notes every operator that runs, with its operands and what comes of it, but for detach,
    which torch adds while it is watched."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if (name := func.overloadpacket.__name__) != "detach":
            self.seen.append((name, args, kwargs or {}, result))
        return result

    @property
    def names(self) -> list[str]:
        return [name for name, *_ in self.seen]


def watched(ceiling: Ceiling, calls: int = 1) -> Watch:
    """So many calls of what finds it out, and what was seen of them."""
    benchmark = MICROBENCHMARKS[ceiling.what](ceiling, device_named(ceiling.device))
    with Watch() as watch:
        benchmark.run(calls)
    return watch


@pytest.mark.parametrize("ceiling", ON_CPU, ids=lambda ceiling: ceiling.id)
def test_every_microbenchmark_of_a_cpu_runs_and_reports_its_work(
    ceiling: Ceiling,
) -> None:
    benchmark = PreparedCeiling(ceiling)
    benchmark.restore()
    timed = benchmark.time(CEILING, 5)
    assert list(timed) == [CEILING]
    assert len(timed[CEILING]) == 5
    assert min(timed[CEILING]) > 0
    prepared = benchmark.prepared()
    assert prepared.ceiling == ceiling.id
    assert prepared.work == prepared.calls * work_of(ceiling)
    assert prepared.calls == MAX_CALLS or (
        prepared.calls < MAX_CALLS and prepared.sample_ns > SAMPLE_NS / 3
    )
    assert prepared.how


def test_a_copy_copies() -> None:
    ceiling = Ceiling("copy", size=2**16)
    source, target = arrays(ceiling, 2)
    target.zero_()
    watch = watched(ceiling, calls=3)
    assert watch.names == ["copy_"] * 3
    assert torch.equal(target, source)
    _, (into, out_of, *_), _, _ = watch.seen[0]
    assert (into.data_ptr(), out_of.data_ptr()) == (target.data_ptr(), source.data_ptr())
    assert 4 * (len(into) + len(out_of)) == ceiling.size
    target.copy_(torch.rand(len(target)))


def test_a_triad_adds_three_times_one_array_to_another() -> None:
    ceiling = Ceiling("triad", size=2**16)
    left, right, target = arrays(ceiling, 3)
    target.zero_()
    watch = watched(ceiling, calls=3)
    assert watch.names == ["add"] * 3
    assert torch.allclose(target, left + 3 * right)
    target.copy_(torch.rand(len(target)))


@pytest.mark.parametrize("ceiling", PRODUCTS, ids=lambda ceiling: ceiling.dtype)
def test_a_product_is_one_of_square_matrices_in_its_dtype(ceiling: Ceiling) -> None:
    ((name, (left, right), _, target),) = watched(ceiling).seen
    assert name == "mm"
    dtype = getattr(torch, ceiling.dtype or "")
    assert {(of.dtype, of.shape) for of in (left, right, target)} == {(dtype, (64, 64))}
    assert torch.allclose(target.double(), left.double() @ right.double(), rtol=0.02, atol=0.2)


def test_an_op_is_one_operator_that_computes() -> None:
    watch = watched(Ceiling("op"), calls=3)
    assert watch.names == ["neg_"] * 3
    number = watch.seen[0][1][0]
    assert number.shape == (1,)
    assert number.item() < 0, "three times negated, of what was not zero"


def test_a_chain_of_nodes_is_gone_through_from_end_to_leaf() -> None:
    benchmark = MICROBENCHMARKS["node"](Ceiling("node"), device_named("cpu"))
    assert benchmark.without is not None
    for run, nodes in ((benchmark.run, CHAIN), (benchmark.without, 1)):
        with Watch() as watch:
            run(2)
        assert watch.names.count("t") == 2 * nodes
        assert set(watch.names) == {"t"}
        assert watch.seen[-1][-1].tolist() == [[1.0]], "the gradient of x is one"


def test_an_allocation_is_of_one_number_and_given_back() -> None:
    watch = watched(Ceiling("allocation"), calls=3)
    assert watch.names == ["empty"] * 3
    assert all(result.shape == (1,) for *_, result in watch.seen)


def test_fresh_memory_is_written_through() -> None:
    ((name, _, _, result),) = watched(Ceiling("fresh-memory")).seen
    assert name == "ones"
    assert result.element_size() * result.numel() == FRESH_BYTES


def test_a_python_call_runs_no_operator_and_is_more_than_the_loop_around_it() -> None:
    assert watched(Ceiling("python-call"), calls=100).seen == []
    benchmark = MICROBENCHMARKS["python-call"](Ceiling("python-call"), device_named("cpu"))
    assert benchmark.without is not None

    def least_ns(run: Callable[[int], object]) -> int:
        took = []
        for _ in range(5):
            started = time.perf_counter_ns()
            run(100_000)
            took.append(time.perf_counter_ns() - started)
        return min(took)

    assert least_ns(benchmark.run) > least_ns(benchmark.without)


@pytest.mark.parametrize("ceiling", SHUFFLED, ids=lambda ceiling: ceiling.what)
def test_bandwidths_take_off_what_the_same_call_costs_for_one_number(ceiling: Ceiling) -> None:
    benchmark = MICROBENCHMARKS[ceiling.what](ceiling, device_named("cpu"))
    assert benchmark.without is not None
    with Watch() as whole:
        benchmark.run(2)
    with Watch() as fixed:
        benchmark.without(2)
    assert fixed.names == whole.names
    assert {result.numel() for *_, result in fixed.seen} == {1}


@pytest.mark.parametrize("ceiling", [*SHUFFLED, *PRODUCTS], ids=lambda ceiling: ceiling.id)
def test_numbers_are_random(ceiling: Ceiling) -> None:
    """Zeros, and numbers that are all the same, may be moved and multiplied faster."""
    _, operands, _, _ = watched(ceiling).seen[0]
    for operand in (value for value in operands if torch.is_tensor(value)):
        assert len(operand.unique()) > min(operand.numel(), 2**8) / 2
        assert operand.count_nonzero() > 0.99 * operand.numel()


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("size", CACHED)
def test_arrays_take_the_bytes_they_should_and_lie_apart(size: int, number: int) -> None:
    """Nor at the same place in their pages, where loads would wait for unrelated stores."""
    parts = list(arrays(Ceiling("copy", size=size), number))
    taken = sum(part.numel() * part.element_size() for part in parts)
    assert size - 4 * number < taken <= size
    assert {part.dtype for part in parts} == {torch.float32}
    places = [(part.data_ptr(), part.data_ptr() + 4 * part.numel()) for part in parts]
    for (_, end), (start, _) in itertools.pairwise(places):
        assert end <= start
    for (one, _), (other, _) in itertools.combinations(places, 2):
        assert 256 <= (other - one) % 4096 <= 4096 - 256


@pytest.mark.parametrize(
    ("ceiling", "loops"),
    [
        (Ceiling("op"), (DISPATCH,)),
        (Ceiling("copy", size=LARGE_BYTES), (DISPATCH,)),
        (Ceiling("triad", size=2 * LARGE_BYTES), (DISPATCH, MEMORY)),
        (Ceiling("matmul", dtype="float32", size=512), (DISPATCH,)),
    ],
    ids=lambda value: value.id if isinstance(value, Ceiling) else "",
)
def test_what_moves_memory_reads_both_reference_loops(
    ceiling: Ceiling, loops: tuple[str, ...]
) -> None:
    assert PreparedCeiling(ceiling, calls=1).reference_loops == loops


class CoarseClock(WallClock):
    """However much is done between two marks, it says the same."""

    def read(self) -> list[int]:
        return [1000 * place for place, _ in enumerate(super().read())]


class CoarseCpu(Cpu):
    def clock(self) -> WallClock:
        return CoarseClock()


@pytest.mark.parametrize(
    "ceiling",
    [Ceiling("node"), Ceiling("python-call"), *SHUFFLED],
    ids=lambda ceiling: ceiling.what,
)
def test_what_takes_no_longer_than_the_call_without_it_is_invalid(
    monkeypatch: pytest.MonkeyPatch, ceiling: Ceiling
) -> None:
    monkeypatch.setattr(
        "bench.worker.ceilings.prepared_ceiling.device_named", lambda name: CoarseCpu()
    )
    monkeypatch.setattr("bench.worker.ceilings.prepared_ceiling.WallClock", CoarseClock)
    with pytest.raises(InvalidCase) as invalid:
        PreparedCeiling(ceiling).time(CEILING, 4)
    assert str(invalid.value) == "the work takes no longer than the call without it"


def on_simulated_device(
    monkeypatch: pytest.MonkeyPatch, device: SimulatedDevice, build: Callable[[], Microbenchmark]
) -> Callable[..., PreparedCeiling]:
    """Makes what `build` makes resident on the device."""

    class Simulated(Cpu):
        def clock(self) -> Any:
            return device

        def synchronize(self) -> None:
            device.synchronize()

    monkeypatch.setattr(
        "bench.worker.ceilings.prepared_ceiling.device_named", lambda name: Simulated()
    )
    monkeypatch.setattr("bench.worker.ceilings.prepared_ceiling.WallClock", device.host_clock)
    monkeypatch.setitem(MICROBENCHMARKS, "op", lambda ceiling, there: build())
    return lambda calls=None: PreparedCeiling(Ceiling("op", "cuda"), calls)


def launching(device: SimulatedDevice, costs: Costs, idle: list[bool]) -> Callable[[int], None]:
    """Notes whether the device was idle when a sample of it began."""

    def run(times: int) -> None:
        idle.append(device.free <= device.host)
        for _ in range(times):
            device.launch(costs)

    return run


def test_what_is_queued_is_timed_by_the_device_while_the_host_runs_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device, idle = SimulatedDevice(latency=300), list[bool]()
    run = launching(device, Costs(host=10, device=2_000), idle)
    make = on_simulated_device(
        monkeypatch, device, lambda: Microbenchmark(run, 1, "so", queued=True)
    )
    benchmark = make()
    assert benchmark.prepared().calls == SAMPLE_NS // 2_000
    device.waits = 0
    assert benchmark.time(CEILING, 6) == {CEILING: [SAMPLE_NS] * 6}
    assert device.waits == 1, "at the end of a block alone"
    assert device.lead > SAMPLE_NS


def test_what_costs_the_host_is_timed_there_and_begins_with_the_device_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device, idle = SimulatedDevice(latency=300), list[bool]()
    run = launching(device, Costs(host=500, device=2_000), idle)
    benchmark = on_simulated_device(monkeypatch, device, lambda: Microbenchmark(run, 1, "so"))()
    assert benchmark.prepared().calls == SAMPLE_NS // 500
    assert benchmark.time(CEILING, 6) == {CEILING: [SAMPLE_NS] * 6}
    assert all(idle)


def test_a_sample_lasts_long_enough_though_a_single_call_lasted_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of one call, waiting for the device is most; of many it is a small share."""
    device = SimulatedDevice(latency=9_000)

    def build() -> Microbenchmark:
        def run(times: int) -> None:
            for _ in range(times):
                device.launch(Costs(host=1_000, device=500))
            device.synchronize()

        return Microbenchmark(run, 1, "so")

    prepared = on_simulated_device(monkeypatch, device, build)().prepared()
    assert SAMPLE_NS <= prepared.sample_ns < 1.1 * SAMPLE_NS
    assert on_simulated_device(monkeypatch, device, build)(calls=7).prepared().calls == 7


def test_no_sample_is_more_calls_than_a_queue_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimulatedDevice()
    run = launching(device, Costs(host=1, device=0), [])
    make = on_simulated_device(monkeypatch, device, lambda: Microbenchmark(run, 1, "so"))
    assert make().prepared().calls == MAX_CALLS


def test_the_cost_of_the_call_without_its_work_is_taken_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device, idle = SimulatedDevice(), list[bool]()

    def build() -> Microbenchmark:
        work, without = (launching(device, Costs(host=cost, device=0), idle) for cost in (700, 200))
        return Microbenchmark(work, 1, "so", without=without)

    benchmark = on_simulated_device(monkeypatch, device, build)(calls=10)
    assert benchmark.time(CEILING, 5) == {CEILING: [5_000] * 5}


def test_one_disturbed_call_without_the_work_spoils_no_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = SimulatedDevice()
    stalls = itertools.cycle([50_000, 0, 0, 0, 0, 0])

    def build() -> Microbenchmark:
        def without(times: int) -> None:
            device.host += 200 * times + next(stalls)

        return Microbenchmark(launching(device, Costs(700, 0), []), 1, "so", without=without)

    benchmark = on_simulated_device(monkeypatch, device, build)(calls=10)
    for _ in range(3):
        assert benchmark.time(CEILING, 4) == {CEILING: [5_000] * 4}


def on_accelerator(kind: str, dtypes: Sequence[str], needs: Any) -> list[Any]:
    ends = (QUEUED[0], QUEUED[-1], ACCELERATOR_WIDTHS[0], None)
    return [
        pytest.param(ceiling, marks=needs, id=ceiling.id)
        for ceiling in ceilings(kind, 1, dtypes)
        if ceiling.size in ends
    ]


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
MPS = pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no mps device")


@pytest.mark.parametrize(
    "ceiling",
    [
        *on_accelerator("cuda", ["float32", "tf32", "bfloat16", "float16", "float64"], CUDA),
        *on_accelerator("mps", ["float32", "bfloat16", "float16"], MPS),
    ],
)
def test_every_microbenchmark_of_an_accelerator_runs_and_reports_its_work(
    ceiling: Ceiling,
) -> None:
    benchmark = PreparedCeiling(ceiling)
    assert len(benchmark.time(CEILING, 5)[CEILING]) == 5
    assert min(benchmark.time(CEILING, 5)[CEILING]) > 0
    work = 2**26 if ceiling.unit == "B" and ceiling.size is None else work_of(ceiling)
    if ceiling.what == "node":
        work = CHAIN - 1
    assert benchmark.prepared().work == benchmark.prepared().calls * work
