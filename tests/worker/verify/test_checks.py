"""Verification: a case that is not what it says, or does not learn, is never timed."""

import dataclasses
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator

import msgspec
import pytest
import torch
from torch.nn.functional import mse_loss

from bench.devices import probe
from bench.devices.cpu import Cpu
from bench.matrix.case import Case
from bench.matrix.optimizers import OPTIMIZERS
from bench.matrix.precision import PRECISIONS
from bench.matrix.presets import select
from bench.matrix.support import unsupported_reason
from bench.protocol.verified import Expected, Graphs, Verified
from bench.worker.loop import Loop, float32_products, loop_over
from bench.worker.prepared_case import build, verified
from bench.worker.refusals import InvalidCase
from bench.worker.verify.checks import HOOK_BREAK, check_graphs, verify
from bench.worker.verify.float64_run import STEPS, expect
from sumnet.data import random_batch
from sumnet.model import SumNet, initial_net
from sumnet.steps import Step
from tests.cases import sumnet
from tests.loops import SUITE, TRAINABLE, build_loop, forward, update

CPU = Cpu()
UNDERFLOWING = ("adam", "adamw", "adagrad", "adamax", "nadam", "radam", "rmsprop")
"""Their eps of 1e-8 or less is 0 in float16, and they divide by gradients that are 0."""
EAGER = Graphs(loss=0, step=0, recompiled=0, breaks=(), skips=0)
CXX = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
needs_compiler = pytest.mark.skipif(
    not shutil.which(CXX), reason="torch.compile needs a C++ compiler"
)
quiet = pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")


@pytest.fixture
def compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def passed(
    case: Case, loop: Loop, *, lr: float | None = None, expected: Expected | None = None
) -> Verified:
    return verify(case, loop, CPU, expected or expect(case, lr))


def refusal(
    case: Case, loop: Loop, *, lr: float | None = None, expected: Expected | None = None
) -> str:
    with pytest.raises(InvalidCase) as invalid:
        passed(case, loop, lr=lr, expected=expected)
    return str(invalid.value)


def loop_of(model: SumNet, case: Case, first: float = 1.0) -> Loop:
    """The loop of another net over the tutorial's pairs, or pairs that begin otherwise."""
    pairs, sums = random_batch(2)
    pairs[0, 0] = first
    step = Step(model, loss=lambda: mse_loss(model(pairs), sums), samples=2)
    return loop_over(step, case)


def with_phase(loop: Loop, **phases: Callable[..., object]) -> Loop:
    """The loop with another call for some of its phases."""
    return dataclasses.replace(loop, phases={**loop.phases, **phases})


def strays(reason: str) -> bool:
    """Whether the reason is a training that went another way than the reference's."""
    return f" after {STEPS} steps" in reason and "may differ by" in reason


# Cases that stand


FACTS = probe()
STANDING = [
    case
    for optimizer in TRAINABLE
    for dtype in PRECISIONS
    if unsupported_reason(case := sumnet(dtype=dtype, batch=64, optimizer=optimizer), FACTS) is None
    and not (dtype == "float16" and optimizer in UNDERFLOWING)
]


@pytest.mark.parametrize("case", STANDING, ids=lambda case: f"{case.optimizer}-{case.dtype}")
def test_a_case_that_is_what_it_says_passes(case: Case) -> None:
    seen = passed(case, build(SUITE, case, None, CPU))
    assert abs(seen.ratio - seen.expected.ratio) <= seen.expected.tolerance
    assert 0 <= seen.ratio < 1
    assert seen.expected == expect(case)
    assert seen.products == PRECISIONS[case.dtype].products
    assert seen.graphs == EAGER


