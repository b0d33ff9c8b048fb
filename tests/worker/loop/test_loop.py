"""The loop: its gradients and updates against hand-derived ones, and what it converges to."""

import contextlib
import functools
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from bench.matrix.compilation import COMPILATIONS
from bench.matrix.optimizers import LEARNING_RATE, OPTIMIZERS
from bench.matrix.precision import PRECISIONS
from bench.worker import loop as loop_module
from bench.worker.loop import CAPTURE_STEPS, INITIAL_SCALE, Loop, float32_products, loop_over
from sumnet import Step
from sumnet.data import TUTORIAL_PAIRS, Batch, random_batch
from sumnet.model import SumNet, initial_net
from sumnet.train import evaluate
from tests.cases import sumnet
from tests.loops import build_loop, forward, weights

TRAINED = [n for n, spec in OPTIMIZERS.items() if spec.dense and not spec.matrices]
PHASED = [name for name in TRAINED if not OPTIMIZERS[name].closure]

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")


def same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return all(torch.equal(our, their) for our, their in zip(ours, theirs, strict=True))


def train(loop: Loop, steps: int) -> None:
    for _ in range(steps):
        loop.train_step()


def gradients_by_hand(parameters: list[torch.Tensor], batch: Batch) -> list[torch.Tensor]:
    """dL/dW1, dL/db1, dL/dW2, dL/db2 of L = mean((W2 relu(W1 x + b1) + b2 - y)^2)."""
    w1, b1, w2, b2 = parameters
    x, y = batch
    z = x @ w1.T + b1
    a = torch.where(z > 0, z, 0)
    p = a @ w2.T + b2
    dp = 2 * (p - y) / len(y)
    dz = torch.where(z > 0, dp @ w2, 0)
    return [dz.T @ x, dz.sum(0), dp.T @ a, dp.sum(0)]


@pytest.fixture
def broadcasting_loop() -> Loop:
    """The tutorial's first defect: sums of shape (1, 2) beside outputs of shape (2, 1)."""
    model, batch = initial_net(), random_batch(2)
    wrong = batch.sums.view(1, 2)
    step = Step(model, loss=lambda: nn.functional.mse_loss(model(batch.pairs), wrong))
    return loop_over(step, sumnet())


# Gradients and updates


@pytest.mark.parametrize("size", [1, 2, 50])
def test_gradients_agree_with_those_derived_by_hand(size: int) -> None:
    loop = build_loop(size, precision="float64")
    expected = gradients_by_hand(weights(loop), random_batch(size, dtype=torch.float64))
    loop.backward()
    actual = [parameter.grad for parameter in loop.model.parameters()]
    assert all(gradient.any() for gradient in expected), "zeros would agree with anything"
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_sgd_steps_move_each_weight_by_the_learning_rate_times_its_gradient() -> None:
    loop = build_loop(4, optimizer="sgd", lr=0.05, precision="float64")
    for _ in range(3):
        before = weights(loop)
        gradients = gradients_by_hand(before, random_batch(4, dtype=torch.float64))
        expected = [w - 0.05 * g for w, g in zip(before, gradients, strict=True)]
        loop.train_step()
        torch.testing.assert_close(weights(loop), expected, rtol=1e-12, atol=1e-12)


def test_adams_first_step_follows_its_formula() -> None:
    loop = build_loop(4, optimizer="adam", lr=0.05, precision="float64")
    before = weights(loop)
    gradients = gradients_by_hand(before, random_batch(4, dtype=torch.float64))
    expected = [w - 0.05 * g / (g.abs() + 1e-8) for w, g in zip(before, gradients, strict=True)]
    loop.train_step()
    torch.testing.assert_close(weights(loop), expected, rtol=1e-12, atol=1e-12)


def test_forward_gives_the_mean_squared_error_as_a_scalar() -> None:
    loop = build_loop(5, precision="float64")
    loss = forward(loop)
    pairs, sums = random_batch(5, dtype=torch.float64)
    errors = loop.model(pairs) - sums
    assert loss.shape == ()
    torch.testing.assert_close(loss, (errors * errors).sum() / 5, rtol=1e-12, atol=0)


