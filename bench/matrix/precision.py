"""The precisions the loop can train in, by name. To add one, add an entry here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Precision:
    """What is stored, and what is computed, in which dtype; names are torch's."""

    parameters: str
    """Of parameters, gradients and data."""
    autocast: str | None = None
    """Of the products in the forward pass, where torch.autocast chooses it."""
    scaled: bool = False
    """Whether a GradScaler keeps small gradients from vanishing."""
    float32_products: str = "ieee"
    """How products of float32 matrices are computed on CUDA: "ieee" or "tf32"."""

    @property
    def products(self) -> str:
        """The dtype that matrix products are computed in."""
        return self.autocast or self.parameters


PRECISIONS: dict[str, Precision] = {
    "float32": Precision("float32"),
    "float64": Precision("float64"),
    "tf32": Precision("float32", float32_products="tf32"),
    "bfloat16": Precision("bfloat16"),
    "float16": Precision("float16"),
    "amp-bfloat16": Precision("float32", autocast="bfloat16"),
    "amp-float16": Precision("float32", autocast="float16", scaled=True),
}