@pytest.mark.parametrize(
    ("optimizer", "implementation", "path"),
    [
        ("adam", "for-loop", "for-loop"),
        ("adam", "foreach", "foreach"),
        ("adam", "fused", "fused"),
        ("adam", "default", "for-loop"),
        ("asgd", "foreach", "foreach"),
        ("adagrad", "fused", "fused"),
        ("lbfgs", "default", "closure"),
    ],
)
def test_it_reports_the_implementation_that_ran(
    optimizer: str, implementation: str, path: str
) -> None:
    case = sumnet(optimizer=optimizer, implementation=implementation)
    assert passed(case, build(SUITE, case, None, CPU)).path == path


def test_every_eager_case_of_the_quick_preset_passes() -> None:
    cases = [case for case in select("quick", {}) if case.kind == "cpu"]
    for case in cases:
        if not case.compilation.compiles and case.dtype != "tf32":
            passed(case, build(SUITE, case, None, CPU))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_it_takes_exactly_its_steps_and_leaves_no_gradient(optimizer: str) -> None:
    checked, trained = build_loop(optimizer=optimizer), build_loop(optimizer=optimizer)
    passed(sumnet(optimizer=optimizer), checked)
    for _ in range(STEPS):
        trained.train_step()
    for ours, theirs in zip(checked.model.parameters(), trained.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.grad is None


def test_a_reference_that_is_given_is_the_one_that_counts() -> None:
    given = expect(sumnet(batch=8))
    assert refusal(sumnet(), build_loop(), expected=given).startswith("first loss")
    assert passed(sumnet(batch=8), build_loop(8), expected=given).expected is given


def test_a_rate_that_is_given_is_the_references_too() -> None:
    seen = passed(sumnet(), build_loop(lr=0.003), lr=0.003)
    assert seen.expected == expect(sumnet(), 0.003)


# Where it is


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps"])
def test_a_loop_that_stayed_on_the_cpu_is_invalid(device: str) -> None:
    assert refusal(sumnet(device=device), build_loop()) == f"0.weight is on cpu, not on {device}"


def test_a_loop_on_another_device_than_the_cpu_is_invalid() -> None:
    assert refusal(sumnet(), build_loop(device="meta")) == "0.weight is on meta, not on cpu"


# In which dtype


@pytest.mark.parametrize("said", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("done", ["float32", "float64", "bfloat16", "float16"])
def test_a_case_in_another_dtype_than_it_says_is_invalid(said: str, done: str) -> None:
    loop = build_loop(precision=done)
    if said == done:
        passed(sumnet(dtype=said), loop)
    else:
        assert refusal(sumnet(dtype=said), loop) == f"0.weight is torch.{done}, not torch.{said}"


def test_parameters_in_another_dtype_are_invalid_and_named() -> None:
    """The net computes in float64, and only its data are float32."""
    loop = build_loop()
    loop.model.double()
    loop.model.register_forward_pre_hook(lambda model, inputs: (inputs[0].double(),))
    assert refusal(sumnet(), loop) == "0.weight is torch.float64, not torch.float32"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_autocast_that_was_disabled_is_invalid(dtype: str) -> None:
    reason = refusal(sumnet(dtype=f"amp-{dtype}"), build_loop())
    assert reason == f"matrix products ran in float32, not in {dtype}"


def test_an_autocast_that_nobody_asked_for_is_invalid() -> None:
    reason = refusal(sumnet(), build_loop(precision="amp-bfloat16"))
    assert reason == "matrix products ran in bfloat16, not in float32"


def test_an_autocast_of_half_the_net_is_invalid() -> None:
    class Half(SumNet):
        def forward(self, pairs: torch.Tensor) -> torch.Tensor:
            hidden = self[1](self[0](pairs))
            with torch.autocast("cpu", enabled=False):
                outputs: torch.Tensor = self[2](hidden.float())
            return outputs

    model = Half()
    model.load_state_dict(build_loop().model.state_dict())
    case = sumnet(dtype="amp-bfloat16")
    reason = refusal(case, loop_of(model, case))
    assert reason == "matrix products ran in bfloat16 and float32, not in bfloat16"


def test_tf32_that_changes_no_product_is_invalid() -> None:
    """A CPU has no tf32, whatever it is asked for."""
    with float32_products(PRECISIONS["tf32"]):
        reason = refusal(sumnet(dtype="tf32"), build_loop(precision="tf32"))
    assert reason == "tf32 changes no bit of the loss: the products ran in float32"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
def test_cuda_multiplies_wide_matrices_in_tf32() -> None:
    case = sumnet(device="cuda", dtype="tf32", batch=1024, hidden=256)
    assert verified(SUITE, case, None).products == "float32"


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no mps device")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "amp-float16"])
def test_mps_trains_as_the_reference_does(dtype: str) -> None:
    assert (
        verified(SUITE, sumnet(device="mps", dtype=dtype), None).products
        == PRECISIONS[dtype].products
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "amp-float16"])
@pytest.mark.parametrize("implementation", ["for-loop", "foreach", "fused", "capturable"])
def test_cuda_trains_as_the_reference_does(dtype: str, implementation: str) -> None:
    case = sumnet(device="cuda", dtype=dtype, optimizer="adamax", implementation=implementation)
    if implementation == "fused":
        case = sumnet(device="cuda", dtype=dtype, implementation=implementation)
    seen = verified(SUITE, case, None)
    assert seen.products == PRECISIONS[dtype].products
    assert implementation in seen.path
    assert seen.peak_bytes


def test_a_grad_scaler_that_skipped_steps_is_invalid() -> None:
    loop = build_loop(precision="amp-float16")
    assert loop.scaler is not None
    loop.scaler.load_state_dict(loop.scaler.state_dict() | {"scale": 2.0**24})
    reason = refusal(sumnet(dtype="amp-float16"), loop)
    assert reason == "the GradScaler skipped steps: gradients overflowed float16"


# By which optimizer


@pytest.mark.parametrize("asked", ["foreach", "fused"])
def test_a_for_loop_where_another_implementation_was_asked_for_is_invalid(asked: str) -> None:
    case = sumnet(optimizer="adam", implementation=asked)
    reason = refusal(case, build_loop(optimizer="adam", implementation="for-loop"))
    assert reason == f"the optimizer's step ran as for-loop, not as {asked}"


@pytest.mark.parametrize(
    ("asked", "ran"),
    [("for-loop", "foreach"), ("for-loop", "fused"), ("fused", "foreach"), ("foreach", "fused")],
)
def test_another_implementation_than_the_one_asked_for_is_invalid(asked: str, ran: str) -> None:
    case = sumnet(optimizer="adam", implementation=asked)
    reason = refusal(case, build_loop(optimizer="adam", implementation=ran))
    assert reason == f"the optimizer's step ran as {ran}, not as {asked}"


def test_an_optimizer_that_is_not_capturable_is_refused_as_such() -> None:
    case = sumnet(optimizer="adam", implementation="capturable")
    assert "capturable" in refusal(case, build_loop(optimizer="adam"))


@pytest.mark.parametrize(
    ("said", "done"),
    [
        ("sgd", "sgd-momentum"),
        ("sgd", "asgd"),
        ("adam", "adamw"),
        ("adamw", "adam"),
        ("nadam", "radam"),
        ("rprop", "rmsprop"),
        ("adagrad", "adadelta"),
        ("adafactor", "adamax"),
        ("lbfgs", "sgd"),
        ("sgd", "lbfgs"),
    ],
)
def test_an_optimizer_that_is_another_one_is_invalid(said: str, done: str) -> None:
    refusal(sumnet(optimizer=said), build_loop(optimizer=done))


@pytest.mark.parametrize("optimizer", [name for name in TRAINABLE if name != "rprop"])
@pytest.mark.parametrize("times", [0.5, 2.0])
def test_a_learning_rate_that_is_twice_or_half_what_it_should_be_is_invalid(
    optimizer: str, times: float
) -> None:
    case = sumnet(optimizer=optimizer, batch=64)
    rate = OPTIMIZERS[optimizer].lr * times
    assert strays(refusal(case, build_loop(64, optimizer=optimizer, lr=rate)))


def test_a_learning_rate_that_does_not_narrow_with_the_width_is_invalid() -> None:
    case = sumnet(optimizer="adam", hidden=20)
    reason = refusal(case, build_loop(hidden=20, optimizer="adam", lr=OPTIMIZERS["adam"].lr))
    assert strays(reason)


@pytest.mark.parametrize("optimizer", UNDERFLOWING)
def test_an_optimizer_whose_eps_underflows_is_invalid_in_float16(optimizer: str) -> None:
    case = sumnet(dtype="float16", optimizer=optimizer)
    reason = refusal(case, build_loop(optimizer=optimizer, precision="float16"))
    assert reason == f"the loss is nan after {STEPS} steps"


# Whether it learns


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_forward_that_gives_no_finite_loss_is_invalid_though_its_gradients_are_right(
    value: float,
) -> None:
    loop = build_loop()
    wrong = with_phase(loop, forward=lambda _: forward(loop) + value)
    reason = refusal(sumnet(), wrong)
    assert reason == f"first loss {value}, 32.8109 in a float64 reference"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_forward_that_gives_another_loss_is_invalid_though_its_gradients_are_right(
    dtype: str,
) -> None:
    loop = build_loop(precision=dtype)
    wrong = with_phase(loop, forward=lambda _: forward(loop) + 3)
    assert refusal(sumnet(dtype=dtype), wrong).startswith("first loss 35.")


def test_a_loss_that_becomes_nan_is_invalid() -> None:
    reason = refusal(sumnet(), build_loop(lr=1e30))
    assert reason in (f"the loss is {value} after {STEPS} steps" for value in ("nan", "inf"))


def test_a_rate_at_which_the_reference_diverges_too_is_invalid() -> None:
    assert "the loss is" in refusal(sumnet(), build_loop(lr=1e30), lr=1e30)


def test_nan_in_the_data_is_invalid() -> None:
    loop = loop_of(initial_net(), sumnet(), first=math.nan)
    assert refusal(sumnet(), loop).startswith("first loss nan")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_loss_that_does_not_fall_is_invalid_in_every_dtype(dtype: str) -> None:
    assert strays(refusal(sumnet(dtype=dtype), build_loop(lr=1e-9, precision=dtype)))


def test_a_loss_that_rises_as_the_references_does_is_invalid() -> None:
    reason = refusal(sumnet(optimizer="adam"), build_loop(optimizer="adam", lr=10.0), lr=10.0)
    assert reason.startswith("the loss does not fall: ")


def test_a_loss_that_rises_is_invalid() -> None:
    loop = build_loop()

    def uphill() -> None:
        loop.phases["backward"](-0.05 * forward(loop))
        update(loop)

    assert strays(refusal(sumnet(), dataclasses.replace(loop, train_step=uphill)))


def test_a_whole_step_that_does_nothing_is_invalid() -> None:
    idle = dataclasses.replace(build_loop(), train_step=lambda: None)
    assert strays(refusal(sumnet(), idle))


@pytest.mark.parametrize("skipped", range(1, 4))
def test_a_whole_step_that_does_less_now_and_then_is_invalid(skipped: int) -> None:
    loop = build_loop()
    calls = 0

    def lazy() -> None:
        nonlocal calls
        calls += 1
        if calls > skipped:
            loop.train_step()

    assert strays(refusal(sumnet(), dataclasses.replace(loop, train_step=lazy)))


def test_a_backward_that_leaves_no_gradient_is_invalid() -> None:
    wrong = with_phase(build_loop(), backward=lambda loss: None)
    assert refusal(sumnet(), wrong) == "backward left no gradient on 0.weight"


def test_one_parameter_without_a_gradient_is_invalid_and_named() -> None:
    loop = build_loop()
    loop.model[2].bias.requires_grad_(False)
    assert refusal(sumnet(), loop) == "backward left no gradient on 2.bias"


# Whether it is compiled


@pytest.mark.slow
@needs_compiler
@quiet
@pytest.mark.parametrize(
    ("compilation", "loss", "step", "path"),
    [("loss", 1, 0, "for-loop"), ("step", 0, 1, "compiled"), ("on", 1, 1, "compiled")],
)
def test_a_compiled_case_passes_and_reports_its_graphs(
    compiler: None, compilation: str, loss: int, step: int, path: str
) -> None:
    case = sumnet(compile=compilation)
    seen = passed(case, build(SUITE, case, None, CPU))
    assert (seen.graphs.loss, seen.graphs.step, seen.path) == (loss, step, path)
    assert seen.products == "float32"
    assert seen.graphs.skips == 0


@pytest.mark.parametrize(("compilation", "what"), [("on", "loss"), ("loss", "loss"), ("step",) * 2])
def test_an_eager_loop_whose_case_says_compiled_is_invalid(compilation: str, what: str) -> None:
    reason = refusal(sumnet(compile=compilation), build_loop())
    assert reason == f"torch.compile captured nothing of the {what}"


@pytest.mark.slow
@needs_compiler
@quiet
@pytest.mark.parametrize(("compiled", "missing"), [("loss", "step"), ("step", "loss")])
def test_half_of_what_should_be_compiled_is_invalid(
    compiler: None, compiled: str, missing: str
) -> None:
    reason = refusal(sumnet(compile="on"), build_loop(compilation=compiled))
    assert reason == f"torch.compile captured nothing of the {missing}"


@pytest.mark.slow
@needs_compiler
@quiet
@pytest.mark.parametrize("said", ["off", "loss", "step"])
def test_a_compiled_loop_whose_case_says_less_is_invalid(compiler: None, said: str) -> None:
    assert "torch.compile" in refusal(sumnet(compile=said), build_loop(compilation="on"))


class Broken(SumNet):
    """torch.compile is made to stop in the middle."""

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        hidden = self[0](pairs)
        torch._dynamo.graph_break()
        outputs: torch.Tensor = self[2](self[1](hidden))
        return outputs


class Printing(SumNet):
    """torch.compile cannot capture a value that is asked for."""

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        hidden = self[0](pairs)
        if hidden.sum().item() > 1e9:
            hidden = hidden + 1
        outputs: torch.Tensor = self[2](self[1](hidden))
        return outputs


@needs_compiler
@quiet
@pytest.mark.parametrize("build_model", [Broken, Printing])
@pytest.mark.parametrize("compilation", ["loss", "on"])
@pytest.mark.slow
def test_a_compiled_loss_whose_graph_breaks_is_invalid(
    compiler: None, build_model: Callable[[], SumNet], compilation: str
) -> None:
    model = build_model()
    model.load_state_dict(build_loop().model.state_dict())
    case = sumnet(compile=compilation)
    reason = refusal(case, loop_of(model, case))
    assert reason.startswith("torch.compile broke the graph, and parts run eager: ")


@pytest.mark.slow
@needs_compiler
@quiet
def test_a_fused_step_that_is_said_to_be_compiled_is_invalid(compiler: None) -> None:
    case = sumnet(optimizer="adam", implementation="fused", compile="on")
    reason = refusal(case, build(SUITE, case, None, CPU))
    assert reason == "torch.compile captured nothing of the step"


def test_a_mode_whose_cuda_graphs_were_skipped_is_the_default_under_another_name() -> None:
    case = sumnet(device="cuda", compile="on+reduce-overhead")
    graphs = Graphs(loss=1, step=1, recompiled=0, breaks=(HOOK_BREAK,), skips=0)
    check_graphs(case, graphs)
    with pytest.raises(InvalidCase, match="skipped 2 CUDA graphs"):
        check_graphs(case, msgspec.structs.replace(graphs, skips=2))
