"""Ratios of times to a reference, and which cases only some of the compared values have."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import UsageError
from ..matrix.axes import AXES
from ..stats.estimates import ratio_half
from ..stats.frame import dimensions, varying


@dataclass(frozen=True)
class Ratios:
    """`table`: the frame of one series with ratio columns; the rest says what it leaves out.

    Ratio columns: ratio (time over the reference's time, of the same statistic), ratio_half (its
    half-width, a logarithm). `means`: compared value to the geometric mean of its ratios over the
    keys that every value has, of which there are `common`. `missing`: value to the keys it lacks.
    """

    by: str
    reference: object
    statistic: str
    table: pd.DataFrame
    means: dict[object, float]
    common: int
    missing: dict[object, list[str]]


def ratios(
    frame: pd.DataFrame, by: str, reference: str | None, series: str, statistic: str
) -> Ratios:
    """The times of a series over those of the reference, the default of `by` or its first value.

    Cases that do not have the axis `by` are left out. Raises UsageError where no case has the
    series, or `reference` is not among the values of `by`.
    """
    table = frame[(frame["series"] == series) & (frame[by] != "")].copy()
    if table.empty:
        raise UsageError(f"--phase: no case has {series} times")
    values = list(dict.fromkeys(table[by]))
    chosen = _reference(by, reference, values)
    keys = [name for name in dimensions(frame) if name != by]
    time, half = f"{statistic}_ns", f"{statistic}_half"
    base = table[table[by] == chosen].set_index(keys)[[time, half]].add_suffix("_reference")
    joined = table.join(base, on=keys)
    table["ratio"] = joined[time] / joined[f"{time}_reference"]
    table["ratio_half"] = ratio_half(joined[half], joined[f"{half}_reference"])
    table.loc[table[by] == chosen, "ratio_half"] = 0.0

    everywhere = table.pivot(index=keys, columns=by, values="ratio").dropna()
    present = table.pivot(index=keys, columns=by, values="status").notna()
    shown = varying(table, keys) or keys
    missing = {}
    for value in values:
        lacking = present.index[~present[value]].to_frame()[shown]
        if len(lacking):
            missing[value] = [
                " ".join(f"{name}={row[name]}" for name in shown) for _, row in lacking.iterrows()
            ]
    means = {v: float(np.exp(np.log(everywhere[v]).mean())) for v in values if len(everywhere)}
    return Ratios(by, chosen, statistic, table, means, len(everywhere), missing)


def _reference(by: str, wanted: str | None, values: list[object]) -> object:
    if wanted is None:
        default = AXES[by].default if by in AXES else None
        return default if default in values else values[0]
    for value in values:
        if str(value) == wanted:
            return value
    allowed = ", ".join(str(value) for value in values)
    raise UsageError(f"--reference: no {by} is {wanted!r} here; there are: {allowed}")
