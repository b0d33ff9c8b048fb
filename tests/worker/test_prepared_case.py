"""A prepared case: where every block of it starts, and what it reports of itself."""

import copy
import os
import pkgutil
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch

from bench.devices import probe
from bench.devices.cpu import Cpu
from bench.devices.energy import CounterCheck
from bench.devices.nvml import Unavailable
from bench.matrix.case import WHOLE, Case
from bench.matrix.optimizers import IMPLEMENTATIONS, OPTIMIZERS
from bench.matrix.precision import PRECISIONS
from bench.matrix.step import PHASES
from bench.matrix.support import unsupported_reason
from bench.protocol.messages import PHASES_KIND, WHOLE_KIND, kinds_of
from bench.protocol.reference_loops import DISPATCH, LARGE_BYTES, MEMORY
from bench.worker.dispatch_trace import compiler_counts
from bench.worker.loop import INITIAL_SCALE, Loop, Step, loop_over
from bench.worker.prepared_case import (
    RESTORED_STEPS,
    WARMUP_LEAST,
    WARMUP_WINDOW,
    WARMUP_WINDOW_NS,
    PreparedCase,
    build,
    verified,
)
from bench.worker.refusals import InvalidCase, PhasesUnclear, Unsupported
from bench.worker.steps import Steps
from bench.worker.verify.float64_run import STEPS, expect
from tests.cases import sumnet
from tests.faults.fake_gpu.coarse_clock import CoarseCpu
from tests.loops import SUITE

CXX = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")


@pytest.fixture
def compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def state(loop: Loop) -> dict[str, Any]:
    """A copy of all that training changes, and of the gradients there are."""
    return copy.deepcopy(
        {
            "weights": [parameter.detach() for parameter in loop.model.parameters()],
            "gradients": [parameter.grad for parameter in loop.model.parameters()],
            "optimizer": loop.optimizer.state_dict()["state"],
            "scaler": loop.scaler and loop.scaler.state_dict(),
        }
    )


def same(one: Any, other: Any) -> bool:
    """Bit by bit."""
    if torch.is_tensor(one) and torch.is_tensor(other):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def loop_of(prepared: PreparedCase) -> Loop:
    return prepared._loop


FACTS = probe()
EVERY_IMPLEMENTATION = [
    case
    for optimizer in OPTIMIZERS
    for implementation in IMPLEMENTATIONS
    if unsupported_reason(
        case := sumnet(optimizer=optimizer, implementation=implementation, batch=8), FACTS
    )
    is None
]


@pytest.mark.parametrize(
    "case", EVERY_IMPLEMENTATION, ids=lambda case: f"{case.optimizer}-{case.implementation}"
)
def test_every_block_starts_where_verification_left_the_training(case: Case) -> None:
    prepared = PreparedCase(SUITE, case)
    verified = build(SUITE, case, None, Cpu())
    for _ in range(STEPS):
        verified.train_step()
    for kind in (*kinds_of(case), WHOLE_KIND):
        prepared.restore()
        assert same(state(loop_of(prepared)), state(verified))
        prepared.time(kind, 8)
        assert not same(state(loop_of(prepared)), state(verified))


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adams_step_counters_are_put_back_too(optimizer: str) -> None:
    prepared = PreparedCase(SUITE, sumnet(optimizer=optimizer))
    prepared.time(PHASES_KIND, 8)
    prepared.restore()
    counters = [entry["step"].item() for entry in loop_of(prepared).optimizer.state.values()]
    assert counters == [STEPS] * 4
    prepared.time(WHOLE_KIND, 8)
    counters = [entry["step"].item() for entry in loop_of(prepared).optimizer.state.values()]
    assert counters == [STEPS + 9] * 4


def test_the_history_of_lbfgs_is_put_back_though_it_fills_lists_of_its_own() -> None:
    prepared = PreparedCase(SUITE, sumnet(optimizer="lbfgs", batch=8))
    (entry,) = loop_of(prepared).optimizer.state.values()
    for _ in range(2):
        prepared.restore()
        lengths = {name: len(entry[name]) for name in ("old_dirs", "old_stps", "ro")}
        assert entry["n_iter"] == STEPS
        assert len(set(lengths.values())) == 1
        prepared.time(WHOLE_KIND, 8)
        assert entry["n_iter"] == STEPS + 9
        assert len(entry["old_dirs"]) > lengths["old_dirs"]
    prepared.restore()
    assert {name: len(entry[name]) for name in lengths} == lengths


