"""Which configuration is fastest at each batch size, and from which on one device beats another."""

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UsageError
from ..options import CHOICES
from ..stats.estimates import ratio_half
from ..stats.frame import RUN, axes_in, dimensions, steps

BATCH = "batch"
"""The axis along which one device may overtake another, of steps that have one of that name."""


@dataclass(frozen=True)
class Ranking:
    """The configurations of one task, fastest first.

    `table` has the columns of the tidy frame, ratio (time over the fastest's) and ratio_half.
    `slower` are those of its rows whose ratio is above 1 by more than its half-width.
    """

    task: dict[Hashable, Any]
    table: pd.DataFrame
    slower: pd.DataFrame


@dataclass(frozen=True)
class Crossover:
    """Where, along the batch size, the faster of two places last changes.

    Only batch sizes count at which their intervals differ. `batch` is None where the faster one
    does not change, and all is None where no batch size counts. Between the two batch sizes around
    a change, times are interpolated as straight lines of their logarithms.
    """

    task: dict[Hashable, Any]
    places: tuple[str, str]
    batches: tuple[int, int]
    """The least and the largest at which both were measured."""
    batch: float | None = None
    faster_below: str | None = None
    faster_above: str | None = None


def rankings(frame: pd.DataFrame, by: Sequence[str], statistic: str) -> list[Ranking]:
    """One for each combination of what is not in `by`, batch sizes next to each other.

    Raises UsageError where there is nothing to rank.
    """
    time, half = f"{statistic}_ns", f"{statistic}_half"
    fixed: list[Hashable] = [name for name in dimensions(frame) if name not in by]
    found = []
    for values, group in steps(frame, statistic).groupby(fixed, sort=False):
        table = group.sort_values(time, kind="stable").reset_index(drop=True)
        first = table.iloc[0]
        table["ratio"] = table[time] / first[time]
        table["ratio_half"] = ratio_half(table[half], first[half])
        slower = table[np.log(table["ratio"]) > table["ratio_half"]]
        found.append(Ranking(dict(zip(fixed, values, strict=True)), table, slower))
    if not found:
        raise UsageError(f"nothing to rank: no case has a {statistic} time")

    def order(ranking: Ranking) -> tuple[list[str], float]:
        others = [str(value) for name, value in ranking.task.items() if name != BATCH]
        batch = ranking.task.get(BATCH, 0)
        return others, batch if isinstance(batch, int) else 0

    return sorted(found, key=order)


def crossovers(frame: pd.DataFrame, statistic: str) -> list[Crossover]:
    """For every two places that share batch sizes, each at its fastest configuration there.

    A place is a device of a run.
    """
    time, half = f"{statistic}_ns", f"{statistic}_half"
    timed = steps(frame, statistic)
    several = timed[RUN].nunique() > 1
    place = timed[RUN] + " " + timed["device"] if several else timed["device"]
    if BATCH not in timed:
        return []
    has_batch = timed[BATCH].map(lambda batch: isinstance(batch, int))
    timed = timed[has_batch].astype({BATCH: int})
    place = place[has_batch]
    others: list[Hashable] = [n for n in axes_in(frame) if n not in (*CHOICES, BATCH)]
    keys = [*others, "place", "batch"]
    best = timed.assign(place=place).sort_values(time, kind="stable").drop_duplicates(keys)
    found = []
    for values, of_task in best.groupby(others, sort=False):
        task = dict(zip(others, values, strict=True))
        wide = of_task.pivot(index="batch", columns="place", values=[time, half])
        for first, second in itertools.combinations(dict.fromkeys(of_task["place"]), 2):
            both = wide.loc[:, pd.IndexSlice[:, [first, second]]].dropna()
            if len(both) > 1:
                lead = np.log(both[time][second] / both[time][first])
                clear = lead[lead.abs() > ratio_half(both[half][first], both[half][second])]
                batches = int(both.index[0]), int(both.index[-1])
                found.append(_crossover(task, (first, second), batches, clear))
    return found


def _crossover(
    task: dict[Hashable, Any],
    places: tuple[str, str],
    batches: tuple[int, int],
    lead: "pd.Series[float]",
) -> Crossover:
    """`lead`, by batch: the logarithm of the second place's time over the first's, where clear."""
    if lead.empty:
        return Crossover(task, places, batches)
    faster = [places[0] if value > 0 else places[1] for value in lead]
    if len(set(faster)) == 1:
        return Crossover(task, places, batches, None, faster[0], faster[0])
    # The last change: beyond it the faster one stays so.
    at = max(i for i, name in enumerate(faster) if name != faster[-1])
    (low, high), (before, after) = np.log(lead.index[at : at + 2]), lead.iloc[at : at + 2]
    batch = math.exp(low + (high - low) * before / (before - after))
    return Crossover(task, places, batches, batch, faster[at], faster[-1])
