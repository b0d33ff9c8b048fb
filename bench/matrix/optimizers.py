"""The optimizers the loop can use, by name. To add one, add an entry here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IMPLEMENTATIONS: dict[str, Mapping[str, bool]] = {
    "default": {},
    "for-loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "capturable": {"capturable": True},
}
"""Name to the arguments that choose it; "default" leaves the choice to torch."""

LEARNING_RATE = 0.01
WIDTH = 10
"""The hidden size that learning rates are for."""


@dataclass(frozen=True)
class OptimizerSpec:
    """How to build one optimizer, and what torch lets it do."""

    torch_class: str
    """Its name in `torch.optim`."""
    options: Mapping[str, float] = field(default_factory=dict)
    lr: float = LEARNING_RATE
    narrows: bool = True
    """Whether the rate falls as the net gets wider."""
    foreach: bool = True
    """Whether `foreach` can be chosen, on or off."""
    capturable: bool = False
    compilable: bool = True
    """Whether torch.compile captures its step."""
    elementwise: bool = True
    """Whether a weight's update depends on its own gradients alone."""
    closure: bool = False
    """Whether its step calls the forward and backward pass itself."""
    refusal: str | None = None
    """Why it cannot train this net at all."""


OPTIMIZERS: dict[str, OptimizerSpec] = {
    "sgd": OptimizerSpec("SGD"),
    "sgd-momentum": OptimizerSpec("SGD", {"momentum": 0.9}),
    "adam": OptimizerSpec("Adam", capturable=True),
    "adamw": OptimizerSpec("AdamW", capturable=True),
    "adagrad": OptimizerSpec("Adagrad"),
    # Its rate scales steps that have their size from the history; torch's own default is 1.
    "adadelta": OptimizerSpec("Adadelta", lr=1.0, capturable=True),
    "adamax": OptimizerSpec("Adamax", capturable=True),
    "nadam": OptimizerSpec("NAdam", capturable=True),
    "radam": OptimizerSpec("RAdam", capturable=True),
    "rmsprop": OptimizerSpec("RMSprop", capturable=True),
    "rprop": OptimizerSpec("Rprop", capturable=True),
    "asgd": OptimizerSpec("ASGD", capturable=True),
    "adafactor": OptimizerSpec("Adafactor", narrows=False, elementwise=False, compilable=False),
    # One iteration a step and no early end, so that a step is one forward and one backward pass as
    # any other's, and as much work the hundredth time as the first.
    "lbfgs": OptimizerSpec(
        "LBFGS",
        {"max_iter": 1, "tolerance_grad": 0.0, "tolerance_change": 0.0},
        narrows=False,
        foreach=False,
        compilable=False,
        elementwise=False,
        closure=True,
    ),
    "muon": OptimizerSpec(
        "Muon", foreach=False, refusal="Muon optimizes matrices alone, and the net has biases"
    ),
    "sparseadam": OptimizerSpec(
        "SparseAdam", foreach=False, refusal="SparseAdam takes sparse gradients alone"
    ),
}


def learning_rate(name: str, hidden: int) -> float:
    """The rate an optimizer has by default.

    Wider layers sum more updates into one output, so above WIDTH the rate falls with the width
    (Yang and Hu 2021, "Tensor Programs V"), except where updates are sized by the weights or by the
    curvature.
    """
    spec = OPTIMIZERS[name]
    return spec.lr * min(1.0, WIDTH / hidden) if spec.narrows else spec.lr


def build_optimizer(
    name: str,
    parameters: Iterable["torch.Tensor"],
    *,
    lr: float,
    implementation: str = "default",
) -> "torch.optim.Optimizer":
    """Build the optimizer called `name`.

    Raises KeyError for an unknown name or implementation, and what torch raises for parameters or
    an implementation it does not take.
    """
    import torch

    spec = OPTIMIZERS[name]
    factory = getattr(torch.optim, spec.torch_class)
    optimizer: torch.optim.Optimizer = factory(
        parameters, lr=lr, **spec.options, **IMPLEMENTATIONS[implementation]
    )
    return optimizer
