"""What a case was seen to do in its verification, beside what a float64 reference run did."""

import msgspec

from ..figures import Count


class Expected(msgspec.Struct, frozen=True):
    """What a float64 reference run says of a case's training, and how far a dtype may stray."""

    loss: float
    """Before the first step."""
    loss_tolerance: float
    """Relative."""
    ratio: float
    """The loss after verification's steps over the loss before them."""
    tolerance: float
    """Of that ratio, absolute."""
    steps: Count = 20
    """How many steps those are."""
    draws: str = ""
    """A digest of the random generators' states after them: a run that ends in another one drew
    other numbers, and cannot be compared. Empty where that does not matter."""


class Graphs(msgspec.Struct, frozen=True):
    """What torch.compile made of a case."""

    loss: Count
    """Graphs captured of the model and its loss."""
    step: Count
    """Graphs captured of the optimizer's step."""
    recompiled: Count
    """Graphs captured after the first step."""
    breaks: tuple[str, ...]
    """Why it broke graphs, once for each break."""
    skips: Count
    """CUDA graphs that a mode asks for and that were not made."""


class Verified(msgspec.Struct, frozen=True):
    """What a case was seen to be and to do in its verification."""

    expected: Expected | None
    """None where nothing is known of its training beforehand, and no float64 run says it."""
    ratio: float | None
    """As in `expected`, of the case; None where its loss is not known."""
    products: str
    """The dtype that matrix products were seen to run in; of what is compiled, as it is written."""
    path: str
    """The optimizer's implementation that was seen to run."""
    graphs: Graphs
    peak_bytes: Count | None
    """Memory that training took at most, above the net and its data; None where unavailable."""
    float32_products: str = "ieee"
    """How float32 matrices are multiplied on CUDA, as torch has it set: "ieee" or "tf32"."""
    samples: Count | None = None
    """Examples that a step trains on; None where the step does not say."""
    notes: tuple[str, ...] = ()
    """What a user should know of it."""
