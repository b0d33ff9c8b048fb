"""Numbers as people read them."""

import numpy as np
import pandas as pd


def duration(ns: float) -> str:
    """Nanoseconds as text with four significant digits and a unit: `128.4 us`."""
    if pd.isna(ns):
        return "-"
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "us"), (1e9, 1e6, "ms")):
        if ns < limit:
            return f"{ns / divisor:.4g} {unit}"
    return f"{ns / 1e9:.4g} s"


def percent(half_width: float) -> str:
    """A half-width, a logarithm, as text: `1.2%`, the wider side."""
    return "-" if pd.isna(half_width) else f"{100 * np.expm1(half_width):.1f}%"


def interval(value: str, half_width: float) -> str:
    """A value with its half-width, a logarithm: `128.4 us ± 1.2%`; alone where that is unknown."""
    return value if pd.isna(half_width) else f"{value} ± {percent(half_width)}"


def rate(per_second: float) -> str:
    """Samples a second with an SI prefix: `7.9 M`."""
    if pd.isna(per_second):
        return "-"
    for divisor, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if per_second >= 0.9995 * divisor:  # which three digits show as the divisor
            return f"{per_second / divisor:.3g}{prefix}"
    return f"{per_second:.3g}"


def memory(count: float) -> str:
    """Bytes with a binary prefix: `256 KiB`."""
    if pd.isna(count):
        return "-"
    for divisor, prefix in ((2**30, "Gi"), (2**20, "Mi"), (2**10, "Ki")):
        if count >= divisor:
            return f"{count / divisor:.4g} {prefix}B"
    return f"{count:.4g} B"


def share(part: float) -> str:
    """A part of one: `12%`, and `<1%` for what would show as nothing."""
    if pd.isna(part):
        return "-"
    return "<1%" if 0 < part < 0.005 else f"{part:.0%}"


def factor(ratio: float) -> str:
    """How many times: `4.1x`, three digits or all whole ones."""
    if pd.isna(ratio):
        return "-"
    return f"{ratio:.3g}x" if ratio < 99.95 else f"{ratio:,.0f}x"
