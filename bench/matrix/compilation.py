"""What of the loop is compiled, by name. To add a way, add an entry here."""

from typing import NamedTuple

MODES = ("default", "reduce-overhead", "max-autotune")
"""torch.compile's own."""
GRAPH_MODES = ("reduce-overhead", "max-autotune")
"""Modes in which it records CUDA graphs, on devices of GRAPH_KINDS."""
GRAPH_KINDS = ("cuda",)


class Compilation(NamedTuple):
    """The parts of the loop that torch.compile gets, each on its own, and its mode."""

    loss: bool = False
    """The model and its loss; their backward comes with them."""
    step: bool = False
    """The optimizer's step."""
    mode: str = "default"
    captured: bool = False
    """The whole training step recorded as one CUDA graph, and replayed."""

    @property
    def compiles(self) -> bool:
        return self.loss or self.step


def _with_modes(name: str, *, loss: bool = False, step: bool = False) -> dict[str, Compilation]:
    return {
        name if mode == "default" else f"{name}+{mode}": Compilation(loss, step, mode)
        for mode in MODES
    }


COMPILATIONS: dict[str, Compilation] = {
    "off": Compilation(),
    **_with_modes("on", loss=True, step=True),
    **_with_modes("loss", loss=True),
    **_with_modes("step", step=True),
    "graph": Compilation(captured=True),
}