def test_the_scale_of_a_grad_scaler_is_put_back() -> None:
    prepared = PreparedCase(SUITE, sumnet(dtype="amp-float16"))
    scaler = loop_of(prepared).scaler
    assert scaler is not None
    prepared.restore()
    before = scaler.state_dict()
    scaler.update(4.0)
    prepared.time(WHOLE_KIND, 8)
    assert scaler.state_dict() != before
    prepared.restore()
    assert scaler.state_dict() == before
    assert scaler.get_scale() == INITIAL_SCALE


TWICE = [
    *(sumnet(dtype=dtype, optimizer="sgd-momentum", batch=64) for dtype in PRECISIONS),
    *(sumnet(optimizer=optimizer, batch=64) for optimizer in OPTIMIZERS),
]


@pytest.mark.parametrize(
    "case",
    [case for case in TWICE if unsupported_reason(case, FACTS) is None],
    ids=lambda case: f"{case.dtype}-{case.optimizer}",
)
def test_two_blocks_train_alike_to_the_last_bit(case: Case) -> None:
    prepared = PreparedCase(SUITE, case)
    ends = []
    for _ in range(2):
        prepared.restore()
        prepared.time(WHOLE_KIND, 12)
        ends.append(state(loop_of(prepared)))
    assert same(*ends)


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("dtype", ["tf32", "float32"])
def test_products_of_float32_are_the_cases_in_it_and_as_they_were_after_each_call(
    monkeypatch: pytest.MonkeyPatch, dtype: str, allowed: bool
) -> None:
    backend = torch.backends.cuda.matmul
    seen: list[bool] = []

    def recording(*arguments: Any, **options: Any) -> Loop:
        loop = loop_over(*arguments, **options)
        loop.model.register_forward_pre_hook(lambda *_: seen.append(backend.allow_tf32))
        return loop

    def left_as_it_was() -> bool:
        during = set(seen)
        seen.clear()
        return during == {dtype == "tf32"} and backend.allow_tf32 is allowed

    monkeypatch.setattr("bench.worker.steps.loop_over", recording)
    # A CPU has no tf32 for it to find.
    monkeypatch.setattr("bench.worker.verify.checks.check_tf32", lambda loop: None)
    before = backend.allow_tf32
    backend.allow_tf32 = allowed
    try:
        case = sumnet(dtype=dtype)
        verified(SUITE, case, None)
        assert left_as_it_was()
        prepared = PreparedCase(SUITE, case)
        assert left_as_it_was()
        for kind in kinds_of(case):
            prepared.time(kind, 8)
            assert left_as_it_was()
        prepared.profile()
        assert left_as_it_was()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prepared, "_device", MeteredCpu(1.0, 2.0))
            prepared.measure_energy(0.01, CounterCheck(Cpu()))
        assert left_as_it_was()
        with pytest.raises(InvalidCase):
            PreparedCase(SUITE, case, lr=1e30)
        assert left_as_it_was()
    finally:
        backend.allow_tf32 = before


def test_the_loop_is_built_as_the_case_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def recording(step: Step, case: Case, *, lr: float, **options: Any) -> Loop:
        asked.append((step.samples, case, lr))
        return loop_over(step, case, lr=lr, **options)

    monkeypatch.setattr("bench.worker.steps.loop_over", recording)
    case = sumnet(dtype="float64", batch=5, optimizer="adam", implementation="fused", hidden=7)
    prepared = PreparedCase(SUITE, case, lr=0.02)
    assert asked == [(5, case, 0.02)]
    weight = next(loop_of(prepared).model.parameters())
    assert (weight.shape, weight.dtype) == ((7, 2), torch.float64)
    options = loop_of(prepared).optimizer.defaults
    assert (options["lr"], options["fused"]) == (0.02, True)


