"""Numbers as people write and read them: one reading and one spelling of each."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import UsageError

NUMBER = re.compile(r"((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%?)", re.ASCII)

TIMES = ((1e9, " s"), (1e6, " ms"), (1e3, " us"), (1, " ns"))
RATES = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"), (1, ""))
SIZES = ((2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB"), (1, " B"))


@dataclass(frozen=True)
class Reader:
    """Reads one value, from text or as TOML has it."""

    allowed: str
    """What it may be, in words that complete "is not"; empty where any text will do."""
    parse: Callable[[Any], Any]
    """The typed value, None where it is not allowed; may raise a UsageError of its own."""

    def __call__(self, where: str, value: Any) -> Any:
        """The typed value. Raises UsageError, which begins with `where`, if it is not allowed."""
        if (parsed := self.parse(value)) is None:
            raise UsageError(f"{where}: {value!r} is not {self.allowed}")
        return parsed


def one_of(*words: str) -> Reader:
    """Reads one of these words."""
    return Reader(f"one of {', '.join(words)}", lambda text: text if text in words else None)


def some_of(*words: str) -> Reader:
    """Reads a comma-separated list of these words, as a tuple."""

    def parse(text: str) -> tuple[str, ...] | None:
        parts = tuple(part.strip() for part in text.split(","))
        return parts if set(parts) <= set(words) else None

    return Reader(f"a list of {', '.join(words)}", parse)


def number(least: float, most: float, of: str = "") -> Reader:
    """Reads a number in a range; `of` names its unit, such as seconds."""
    what = f"a number of {of}" if of else "a number"
    return Reader(
        f"{what} from {least} to {most}",
        lambda value: _in_range(_number(value), lambda found: least <= found <= most),
    )


def whole_number(least: int, most: int) -> Reader:
    """Reads the digits of a whole number in a range."""

    def parse(text: str) -> int | None:
        found = int(text) if re.fullmatch(r"\d{1,30}", text, re.ASCII) else None
        return found if found is not None and least <= found <= most else None

    return Reader(f"a whole number from {least} to {most}", parse)


def share_in(words: str, fits: Callable[[float], bool]) -> Reader:
    """Reads a share, of which `3%` and `0.03` are spellings; `words` say which ones fit."""
    return Reader(
        f'a share {words}, written "3%" or 0.03',
        lambda value: _in_range(_number(value, percent=True), fits),
    )


def _in_range(number: float | None, fits: Callable[[float], bool]) -> float | None:
    return number if number is not None and fits(number) else None


def _number(value: Any, *, percent: bool = False) -> float | None:
    """A number, or text that is one; None for all else."""
    if isinstance(value, str):
        found = NUMBER.fullmatch(value.strip())
        if found is None or (found[2] and not percent):
            return None
        number = float(found[1])
        return round(number / 100, 12) if found[2] else number  # 1.1% is 0.011, to the last bit
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
        return float(value)  # an int may be too large for a float
    return None


def check_within_margin(where: str, margin: float, thresholds: Mapping[str, float]) -> None:
    """Raise UsageError, which begins with `where`, for a threshold above the margin."""
    for name, threshold in thresholds.items():
        if threshold > margin:
            raise UsageError(
                f"{where}: {name} is {100 * threshold:.4g}%, more than the margin of "
                f"{100 * margin:.4g}%: a slowdown between the two would be neither regressed nor "
                f"equivalent; allowed: {name} up to the margin"
            )


def duration(ns: float) -> str:
    """Nanoseconds as text with four significant digits and a unit: `128.4 us`."""
    return _scaled(ns, TIMES)


def rate(per_second: float) -> str:
    """Samples a second with an SI prefix and three digits: `7.9 M`."""
    return _scaled(per_second, RATES, digits=3, reach=0.9995)  # which three digits show as 1


def memory(count: float) -> str:
    """Bytes with a binary prefix: `256 KiB`."""
    return _scaled(count, SIZES)


def _scaled(
    value: float, units: Sequence[tuple[float, str]], digits: int = 4, reach: float = 1.0
) -> str:
    """A value in the largest unit of which it reaches so much, or else in the smallest."""
    if _unknown(value):
        return "-"
    size, unit = next((entry for entry in units if value >= reach * entry[0]), units[-1])
    return f"{value / size:.{digits}g}{unit}"


def _unknown(value: float | None) -> bool:
    return value is None or math.isnan(value)


def percent(half_width: float) -> str:
    """A half-width, a logarithm, as text: `1.2%`, the wider side."""
    return "-" if _unknown(half_width) else f"{100 * math.expm1(half_width):.1f}%"


def interval(value: str, half_width: float) -> str:
    """A value with its half-width, a logarithm: `128.4 us ± 1.2%`; alone where that is unknown."""
    return value if _unknown(half_width) else f"{value} ± {percent(half_width)}"


def share(part: float) -> str:
    """A part of one: `12%`, and `<1%` for what would show as nothing."""
    if _unknown(part):
        return "-"
    return "<1%" if 0 < part < 0.005 else f"{part:.0%}"


def factor(ratio: float) -> str:
    """How many times: `4.1x`, three digits or all whole ones."""
    if _unknown(ratio):
        return "-"
    return f"{ratio:.3g}x" if ratio < 99.95 else f"{ratio:,.0f}x"
