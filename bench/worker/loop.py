"""The training loop of a step: forward, backward, step, or the phases that the step itself names.

Of a step that gives its loss, forward is that loss, backward is `loss.backward()`, step is the
optimizer's step and the clearing of gradients. Nothing in that loop copies a value back to the
host, unless the optimizer, a GradScaler or the step does.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

import torch

from ..matrix.case import Case
from ..matrix.compilation import COMPILATIONS, GRAPH_KINDS, GRAPH_MODES
from ..matrix.optimizers import IMPLEMENTATIONS, OPTIMIZERS, learning_rate
from ..matrix.precision import PRECISIONS, Precision
from ..matrix.step import OWN, PHASES
from .refusals import CannotBuild

P = ParamSpec("P")
R = TypeVar("R")

Forward = Callable[..., torch.Tensor]
Backward = Callable[[torch.Tensor], None]
Update = Callable[..., None]

INITIAL_SCALE = 2.0**8
"""Of the loss, under a GradScaler: at its own 2^16 the first gradients of a loss near 1 overflow
float16, and their steps are skipped."""
CAPTURE_STEPS = 3
"""Training steps before a CUDA graph is captured, as torch's notes on CUDA graphs have it."""


class Step(Protocol):
    """A step as its file describes it, with whichever revision of the words for that."""

    @property
    def model(self) -> torch.nn.Module | None: ...
    @property
    def loss(self) -> Callable[[], torch.Tensor] | None: ...
    @property
    def optimizer(self) -> torch.optim.Optimizer | None: ...
    @property
    def phases(self) -> Mapping[str, Callable[..., Any]]: ...
    @property
    def run(self) -> Callable[[], object] | None: ...
    @property
    def state(self) -> tuple[Any, ...]: ...
    @property
    def samples(self) -> int | None: ...
    @property
    def lr_scale(self) -> float: ...


@dataclass(frozen=True)
class Loop:
    """One step and its optimizer, with each phase as a callable of its own."""

    step: Step
    phases: Mapping[str, Callable[..., Any]]
    """Each is called with what the one before returned; none where only the whole can be run."""
    train_step: Callable[[], object]
    """The whole loop body."""
    optimizer: torch.optim.Optimizer | None = None
    """The suite's or the step's; None where the loop is the step's own."""
    scaler: torch.amp.GradScaler | None = None
    trained: int = 0
    """Steps of training that building it took."""

    @property
    def model(self) -> torch.nn.Module:
        """That of a step that gives its loss."""
        assert self.step.model is not None
        return self.step.model

    @property
    def state(self) -> tuple[Any, ...]:
        """All that training changes, as far as it is known."""
        known = (self.step.model, self.optimizer, self.scaler)
        return (*(part for part in known if part is not None), *self.step.state)

    def backward(self) -> torch.Tensor:
        """Run forward and backward, of a step that gives its loss; the loss."""
        loss: torch.Tensor = self.phases["forward"](None)
        self.phases["backward"](loss)
        return loss