class WorkspaceCpu(Cpu):
    """The first product ever takes memory that stays taken; each takes some for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.taken = self.most = self.before = 0

    def multiply(self) -> None:
        self.log.append("product")
        self.taken = 1000
        self.most = max(self.most, self.taken + 7)

    def warm_up(self) -> None:
        self.log.append("warm up")
        self.multiply()

    def reset_peak(self) -> None:
        self.log.append("reset")
        self.before = self.most = self.taken

    def peak_bytes(self) -> int:
        return self.most - self.before


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> WorkspaceCpu:
    """The device of each case that is built, which notes what happens in which order."""
    device = WorkspaceCpu()

    def noting(what: str, note: Callable[[], object]) -> None:
        function = pkgutil.resolve_name(what)

        def noted(*arguments: Any, **options: Any) -> Any:
            note()
            return function(*arguments, **options)

        monkeypatch.setattr(what, noted)

    monkeypatch.setattr("bench.worker.prepared_case.device_named", lambda name: device)
    noting("torch.nn.functional.linear", device.multiply)
    noting("bench.worker.loop.build_optimizer", lambda: device.log.append("optimizer"))
    noting("bench.worker.prepared_case.expect", lambda: device.log.append("reference"))
    return device


@pytest.mark.parametrize("ask", [verified, PreparedCase])
def test_the_peak_is_taken_from_a_warm_device_and_a_net_that_is_complete(
    workspace: WorkspaceCpu, ask: Callable[[Steps, Case, None], object]
) -> None:
    """The reference has its tensors on the CPU, whose peak it would be part of."""
    ask(SUITE, sumnet(), None)
    assert workspace.log[:5] == ["reference", "optimizer", "warm up", "product", "reset"]
    assert workspace.log.count("reset") == 1


def test_a_case_that_is_verified_twice_has_one_peak(workspace: WorkspaceCpu) -> None:
    """What libraries take once for a process is none of the case that came first."""
    assert [verified(SUITE, sumnet(), None).peak_bytes for _ in range(2)] == [7, 7]


@pytest.mark.parametrize(
    ("compilation", "dropped"),
    [
        ("off", False),
        ("on", False),
        ("graph", False),
        ("on+reduce-overhead", True),
        ("loss+max-autotune", True),
    ],
)
def test_workspaces_are_given_back_before_a_mode_that_does_so_itself(
    compilation: str, dropped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what torch frees before it records a graph would hide as much of the steps' own."""
    log: list[str] = []
    device = SimpleNamespace(
        **{name: partial(log.append, name) for name in ("warm_up", "drop_workspaces", "reset_peak")}
    )
    steps = SimpleNamespace(loop=lambda case, *, lr, before_steps: before_steps())
    build(steps, sumnet(device="cuda", compile=compilation), None, device)  # type: ignore[arg-type]
    assert log == ["warm_up", *["drop_workspaces"] * dropped, "reset_peak"]


def test_a_case_verified_elsewhere_is_held_to_what_was_expected_of_it() -> None:
    expected = expect(sumnet(batch=3))
    assert PreparedCase(SUITE, sumnet(batch=3), expected=expected).prepared().verified is not None
    with pytest.raises(InvalidCase):
        PreparedCase(SUITE, sumnet(batch=4), expected=expected)


def test_a_case_can_be_verified_and_let_go() -> None:
    case = sumnet(optimizer="adam")
    seen, kept = verified(SUITE, case, None), PreparedCase(SUITE, case).prepared().verified
    assert kept is not None
    assert seen == msgspec.structs.replace(kept, peak_bytes=seen.peak_bytes)


def test_a_block_holds_the_series_of_its_kind() -> None:
    prepared = PreparedCase(SUITE, sumnet())
    phases, whole = prepared.time(PHASES_KIND, 9), prepared.time(WHOLE_KIND, 11)
    assert {series: len(values) for series, values in phases.items()} == dict.fromkeys(PHASES, 9)
    assert {series: len(values) for series, values in whole.items()} == {WHOLE: 11}


def test_a_synchronised_step_is_one_step_of_the_training() -> None:
    prepared = PreparedCase(SUITE, sumnet(optimizer="adam"))
    prepared.restore()
    for steps in (1, 2, 3):
        prepared.synchronised_step()
        counters = {entry["step"].item() for entry in loop_of(prepared).optimizer.state.values()}
        assert counters == {STEPS + steps}


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_profile_says_what_each_phase_does_and_leaves_the_state_as_it_was(
    optimizer: str,
) -> None:
    case = sumnet(optimizer=optimizer, batch=8)
    prepared = PreparedCase(SUITE, case)
    prepared.restore()
    before = state(loop_of(prepared))["weights"]
    profile = prepared.profile()
    assert tuple(profile.phases) == (case.phases or (WHOLE,))
    assert all(phase.ops + phase.nodes > 0 for phase in profile.phases.values())
    assert profile.busy_ns is None, "a profiler sees no kernels of a CPU"
    prepared.restore()
    assert same(state(loop_of(prepared))["weights"], before)


class MeteredCpu(Cpu):
    """Its energy counter shows these, one after another."""

    def __init__(self, *shown: float | None) -> None:
        super().__init__()
        self.shown = iter(shown)

    def joules(self) -> float | None:
        return next(self.shown)