# The phases


@pytest.mark.parametrize("optimizer", PHASED)
def test_train_step_equals_forward_backward_and_step_bit_for_bit(optimizer: str) -> None:
    whole, phased = build_loop(3, optimizer=optimizer), build_loop(3, optimizer=optimizer)
    start = weights(whole)
    for _ in range(5):
        whole.train_step()
        loss = forward(phased)
        phased.phases["backward"](loss)
        phased.phases["step"](None)
    assert same(weights(whole), weights(phased))
    assert not same(weights(whole), start)


def test_only_the_step_phase_changes_the_weights() -> None:
    loop = build_loop()
    start = weights(loop)
    loop.backward()
    assert same(weights(loop), start)
    loop.phases["step"](None)
    assert not same(weights(loop), start)


def test_step_leaves_no_gradients_behind() -> None:
    loop = build_loop()
    loop.backward()
    assert all(parameter.grad is not None for parameter in loop.model.parameters())
    loop.phases["step"](None)
    assert all(parameter.grad is None for parameter in loop.model.parameters())


# How a loop is built


def test_defaults_are_the_tutorials() -> None:
    loop = build_loop()
    given: list[torch.Tensor] = []
    loop.model.register_forward_pre_hook(lambda _, inputs: given.extend(inputs))
    forward(loop)
    assert given[0].tolist() == [list(pair) for pair in TUTORIAL_PAIRS]
    assert type(loop.optimizer) is torch.optim.SGD
    assert loop.optimizer.defaults["lr"] == LEARNING_RATE == 0.01
    assert sum(parameter.numel() for parameter in loop.model.parameters()) == 41


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_starts_from_the_same_weights(precision: str) -> None:
    dtype = getattr(torch, PRECISIONS[precision].parameters)
    reference, other = build_loop(5), build_loop(5, precision=precision)
    assert same([weight.to(dtype) for weight in weights(reference)], weights(other))


def test_weights_are_the_same_whatever_was_drawn_before() -> None:
    reference = weights(build_loop())
    torch.rand(3)
    assert same(weights(build_loop(9, optimizer="adam")), reference)


@pytest.mark.parametrize("table", ["optimizer", "implementation", "precision", "compilation"])
def test_a_name_its_table_lacks_raises_key_error(table: str) -> None:
    with pytest.raises(KeyError, match="quick"):
        build_loop(**{table: "quick"})  # type: ignore[arg-type]


def test_without_a_rate_the_optimizer_has_the_one_for_the_nets_width() -> None:
    own, given = build_loop(hidden=100).optimizer, build_loop(hidden=100, lr=0.5).optimizer
    assert own is not None and own.defaults["lr"] == pytest.approx(LEARNING_RATE / 10)
    assert given is not None and given.defaults["lr"] == 0.5


# An optimizer that calls forward and backward itself


def test_its_step_is_the_whole_training_step_and_leaves_no_gradients() -> None:
    whole, stepped = build_loop(3, optimizer="lbfgs"), build_loop(3, optimizer="lbfgs")
    start = weights(whole)
    for _ in range(5):
        whole.train_step()
        stepped.phases["step"](None)
    assert same(weights(whole), weights(stepped))
    assert not same(weights(whole), start)
    assert all(parameter.grad is None for parameter in whole.model.parameters())


def test_its_first_step_is_against_the_gradient_scaled_to_its_absolute_sum() -> None:
    loop = build_loop(4, optimizer="lbfgs", lr=0.05, precision="float64")
    before = weights(loop)
    gradients = gradients_by_hand(before, random_batch(4, dtype=torch.float64))
    rate = 0.05 * min(1.0, 1 / sum(float(g.abs().sum()) for g in gradients))
    loop.train_step()
    expected = [w - rate * g for w, g in zip(before, gradients, strict=True)]
    torch.testing.assert_close(weights(loop), expected, rtol=1e-12, atol=1e-12)


# Gradients scaled


def test_only_mixed_float16_has_a_scaler() -> None:
    scaled = [name for name in PRECISIONS if build_loop(precision=name).scaler is not None]
    assert scaled == ["amp-float16"]


