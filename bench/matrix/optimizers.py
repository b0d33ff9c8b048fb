"""The optimizers the loop can use, by name. To add one, add an entry here."""

from collections.abc import Mapping
from dataclasses import dataclass, field

IMPLEMENTATIONS: dict[str, Mapping[str, bool]] = {
    "default": {},
    "for-loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "capturable": {"capturable": True},
}
"""Name to the arguments that choose it; "default" leaves the choice to torch."""

LEARNING_RATE = 0.01


@dataclass(frozen=True)
class OptimizerSpec:
    """How to build one optimizer, and what torch lets it do."""

    torch_class: str
    """Its name in `torch.optim`."""
    options: Mapping[str, float] = field(default_factory=dict)
    lr: float = LEARNING_RATE
    narrows: bool = True
    """Whether a step's `lr_scale` applies: not where updates are sized by the weights or by the
    curvature."""
    foreach: bool = True
    """Whether `foreach` can be chosen, on or off."""
    capturable: bool = False
    compilable: bool = True
    """Whether torch.compile captures its step."""
    elementwise: bool = True
    """Whether a weight's update depends on its own gradients alone."""
    closure: bool = False
    """Whether its step calls the forward and backward pass itself."""
    matrices: bool = False
    """Whether it optimizes matrices alone."""
    sparse: bool = False
    """Whether it takes sparse gradients."""
    dense: bool = True
    """Whether it takes others."""


OPTIMIZERS: dict[str, OptimizerSpec] = {
    "sgd": OptimizerSpec("SGD", sparse=True),
    "sgd-momentum": OptimizerSpec("SGD", {"momentum": 0.9}, sparse=True),
    "adam": OptimizerSpec("Adam", capturable=True),
    "adamw": OptimizerSpec("AdamW", capturable=True),
    "adagrad": OptimizerSpec("Adagrad", sparse=True),
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
    "muon": OptimizerSpec("Muon", foreach=False, matrices=True),
    "sparseadam": OptimizerSpec("SparseAdam", foreach=False, sparse=True, dense=False),
}


def learning_rate(name: str, scale: float) -> float:
    """The rate an optimizer has by default for a step that scales rates so."""
    spec = OPTIMIZERS[name]
    return spec.lr * scale if spec.narrows else spec.lr
