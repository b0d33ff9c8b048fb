"""The optimizers the loop can use, by name. To add one, add an entry here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IMPLEMENTATIONS = ("default", "foreach", "fused")
LEARNING_RATE = 0.01


@dataclass(frozen=True)
class OptimizerSpec:
    """How to build one optimizer: its class in `torch.optim`, its options, its implementations."""

    torch_class: str
    options: Mapping[str, float] = field(default_factory=dict)
    implementations: tuple[str, ...] = IMPLEMENTATIONS


OPTIMIZERS: dict[str, OptimizerSpec] = {
    "sgd": OptimizerSpec("SGD"),
    "sgd-momentum": OptimizerSpec("SGD", {"momentum": 0.9}),
    "adam": OptimizerSpec("Adam"),
    "adamw": OptimizerSpec("AdamW"),
}


def build_optimizer(
    name: str,
    parameters: Iterable["torch.nn.Parameter"],
    *,
    lr: float,
    implementation: str = "default",
) -> "torch.optim.Optimizer":
    """Build the optimizer called `name`; "default" leaves the implementation to torch.

    Raises KeyError for an unknown name, ValueError for an implementation it does not have.
    """
    import torch

    spec = OPTIMIZERS[name]
    if implementation not in spec.implementations:
        raise ValueError(f"{name} has no {implementation} implementation: {spec.implementations}")
    chosen = {} if implementation == "default" else {implementation: True}
    factory = getattr(torch.optim, spec.torch_class)
    optimizer: torch.optim.Optimizer = factory(parameters, lr=lr, **spec.options, **chosen)
    return optimizer