def loop_over(
    step: Step,
    case: Case,
    *,
    lr: float | None = None,
    before_steps: Callable[[], object] = lambda: None,
) -> Loop:
    """The loop of a step that was built for a case.

    The loss and the optimizer's step are compiled each on its own: compiling the whole body would
    capture only the optimizer, because clearing gradients breaks the graph before it. An optimizer
    whose step calls forward and backward itself cannot be taken apart.

    `before_steps` is called before any step is taken: with the current stream, and once more with
    the one that steps are captured on, where they are. Without `lr` the optimizer has its own rate.
    """
    if step.loss is None or step.model is None:
        before_steps()
        return _own_loop(step)
    precision, compilation = PRECISIONS[case.dtype], COMPILATIONS[case.compile]
    loss = _under(precision, case.kind, step.loss)
    if compilation.loss:
        loss = _compile(loss, compilation.mode)
    optimizer = step.optimizer
    if case.optimizer != OWN:
        optimizer = build_optimizer(
            case.optimizer,
            [parameter for parameter in step.model.parameters() if parameter.requires_grad],
            lr=learning_rate(case.optimizer, step.lr_scale) if lr is None else lr,
            implementation=case.implementation,
        )
    assert optimizer is not None
    if not case.closure and _needs_closure(optimizer):
        raise CannotBuild(
            f"{type(optimizer).__name__} computes the loss itself, by a closure: leave the "
            "optimizer to the suite (--optimizer lbfgs), or time the whole step, by "
            "Step(run=lambda: optimizer.step(closure), state=[model, optimizer])"
        )
    if compilation.step:
        # In its place, because a GradScaler looks for it there.
        vars(optimizer)["step"] = _compile(optimizer.step, compilation.mode)
    scaler = torch.amp.GradScaler(case.kind, init_scale=INITIAL_SCALE) if precision.scaled else None
    backward, update = _updating(optimizer) if scaler is None else _scaled(optimizer, scaler)

    def forward(_: object = None) -> torch.Tensor:
        return loss()

    if compilation.mode in GRAPH_MODES and case.kind in GRAPH_KINDS:
        forward = _marking(forward)

    def train_step() -> None:
        backward(forward())
        update()

    if case.closure:
        update = train_step = _closing(optimizer, forward, backward)
    before_steps()
    trained = 0
    if compilation.captured:
        train_step = _captured(train_step, torch.device(case.device), before_steps)
        trained = CAPTURE_STEPS
    calls: tuple[Callable[..., Any], ...] = (forward, backward, update)
    phases = dict(zip(PHASES, calls, strict=True))
    return Loop(step, phases, train_step, optimizer, scaler, trained)


def build_optimizer(
    name: str,
    parameters: Iterable[torch.Tensor],
    *,
    lr: float,
    implementation: str = "default",
) -> torch.optim.Optimizer:
    """Build the optimizer called `name`.

    Raises KeyError for an unknown name or implementation, and what torch raises for parameters or
    an implementation it does not take.
    """
    spec = OPTIMIZERS[name]
    factory = getattr(torch.optim, spec.torch_class)
    optimizer: torch.optim.Optimizer = factory(
        parameters, lr=lr, **spec.options, **IMPLEMENTATIONS[implementation]
    )
    return optimizer


def _needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    parameter = inspect.signature(optimizer.step).parameters.get("closure")
    return parameter is not None and parameter.default is inspect.Parameter.empty


def _own_loop(step: Step) -> Loop:
    """The loop of a step that has its own phases, or none."""
    if step.run is not None:
        return Loop(step, {}, step.run)
    phases = {name: _taking_one(phase) for name, phase in step.phases.items()}
    chain = tuple(phases.values())

    def train_step() -> None:
        value: Any = None
        for phase in chain:
            value = phase(value)

    return Loop(step, phases, train_step)


def _taking_one(phase: Callable[..., Any]) -> Callable[..., Any]:
    """A phase that can be given what the one before it returned."""
    parameters = inspect.signature(phase).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(parameter.kind in kinds for parameter in parameters):
        return phase
    return lambda _: phase()


def _under(precision: Precision, device: str, loss: Callable[[], torch.Tensor]) -> Forward:
    if precision.autocast is None:
        return loss
    dtype: torch.dtype = getattr(torch, precision.autocast)

    def loss_under_autocast() -> torch.Tensor:
        with torch.autocast(device, dtype):
            return loss()

    return loss_under_autocast


def _updating(optimizer: torch.optim.Optimizer) -> tuple[Backward, Update]:
    """Backward and step."""

    def backward(loss: torch.Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def step(_: object = None) -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return backward, step


def _scaled(
    optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> tuple[Backward, Update]:
    """Backward and step, with the loss scaled up and the gradients scaled down again."""

    def backward(loss: torch.Tensor) -> None:
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(_: object = None) -> None:
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return backward, step


def _closing(
    optimizer: torch.optim.Optimizer, forward: Forward, backward: Backward
) -> Callable[..., None]:
    """The whole step of an optimizer that calls forward and backward itself."""

    def closure() -> torch.Tensor:
        loss = forward()
        backward(loss)
        return loss

    def train_step(_: object = None) -> None:
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


def _marking(forward: Forward) -> Forward:
    """Forward, marked as the beginning of a step.

    Unmarked, torch takes each call of a compiled function for a new step, in which the memory of
    the gradients that the compiled loss leaves to the compiled step may be reused (pytorch issue
    160281). Marks count for all of a process: beside a loop that marks, every other one has to.
    """

    def marked(_: object = None) -> torch.Tensor:
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