def metered(monkeypatch: pytest.MonkeyPatch, case: Case, *shown: float | None) -> PreparedCase:
    monkeypatch.setattr("bench.worker.prepared_case.device_named", lambda name: MeteredCpu(*shown))
    return PreparedCase(SUITE, case)


def test_energy_is_what_the_counter_grew_by_while_it_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared = metered(monkeypatch, sumnet(optimizer="adam"), 100.0, 112.5)
    prepared.restore()
    before, steps = state(loop_of(prepared)), Counter[str]()
    weight = loop_of(prepared).model[0].weight
    loop_of(prepared).optimizer.register_step_post_hook(
        lambda optimizer, *_: steps.update([str(optimizer.state[weight]["step"].item())])
    )
    spent = prepared.measure_energy(0.05, CounterCheck(Cpu()))
    assert spent.case == sumnet(optimizer="adam").id
    assert spent.joules == 12.5
    assert spent.elapsed_ns >= 5e7
    assert spent.steps == steps.total()
    assert set(steps) == {str(float(STEPS + n)) for n in range(1, RESTORED_STEPS + 1)}
    assert same(state(loop_of(prepared))["optimizer"], before["optimizer"])


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ((None,), "^cpu has no energy counter"),
        ((100.0, 100.0), "did not advance"),
        ((100.0, None), "did not advance"),
    ],
)
def test_energy_without_an_advancing_counter_is_unsupported(
    monkeypatch: pytest.MonkeyPatch, shown: tuple[float | None, ...], reason: str
) -> None:
    with pytest.raises(Unsupported, match=reason):
        metered(monkeypatch, sumnet(), *shown).measure_energy(0.01, CounterCheck(Cpu()))


class OnTheBus(MeteredCpu):
    """A device that NVML may know."""

    def bus_id(self) -> str:
        return "0000:3B:00.0"


def test_energy_that_the_driver_does_not_tell_or_contradicts_is_unsupported_for_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared = metered(monkeypatch, sumnet(), 100.0, 112.5)
    for reason in ("it is a MIG instance", "120 J, and its power readings add up to 240 J"):

        def untold(train: object, reason: str = reason) -> None:
            raise Unavailable(reason)

        counter = CounterCheck(Cpu())
        monkeypatch.setattr(counter, "unchecked", untold)
        with pytest.raises(Unsupported, match=f"^{reason}$"):
            prepared.measure_energy(0.01, counter)


def test_energy_says_why_its_counter_was_not_checked_and_trains_for_the_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[int] = []

    def unchecked(train: Callable[[float, Callable[[], None]], int]) -> str:
        assert train(0.01, lambda: called.append(1)) >= RESTORED_STEPS
        return "no power"

    counter = CounterCheck(Cpu())
    monkeypatch.setattr(counter, "unchecked", unchecked)
    spent = metered(monkeypatch, sumnet(), 100.0, 112.5).measure_energy(0.01, counter)
    assert (spent.joules, spent.unchecked) == (12.5, "no power")
    assert len(called) >= 2, "before the first steps, and after them"


def test_phases_that_the_clock_cannot_tell_apart_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.worker.prepared_case.device_named", lambda name: CoarseCpu())
    prepared = PreparedCase(SUITE, sumnet())
    assert prepared.prepared().step_ns == 333, "a step, of three"
    with pytest.raises(PhasesUnclear, match=" backward "):
        prepared.time(PHASES_KIND, 8)


def test_a_resident_case_says_how_it_was_prepared() -> None:
    case = sumnet(batch=3)
    prepared = PreparedCase(SUITE, case).prepared()
    assert prepared.case == case.id
    assert prepared.step_ns > 0
    others = prepared.warmup_steps - (WARMUP_LEAST + 1)
    assert others > 0, "one window to compare with another"
    assert others % (WARMUP_WINDOW + 1) == 0
    assert prepared.reference_loops == (DISPATCH,)
    assert prepared.verified is not None
    assert prepared.verified.expected == expect(case)
    assert prepared.verified.path == "for-loop"


