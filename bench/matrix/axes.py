"""The axes of the matrix. To add an axis value, add it to its entry here."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..devices import device_names, is_device_name
from ..errors import UsageError
from .compilation import COMPILATIONS
from .optimizers import IMPLEMENTATIONS, OPTIMIZERS
from .precision import PRECISIONS

Value = str | int


@dataclass(frozen=True)
class Axis:
    """A named list of values. `prefix` stands before a value in a case id."""

    name: str
    help: str
    default: Value
    parse: Callable[[str], Value | None]
    allowed: str
    prefix: str = ""

    def value(self, text: str) -> Value:
        """The value written as `text`. Raises UsageError, naming what is allowed."""
        value = self.parse(text)
        if value is None:
            raise UsageError(f"--{self.name}: {text!r} is not a value; allowed: {self.allowed}")
        return value

    def values(self, text: str) -> tuple[Value, ...]:
        """The values of a comma-separated list, each once, in the order given."""
        return tuple(dict.fromkeys(self.value(part.strip()) for part in text.split(",")))


def _one_of(name: str, help: str, values: tuple[str, ...], prefix: str = "") -> Axis:
    return Axis(
        name,
        help,
        values[0],
        lambda text: text if text in values else None,
        ", ".join(values),
        prefix,
    )


def _count(name: str, help: str, default: int, maximum: int, prefix: str) -> Axis:
    def parse(text: str) -> int | None:
        canonical = re.fullmatch(r"[1-9][0-9]{0,9}", text)
        return int(text) if canonical and int(text) <= maximum else None

    return Axis(name, help, default, parse, f"a whole number from 1 to {maximum}", prefix)


AXES: dict[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis(
            "device",
            "where it runs",
            "cpu",
            lambda text: text if is_device_name(text) else None,
            device_names(),
        ),
        _one_of("dtype", "of parameters and data, or amp: of products alone", tuple(PRECISIONS)),
        _count("batch", "pairs per training step", 2, 2**22, "b"),
        _one_of("optimizer", "which optimizer", tuple(OPTIMIZERS)),
        _one_of(
            "implementation", "of the optimizer's step; default: torch's", tuple(IMPLEMENTATIONS)
        ),
        _one_of(
            "compile",
            "what torch.compile gets, and its mode; graph: the step as one CUDA graph",
            tuple(COMPILATIONS),
            "compile-",
        ),
        _count("hidden", "hidden units", 10, 4096, "h"),
        _count("threads", "torch's intra-op threads", 1, 1024, "t"),
    )
}
