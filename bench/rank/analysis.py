"""Which configuration is fastest at each batch size, and from which on one device beats another."""

import itertools
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import UsageError
from bench.matrix.axes import AXES
from bench.stats.estimates import ratio_half
from bench.stats.frame import RUN, steps

CHOICES = (RUN, "device", "dtype", "implementation", "compile", "threads")
"""What one is free to choose; the batch size, the optimizer and the net are the task."""
TASK = tuple(name for name in AXES if name not in CHOICES)


@dataclass(frozen=True)
class Ranking:
    """The configurations of one task, fastest first, and those that are slower beyond doubt.

    `table` has the columns of the tidy frame, ratio (time over the fastest's) and ratio_half.
    `slower` are those of it whose ratio cannot be 1 within its interval.
    """

    task: dict[Hashable, Any]
    table: pd.DataFrame
    slower: pd.DataFrame


@dataclass(frozen=True)
class Crossover:
    """Where, along the batch size, the faster of two places last changes.

    Only batch sizes count at which their intervals tell the two apart. `batch` is None where the
    faster one does not change, and all is None where no batch size tells. Between the two batch
    sizes around a change, times are taken to be straight lines of their logarithms.
    """

    task: dict[Hashable, Any]
    places: tuple[str, str]
    batches: tuple[int, int]
    """The least and the largest at which both were measured."""
    batch: float | None
    faster_below: str | None
    faster_above: str | None


def rank(frame: pd.DataFrame, by: tuple[str, ...], statistic: str) -> list[Ranking]:
    """One ranking for each combination of what is not in `by`. Raises UsageError for nothing to
    rank."""
    time, half = f"{statistic}_ns", f"{statistic}_half"
    timed = steps(frame, statistic)
    fixed: list[Hashable] = [name for name in (RUN, *AXES) if name not in by]
    rankings = []
    for values, group in timed.groupby(fixed, sort=False):
        table = group.sort_values(time, kind="stable").reset_index(drop=True)
        first = table.iloc[0]
        table["ratio"] = table[time] / first[time]
        table["ratio_half"] = ratio_half(table[half], first[half])
        slower = table[np.log(table["ratio"]) > table["ratio_half"]]
        rankings.append(Ranking(dict(zip(fixed, values, strict=True)), table, slower))
    if not rankings:
        raise UsageError(f"nothing to rank: no case has a {statistic} time")
    return sorted(rankings, key=lambda ranking: _order(ranking.task))


def _order(task: dict[Hashable, Any]) -> tuple[Any, ...]:
    """By everything but the batch, then by the batch."""
    others = tuple(str(value) for name, value in task.items() if name != "batch")
    return (others, task["batch"])


def crossovers(frame: pd.DataFrame, statistic: str) -> list[Crossover]:
    """For every two places that share batch sizes, each at its fastest configuration there.

    A place is a device of a run.
    """
    time, half = f"{statistic}_ns", f"{statistic}_half"
    timed = steps(frame, statistic)
    several = timed[RUN].nunique() > 1
    place = timed[RUN] + " " + timed["device"] if several else timed["device"]
    others: list[Hashable] = [name for name in TASK if name != "batch"]
    keys = [*others, "place", "batch"]
    best = timed.assign(place=place).sort_values(time, kind="stable").drop_duplicates(keys)
    found = []
    for values, of_task in best.groupby(others, sort=False):
        wide = of_task.pivot(index="batch", columns="place", values=[time, half])
        for first, second in itertools.combinations(dict.fromkeys(of_task["place"]), 2):
            both = wide.loc[:, pd.IndexSlice[:, [first, second]]].dropna()
            if len(both) > 1:
                lead = np.log(both[time][second] / both[time][first])
                told = lead[lead.abs() > ratio_half(both[half][first], both[half][second])]
                task = dict(zip(others, values, strict=True))
                batches = int(both.index[0]), int(both.index[-1])
                found.append(_crossover(task, (first, second), batches, told))
    return found


def _crossover(
    task: dict[Hashable, Any],
    places: tuple[str, str],
    batches: tuple[int, int],
    lead: "pd.Series[float]",
) -> Crossover:
    """`lead`, by batch: the logarithm of the second place's time over the first's, where clear."""
    if lead.empty:
        return Crossover(task, places, batches, None, None, None)
    faster = [places[0] if value > 0 else places[1] for value in lead]
    if len(set(faster)) == 1:
        return Crossover(task, places, batches, None, faster[0], faster[0])
    # The last change: beyond it the faster one stays so.
    at = max(i for i, name in enumerate(faster) if name != faster[-1])
    (low, high), (before, after) = np.log(lead.index[at : at + 2]), lead.iloc[at : at + 2]
    batch = math.exp(low + (high - low) * before / (before - after))
    return Crossover(task, places, batches, batch, faster[at], faster[-1])