def test_the_reference_loops_of_a_case_follow_from_its_activations() -> None:
    rows = LARGE_BYTES // (4 * 10)
    assert PreparedCase(SUITE, sumnet(batch=rows)).reference_loops == (DISPATCH,)
    assert PreparedCase(SUITE, sumnet(batch=rows + 1)).reference_loops == (DISPATCH, MEMORY)
    assert PreparedCase(SUITE, sumnet(batch=rows // 8, hidden=100)).reference_loops == (
        DISPATCH,
        MEMORY,
    )


def test_warming_up_goes_on_as_long_as_steps_get_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    medians = iter([1000, 900, 800, 700, 690, 695, 100])
    monkeypatch.setattr(
        "bench.worker.prepared_case.time_block",
        lambda loop, watch, kind, samples: {WHOLE: [next(medians)] * samples},
    )
    prepared = PreparedCase(SUITE, sumnet()).prepared()
    assert prepared.step_ns == 690, "twice it fell by less than 3 % of 700"
    assert prepared.warmup_steps == WARMUP_LEAST + 1 + 5 * (WARMUP_WINDOW + 1)


def test_windows_of_slow_steps_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []

    def time_block(loop: object, watch: object, kind: str, samples: int) -> dict[str, list[int]]:
        counts.append(samples)
        return {WHOLE: [WARMUP_WINDOW_NS // 6] * samples}

    monkeypatch.setattr("bench.worker.prepared_case.time_block", time_block)
    PreparedCase(SUITE, sumnet())
    assert counts == [WARMUP_LEAST, 6, 6]


def test_warming_up_ends_after_its_time_though_steps_get_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    medians = iter([10**9 // 2**n for n in range(1, 30)])
    monkeypatch.setattr(
        "bench.worker.prepared_case.time_block",
        lambda loop, watch, kind, samples: {WHOLE: [next(medians)] * samples},
    )
    assert PreparedCase(SUITE, sumnet()).prepared().warmup_steps == WARMUP_LEAST + 1


def test_a_case_that_does_not_learn_is_not_resident() -> None:
    with pytest.raises(InvalidCase, match=f"after {STEPS} steps"):
        PreparedCase(SUITE, sumnet(), lr=1e30)


def test_a_compiled_case_that_captured_nothing_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    def eager(step: Step, case: Case, **options: Any) -> Loop:
        return loop_over(step, case.but({"compile": "off"}), **options)

    monkeypatch.setattr("bench.worker.steps.loop_over", eager)
    with pytest.raises(InvalidCase) as invalid:
        PreparedCase(SUITE, sumnet(compile="on"))
    assert str(invalid.value) == "torch.compile captured nothing of the loss"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(CXX), reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_compiled_case_starts_every_block_alike_and_compiles_nothing_more(
    compiler: None, optimizer: str
) -> None:
    prepared = PreparedCase(SUITE, sumnet(compile="on", optimizer=optimizer))
    verified = prepared.prepared().verified
    assert verified is not None
    assert (verified.graphs.loss, verified.graphs.step) == (1, 1)
    prepared.restore()
    before, graphs = state(loop_of(prepared)), compiler_counts().graphs
    ends = []
    for _ in range(2):
        prepared.restore()
        assert same(state(loop_of(prepared)), before)
        prepared.time(PHASES_KIND, 8)
        ends.append(state(loop_of(prepared)))
    assert same(*ends)
    assert not same(ends[0], before)
    assert compiler_counts().graphs == graphs


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
MPS = pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no mps device")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(sumnet(device="cuda", optimizer="adam"), marks=CUDA, id="cuda"),
        pytest.param(sumnet(device="cuda", dtype="amp-float16"), marks=CUDA, id="cuda-scaled"),
        pytest.param(sumnet(device="cuda", compile="graph"), marks=CUDA, id="cuda-graph"),
        pytest.param(sumnet(device="mps", optimizer="adam"), marks=MPS, id="mps"),
    ],
)
def test_a_device_that_is_fed_starts_every_block_alike(case: Case) -> None:
    prepared = PreparedCase(SUITE, case)
    prepared.restore()
    before = state(loop_of(prepared))
    for kind in kinds_of(case):
        timed = prepared.time(kind, 8)
        assert [len(values) for values in timed.values()] == [8] * len(timed)
        assert not same(state(loop_of(prepared)), before)
        prepared.restore()
        assert same(state(loop_of(prepared)), before)


@CUDA
@pytest.mark.parametrize("compile", ["off", "graph"])
def test_the_profile_of_a_cuda_case_says_how_long_it_is_busy_and_with_what(compile: str) -> None:
    profile = PreparedCase(SUITE, sumnet(device="cuda", batch=2**16, compile=compile)).profile()
    assert (profile.busy_ns or 0) > 0
    for phase in profile.phases.values():
        assert 0 < phase.launches <= phase.kernels
        assert phase.kernels_ns is not None and phase.busy_ns is not None
        assert phase.kernels_ns >= phase.busy_ns > 0
