"""The reference training loop: forward, backward, step.

forward is the model and its loss, backward is `loss.backward()`, step is the optimizer's step and
the clearing of gradients. Nothing in the loop copies a value back to the host, unless the optimizer
or a GradScaler does.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn

from bench.matrix.compilation import COMPILATIONS, GRAPH_KINDS, GRAPH_MODES, Compilation
from bench.matrix.optimizers import OPTIMIZERS, build_optimizer, learning_rate
from bench.matrix.precision import PRECISIONS, Precision
from sumnet.data import Batch, batch_from_pairs, random_batch
from sumnet.model import SumNet

P = ParamSpec("P")
R = TypeVar("R")

Backward = Callable[[torch.Tensor], None]

INITIAL_SCALE = 2.0**8
"""Of the loss, under a GradScaler: at its own 2^16 the first gradients of the tutorial's pairs
overflow float16, and their steps are skipped."""
CAPTURE_STEPS = 3
"""Training steps before a CUDA graph is captured, as torch's notes on CUDA graphs have it."""


@dataclass(frozen=True)
class TrainingLoop:
    """One net, its optimizer and its batch, with each phase as a callable of its own."""

    model: SumNet
    optimizer: torch.optim.Optimizer
    batch: Batch
    forward: Callable[[], torch.Tensor]
    backward: Backward
    step: Callable[[], None]
    train_step: Callable[[], None]
    """The whole loop body: forward, backward, step."""
    scaler: torch.amp.GradScaler | None = None
    trained: int = 0
    """Steps of training that building it took."""


def build_loop(
    batch: int | Sequence[Sequence[float]] = 2,
    *,
    hidden: int = 10,
    optimizer: str = "sgd",
    implementation: str = "default",
    lr: float | None = None,
    device: torch.device | str = "cpu",
    precision: str = "float32",
    compilation: str = "off",
    seed: int = 0,
    before_steps: Callable[[], object] = lambda: None,
) -> TrainingLoop:
    """A loop over `batch`: a number of seeded random pairs, or the pairs themselves.

    The weights are drawn in float32 on the CPU from `seed`, whatever the device and precision, so
    that every configuration starts from the same net. Without `lr` the optimizer has the rate that
    `learning_rate` gives it. `before_steps` is as in `loop_over`. Raises KeyError for a name that
    its table lacks.
    """
    wanted = PRECISIONS[precision]
    dtype: torch.dtype = getattr(torch, wanted.parameters)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SumNet(hidden)
    model.to(device, dtype)
    if isinstance(batch, int):
        data = random_batch(batch, seed=seed, device=device, dtype=dtype)
    else:
        data = batch_from_pairs(batch, device=device, dtype=dtype)
    built = build_optimizer(
        optimizer,
        model.parameters(),
        lr=learning_rate(optimizer, hidden) if lr is None else lr,
        implementation=implementation,
    )
    return loop_over(
        model,
        built,
        data,
        precision=wanted,
        compilation=COMPILATIONS[compilation],
        closure=OPTIMIZERS[optimizer].closure,
        before_steps=before_steps,
    )


def loop_over(
    model: SumNet,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    *,
    precision: Precision = PRECISIONS["float32"],
    compilation: Compilation = COMPILATIONS["off"],
    closure: bool = False,
    before_steps: Callable[[], object] = lambda: None,
) -> TrainingLoop:
    """The loop of a model and an optimizer over one batch.

    The loss and the optimizer's step are compiled each on its own: compiling the whole body would
    capture only the optimizer, because clearing gradients breaks the graph before it. `closure`
    is for an optimizer whose step calls forward and backward itself; its three phases cannot be
    taken apart, and its `step` is the whole.

    `before_steps` is called before any step is taken: with the current stream, and once more with
    the one that steps are captured on, where they are.
    """
    pairs, sums = batch
    kind = pairs.device.type
    loss = _loss_of(model, precision, kind)
    if compilation.loss:
        loss = _compile(loss, compilation.mode)
    if compilation.step:
        # In its place, because a GradScaler looks for it there.
        vars(optimizer)["step"] = _compile(optimizer.step, compilation.mode)
    scaler = torch.amp.GradScaler(kind, init_scale=INITIAL_SCALE) if precision.scaled else None
    backward, step = _updating(optimizer) if scaler is None else _scaled(optimizer, scaler)

    def forward() -> torch.Tensor:
        return loss(pairs, sums)

    if compilation.mode in GRAPH_MODES and kind in GRAPH_KINDS:
        forward = _marking(forward)

    def train_step() -> None:
        backward(forward())
        step()

    if closure:
        step = train_step = _closing(optimizer, forward, backward)
    before_steps()
    if compilation.captured:
        train_step = _captured(train_step, pairs.device, before_steps)
    return TrainingLoop(
        model,
        optimizer,
        batch,
        forward,
        backward,
        step,
        train_step,
        scaler,
        trained=CAPTURE_STEPS if compilation.captured else 0,
    )