def test_gradients_are_scaled_up_by_backward_and_down_by_step() -> None:
    plain, scaled = build_loop(precision="float64"), build_loop(precision="amp-float16")
    for loop in (plain, scaled):
        loop.backward()
    for exact, ours in zip(plain.model.parameters(), scaled.model.parameters(), strict=True):
        assert exact.grad is not None and ours.grad is not None
        torch.testing.assert_close(
            ours.grad.double() / INITIAL_SCALE, exact.grad, rtol=0.01, atol=0.01
        )
    for loop in (plain, scaled):
        loop.phases["step"](None)
    moved = [weight.double() for weight in weights(scaled)]
    torch.testing.assert_close(moved, weights(plain), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("optimizer", PHASED)
def test_with_the_scale_we_give_it_the_scaler_skips_no_step(optimizer: str) -> None:
    loop = build_loop(precision="amp-float16", optimizer=optimizer)
    assert loop.scaler is not None
    before = weights(loop)
    loop.train_step()
    assert not same(weights(loop), before)
    train(loop, 20)
    assert loop.scaler.get_scale() == INITIAL_SCALE, "it is lowered with each step that is skipped"


def test_with_torchs_own_scale_the_scaler_skips_the_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.worker.loop.INITIAL_SCALE", 2.0**16)
    loop = build_loop(precision="amp-float16")
    before = weights(loop)
    loop.train_step()
    assert same(weights(loop), before)
    assert loop.scaler is not None and loop.scaler.get_scale() < 2.0**16


# Products of float32 matrices on CUDA


@pytest.fixture(params=[False, True])
def allowed_before(request: pytest.FixtureRequest) -> Iterator[bool]:
    stock = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = request.param
    yield request.param
    torch.backends.cuda.matmul.allow_tf32 = stock


@pytest.mark.parametrize("name", PRECISIONS)
def test_tf32_is_allowed_where_asked_for_and_restored_after(
    name: str, allowed_before: bool
) -> None:
    backend = torch.backends.cuda.matmul
    with float32_products(PRECISIONS[name]):
        assert backend.allow_tf32 == (name == "tf32")
        # torch.compile asks in these words, and raises where the views disagree.
        wanted = "high" if name == "tf32" else "highest"
        assert torch.get_float32_matmul_precision() == wanted
    assert backend.allow_tf32 == allowed_before


def test_tf32_is_restored_after_an_error(allowed_before: bool) -> None:
    other = "float32" if allowed_before else "tf32"
    with pytest.raises(ZeroDivisionError), float32_products(PRECISIONS[other]):
        _ = 1 / 0
    assert torch.backends.cuda.matmul.allow_tf32 == allowed_before


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0),
    reason="no cuda device with tf32",
)
def test_tf32_changes_the_products_of_float32_matrices() -> None:
    matrix = torch.rand(512, 512, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    with float32_products(PRECISIONS["float32"]):
        exact = matrix @ matrix
    with float32_products(PRECISIONS["tf32"]):
        rounded = matrix @ matrix
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, rtol=0.01, atol=0)


# Captured as one CUDA graph


@needs_cuda
@pytest.mark.parametrize(
    ("optimizer", "implementation", "precision"),
    [
        ("sgd", "default", "float32"),
        ("sgd-momentum", "fused", "amp-bfloat16"),
        ("adam", "capturable", "float32"),
    ],
)
def test_replays_of_a_captured_step_train_as_the_eager_loop_does(
    optimizer: str, implementation: str, precision: str
) -> None:
    eager, captured = (
        build_loop(
            64,
            device="cuda",
            optimizer=optimizer,
            implementation=implementation,
            precision=precision,
            compilation=compilation,
        )
        for compilation in ("off", "graph")
    )
    assert (eager.trained, captured.trained) == (0, CAPTURE_STEPS)
    train(eager, captured.trained)
    for _ in range(6):
        before = weights(captured)
        torch.testing.assert_close(before, weights(eager), rtol=1e-3, atol=1e-3)
        captured.train_step()
        eager.train_step()
        assert not same(weights(captured), before)


