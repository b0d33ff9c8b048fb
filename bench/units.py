"""Numbers as people write and read them: one reading and one spelling of each."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from bench.errors import UsageError

SHARES: dict[str, tuple[Callable[[float], bool], str]] = {
    "margin": (lambda share: 0 < share <= 0.5, "above 0% and up to 50%"),
    "alpha": (lambda share: 0.001 <= share <= 0.2, "from 0.1% to 20%"),
    "threshold": (lambda share: 0 <= share <= 0.5, "from 0% to 50%"),
}
"""What each may be. An alpha below 0.98% proves nothing at the gate's first look, whose share of it
is a fifth and whose least p is 2^-9, though later ones may; below 0.1% the random patterns of signs
at those are too few to tell."""
NUMBER = r"((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"


def share_from(where: str, value: Any, kind: str) -> float:
    """A share of one of SHARES, from a number or from text: `3%` and `0.03` are the same.

    Raises UsageError, which begins with `where`, for anything else.
    """
    fits, words = SHARES[kind]
    share = _number(value, percent=True)
    if share is None or not fits(share):
        raise UsageError(f'{where}: {value!r} is not a share {words}, written "3%" or 0.03')
    return share


def number_from(where: str, value: Any, least: float, most: float, of: str = "") -> float:
    """A number in a range, from a number or from text; `of` names its unit, such as seconds.

    Raises UsageError, which begins with `where`, for anything else.
    """
    number = _number(value)
    if number is None or not least <= number <= most:
        what = f"a number of {of}" if of else "a number"
        raise UsageError(f"{where}: {value!r} is not {what} from {least} to {most}")
    return number


def whole_number_from(where: str, text: str, least: int, most: int) -> int:
    """A whole number in a range. Raises UsageError, which begins with `where`, for other text."""
    number = int(text) if re.fullmatch(r"\d{1,30}", text, re.ASCII) else None
    if number is None or not least <= number <= most:
        raise UsageError(f"{where}: {text!r} is not a whole number from {least} to {most}")
    return number


def check_within_margin(where: str, margin: float, thresholds: Mapping[str, float]) -> None:
    """Raise UsageError, which begins with `where`, for a threshold above the margin."""
    for name, threshold in thresholds.items():
        if threshold > margin:
            raise UsageError(
                f"{where}: {name} is {_percent(threshold)}, more than the margin of "
                f"{_percent(margin)}: a slowdown proven between the two would be neither "
                f"regressed nor equivalent; allowed: {name} up to the margin"
            )


def _number(value: Any, *, percent: bool = False) -> float | None:
    """A number, or text that is one; None for all else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) < 1e300 else None  # an int may be too large for a float
    form = NUMBER + (r"\s*(%?)" if percent else "()")
    found = re.fullmatch(form, value.strip(), re.ASCII) if isinstance(value, str) else None
    if found is None:
        return None
    number = float(found[1])
    return round(number / 100, 12) if found[2] else number  # 1.1% is 0.011, to the last bit


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _unknown(value: float | None) -> bool:
    return value is None or math.isnan(value)


def duration(ns: float) -> str:
    """Nanoseconds as text with four significant digits and a unit: `128.4 us`."""
    if _unknown(ns):
        return "-"
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "us"), (1e9, 1e6, "ms")):
        if ns < limit:
            return f"{ns / divisor:.4g} {unit}"
    return f"{ns / 1e9:.4g} s"


def percent(half_width: float) -> str:
    """A half-width, a logarithm, as text: `1.2%`, the wider side."""
    return "-" if _unknown(half_width) else f"{100 * math.expm1(half_width):.1f}%"


def interval(value: str, half_width: float) -> str:
    """A value with its half-width, a logarithm: `128.4 us ± 1.2%`; alone where that is unknown."""
    return value if _unknown(half_width) else f"{value} ± {percent(half_width)}"


def rate(per_second: float) -> str:
    """Samples a second with an SI prefix: `7.9 M`."""
    if _unknown(per_second):
        return "-"
    for divisor, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if per_second >= 0.9995 * divisor:  # which three digits show as the divisor
            return f"{per_second / divisor:.3g}{prefix}"
    return f"{per_second:.3g}"


def memory(count: float) -> str:
    """Bytes with a binary prefix: `256 KiB`."""
    if _unknown(count):
        return "-"
    for divisor, prefix in ((2**30, "Gi"), (2**20, "Mi"), (2**10, "Ki")):
        if count >= divisor:
            return f"{count / divisor:.4g} {prefix}B"
    return f"{count:.4g} B"


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