def _loss_of(
    model: SumNet, precision: Precision, device: str
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    criterion = nn.MSELoss()

    def loss(pairs: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = criterion(model(pairs), sums)
        return value

    if precision.autocast is None:
        return loss
    dtype: torch.dtype = getattr(torch, precision.autocast)

    def loss_under_autocast(pairs: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, dtype):
            return loss(pairs, sums)

    return loss_under_autocast


def _updating(optimizer: torch.optim.Optimizer) -> tuple[Backward, Callable[[], None]]:
    """Backward and step."""

    def backward(loss: torch.Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def step() -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return backward, step


def _scaled(
    optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> tuple[Backward, Callable[[], None]]:
    """Backward and step, with the loss scaled up and the gradients scaled down again."""

    def backward(loss: torch.Tensor) -> None:
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step() -> None:
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return backward, step


def _closing(
    optimizer: torch.optim.Optimizer, forward: Callable[[], torch.Tensor], backward: Backward
) -> Callable[[], None]:
    """The whole step of an optimizer that calls forward and backward itself."""

    def closure() -> torch.Tensor:
        loss = forward()
        backward(loss)
        return loss

    def train_step() -> None:
        optimizer.step(closure)  # type: ignore[arg-type]
        optimizer.zero_grad(set_to_none=True)

    return train_step


def _compile(function: Callable[P, R], mode: str) -> Callable[P, R]:
    """torch.compile for one fixed shape, sharing no cache with another compiled loop.

    Loops share code objects; without isolation the ninth loop in a process passes the recompile
    limit and runs eager. Before torch 2.13 there is no isolation: one compiled loop per process.
    """
    isolation: dict[str, Any] = {}
    if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
        isolation = {"isolate_recompiles": True}
    compiled: Callable[P, R] = torch.compile(function, dynamic=False, mode=mode, **isolation)
    return compiled


def _marking(forward: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """Forward, marked as the beginning of a step.

    Unmarked, torch takes each call of a compiled function for a new step, in which the memory of
    the gradients that the compiled loss leaves to the compiled step may be reused (pytorch issue
    160281). Marks count for all of a process: beside a loop that marks, every other one has to.
    """

    def marked() -> torch.Tensor:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return forward()

    return marked


def _captured(
    train_step: Callable[[], None], device: torch.device, before_steps: Callable[[], object]
) -> Callable[[], None]:
    """The training step as one CUDA graph's replay, after CAPTURE_STEPS steps of training."""
    stream = _capture_stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        before_steps()
        for _ in range(CAPTURE_STEPS):
            train_step()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        train_step()
    return graph.replay


@functools.cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all captures: cuBLAS holds a workspace for each stream that it ever ran on."""
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream


@contextlib.contextmanager
def float32_products(precision: Precision) -> Iterator[None]:
    """Have CUDA multiply float32 matrices as this precision does, for as long as this lasts.

    By `allow_tf32`, which keeps all of torch's own views of the setting in step: after
    `fp32_precision` is set, torch.compile raises, because it asks for the setting in older words.
    """
    backend = torch.backends.cuda.matmul
    before = backend.allow_tf32
    backend.allow_tf32 = precision.float32_products == "tf32"
    try:
        yield
    finally:
        backend.allow_tf32 = before


def evaluate(model: SumNet, batch: Batch) -> tuple[float, list[float]]:
    """The loss on `batch` and one predicted sum per pair, as Python numbers."""
    with torch.no_grad():
        predictions = model(batch.pairs)
        loss = nn.functional.mse_loss(predictions, batch.sums)
    return loss.item(), predictions.squeeze(1).tolist()