class FakeStreams:
    """Stands for torch.cuda's streams and graphs: a capture runs what it captures."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.current = SimpleNamespace(name="current", wait_stream=lambda other: None)
        self.made: list[Any] = []
        self.captured_on: list[Any] = []
        cuda = torch.cuda
        monkeypatch.setattr(cuda, "Stream", self._make)
        monkeypatch.setattr(cuda, "stream", self._using)
        monkeypatch.setattr(cuda, "current_stream", lambda device: self.current)
        monkeypatch.setattr(cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
        monkeypatch.setattr(cuda, "graph", self._capturing)
        fresh = functools.cache(loop_module._capture_stream.__wrapped__)
        monkeypatch.setattr(loop_module, "_capture_stream", fresh)

    def _make(self, device: torch.device) -> Any:
        name = f"stream {len(self.made)} of {device}"
        self.made.append(SimpleNamespace(name=name, wait_stream=lambda other: None))
        return self.made[-1]

    @contextlib.contextmanager
    def _using(self, stream: Any) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextlib.contextmanager
    def _capturing(self, graph: Any, stream: Any = None) -> Iterator[None]:
        with self._using(stream or SimpleNamespace(name="torch's own")):
            self.captured_on.append(self.current.name)
            yield


def test_captures_share_one_stream_which_is_ready_before_their_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams, done = FakeStreams(monkeypatch), []
    for _ in range(2):
        model = SumNet()
        model.register_forward_pre_hook(lambda *_: done.append(("step", streams.current.name)))
        pairs, _ = random_batch(4)
        loop_over(
            Step(model, loss=lambda model=model, pairs=pairs: model(pairs).mean()),
            sumnet(compile="graph"),
            before_steps=lambda: done.append(("before", streams.current.name)),
        )
    stream = "stream 0 of cpu"
    steps = [("step", stream)] * (CAPTURE_STEPS + 1)
    assert done == 2 * [("before", "current"), ("before", stream), *steps]
    assert streams.captured_on == [stream] * 2


# Compiled in a mode with CUDA graphs


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What torch is told of steps, among the losses that are computed; nothing is compiled."""
    done: list[str] = []
    monkeypatch.setattr("bench.worker.loop._compile", lambda function, mode: function)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: done.append("begin"))
    compute = nn.MSELoss.forward
    monkeypatch.setattr(
        nn.MSELoss, "forward", lambda *given: done.append("loss") or compute(*given)
    )
    return done


@pytest.mark.parametrize("compilation", [name for name in COMPILATIONS if name != "graph"])
def test_each_step_is_marked_where_its_mode_has_cuda_graphs(
    compilation: str, marks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build_loop(compilation=compilation).train_step()
    assert "begin" not in marks, "a CPU has none"
    monkeypatch.setattr("bench.worker.loop.GRAPH_KINDS", ("cpu",))
    loop = build_loop(compilation=compilation)
    marks.clear()
    train(loop, 3)
    loop.backward()
    loop.phases["step"](None)
    marked = compilation.endswith(("+reduce-overhead", "+max-autotune"))
    assert marks == 4 * (["begin", "loss"] if marked else ["loss"])


# The tutorial's two defects


def test_sums_in_a_row_broadcast_and_the_net_learns_their_mean(
    broadcasting_loop: Loop,
) -> None:
    model, right_batch = broadcasting_loop.model, random_batch(2)
    with pytest.warns(UserWarning, match=r"target size \(torch.Size\(\[1, 2\]\)\)"):
        train(broadcasting_loop, 100)
        hundredth = forward(broadcasting_loop).item()
        train(broadcasting_loop, 900)
        last = forward(broadcasting_loop).item()
    # Each output is pulled towards both sums, 3 and 7: at best it is 5, two away from either.
    assert hundredth > 4
    assert last == pytest.approx(4, abs=0.01)
    assert evaluate(model, right_batch)[1] == pytest.approx([5, 5], abs=0.01)


def test_this_loop_neither_broadcasts_nor_learns_the_mean() -> None:
    loop = build_loop(optimizer="sgd", lr=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(loop, 100)
    hundredth = forward(loop).item()
    train(loop, 900)
    last = forward(loop).item()
    assert hundredth < 0.1
    assert last < 1e-4
