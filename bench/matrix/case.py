"""A case: one point in the matrix, with an id that can be typed, filtered on, and read back."""

from typing import Any

import msgspec

from ..devices import kind_of
from ..errors import UsageError
from .axes import AXES, Value
from .compilation import COMPILATIONS, Compilation
from .optimizers import OPTIMIZERS

PHASES = ("forward", "backward", "step")
WHOLE = "train_step"
DISPATCH, LATENCY, THROUGHPUT = "dispatch", "latency", "throughput"
SERIES = (*PHASES, WHOLE, DISPATCH, LATENCY, THROUGHPUT)
"""What is timed. The last three differ only where the host runs ahead of the device:
what a step costs the host, a step that is waited for, and a step among many waited for at once."""


class Case(msgspec.Struct, frozen=True):
    """One configuration of the training loop; its fields are the axes, in their order."""

    device: str = "cpu"
    dtype: str = "float32"
    batch: int = 2
    optimizer: str = "sgd"
    implementation: str = "default"
    compile: str = "off"
    hidden: int = 10
    threads: int = 1

    @property
    def axes(self) -> dict[str, Value]:
        """Axis name to value."""
        return {name: getattr(self, name) for name in AXES}

    @property
    def kind(self) -> str:
        """Of its device: `cuda` for `cuda:1`."""
        return self.device.partition(":")[0]

    @property
    def compilation(self) -> Compilation:
        return COMPILATIONS[self.compile]

    @property
    def splits(self) -> bool:
        """Whether its step can be timed phase by phase."""
        return not (OPTIMIZERS[self.optimizer].closure or self.compilation.captured)

    @property
    def replays(self) -> bool:
        """Whether graphs launch its kernels: all modes but the default one record them."""
        asked = self.compilation
        return (asked.captured or asked.mode != "default") and kind_of(self.device).graphs

    @property
    def series(self) -> tuple[str, ...]:
        """What is timed of it, in the order of SERIES."""
        phases = PHASES if self.splits else ()
        ahead = (DISPATCH, LATENCY, THROUGHPUT) if kind_of(self.device).asynchronous else ()
        return (*phases, WHOLE, *ahead)

    @property
    def id(self) -> str:
        """For example `cpu/float32/b1024/adam/default/compile-off/h10/t1`."""
        return "/".join(f"{AXES[name].prefix}{value}" for name, value in self.axes.items())


def case_from_id(text: str) -> Case:
    """The case whose id is `text`. Raises UsageError saying which part is wrong."""
    parts = text.split("/")
    if len(parts) != len(AXES):
        example = Case().id
        raise UsageError(
            f"{text!r} is not a case id: it has {len(parts)} parts, not {len(AXES)}; "
            f"an id looks like {example}"
        )
    values: dict[str, Any] = {}
    for axis, part in zip(AXES.values(), parts, strict=True):
        if not part.startswith(axis.prefix):
            raise UsageError(
                f"{text!r} is not a case id: {part!r} should start with {axis.prefix!r}"
            )
        try:
            values[axis.name] = axis.value(part.removeprefix(axis.prefix))
        except UsageError as error:
            raise UsageError(f"{text!r} is not a case id: {error}") from None
    return Case(**values)
