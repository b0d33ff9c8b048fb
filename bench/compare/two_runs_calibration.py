"""How often the verdicts on stored runs err: identical runs, as they are and slowed down."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.compare.two_runs import StoredRules, bounds, evidence, words
from bench.machine.circumstances import PLACE, PLAN, VARIABLES, differences, key
from bench.matrix.case import PHASES, WHOLE
from bench.records.run_file import RunRecord
from bench.records.verdicts import EQUIVALENT, IMPROVED, REGRESSED
from bench.stats.estimates import Floats, at_most
from bench.stats.frame import tidy

SLOWDOWNS = (0.02, 0.05, 0.10, 0.20)
"""Of one phase, that calibration makes up."""
MIN_IDENTICAL = 3
"""Fewer runs make one pair, or none."""
MOST_IDENTICAL = 10
"""The newest are enough: 45 pairs."""


@dataclass(frozen=True)
class Detection:
    """How a slowdown of one phase of the head was judged, over ordered pairs and phases."""

    slowdown: float
    """A share of the phase's time, in every case."""
    one: float
    """Share of pairs in which at least one series of that phase was called regressed."""
    every: float
    """Share of pairs in which all of them were."""
    equivalent: float
    """Share of the phase's series called equivalent."""


@dataclass(frozen=True)
class Calibration:
    """What the rule made of identical runs."""

    runs: int
    series: int
    """The most that any pair has."""
    pairs: int
    """Unordered: the rule treats both orders alike."""
    alarming: int
    """Pairs in which a series was called regressed or improved."""
    disjoint: int
    """Pairs among them that share no run."""
    at_most: float
    """The upper 95% bound of the share of pairs that alarm."""
    equivalent: float
    """Share of all series called equivalent."""
    curve: tuple[Detection, ...]


def identical_runs(runs: Sequence[RunRecord], like: RunRecord) -> list[RunRecord]:
    """Complete runs of one plan and code, in the place of `like`; the earliest first.

    Of several sets that of the same cases as `like`, then the largest, then the newest; none where
    no set has MIN_IDENTICAL.
    """
    groups: dict[object, list[RunRecord]] = {}
    for run in sorted((run for run in runs if run.complete), key=_began):
        if not differences(run, like, PLACE):
            groups.setdefault(key(run, (*PLAN, "code", *VARIABLES)), []).append(run)
    enough = [group for group in groups.values() if len(group) >= MIN_IDENTICAL]
    best = max(
        enough,
        key=lambda group: (
            not differences(group[0], like, ("cases",)),
            len(group),
            _began(group[-1]),
        ),
        default=[],
    )
    return best[-MOST_IDENTICAL:]


def calibrate(runs: Sequence[RunRecord], rules: StoredRules) -> Calibration:
    """Judge every pair of identical runs, as they are and with one phase of the head slowed down.

    Pairs share runs, so they are not independent trials. The bound is Clopper and Pearson's for the
    disjoint pairs, the first run with the second, the third with the fourth and so on; and where
    a larger share of all pairs alarm, for as large a share of those. Shares of nothing are NaN.
    """
    alarms: dict[tuple[int, int], bool] = {}
    calm: list[bool] = []
    called: dict[float, list[list[bool]]] = {slowdown: [] for slowdown in SLOWDOWNS}
    missed: dict[float, list[bool]] = {slowdown: [] for slowdown in SLOWDOWNS}
    widest = 0
    for pair in itertools.combinations(range(len(runs)), 2):
        frame = tidy([runs[place] for place in pair], ["first", "second"])
        found = evidence(frame, "first", "second").dropna(subset="effect")
        half = found["half"].to_numpy()
        bound = bounds(half, found["drift"].max())
        verdicts = words(found["effect"].to_numpy(), half, bound, rules)
        alarms[pair] = bool(np.isin(verdicts, (REGRESSED, IMPROVED)).any())
        calm += list(verdicts == EQUIVALENT)
        widest = max(widest, len(found))
        there = set(found["series"])
        slow = [name for name in PHASES if name in there] or sorted(there & {WHOLE})
        for head, series, slowdown in itertools.product((1, -1), slow, SLOWDOWNS):
            verdicts = words(_slowed(found, head, series, slowdown), half, bound, rules)
            of_series = verdicts[found["series"] == series]
            called[slowdown].append(list(of_series == REGRESSED))
            missed[slowdown] += list(of_series == EQUIVALENT)
    disjoint = len(runs) // 2
    alone = sum(alarms[2 * i, 2 * i + 1] for i in range(disjoint))
    alarming = sum(alarms.values())
    likely = max(alone, math.ceil(disjoint * alarming / len(alarms)))
    return Calibration(
        runs=len(runs),
        series=widest,
        pairs=len(alarms),
        alarming=alarming,
        disjoint=disjoint,
        at_most=at_most(likely, disjoint),
        equivalent=_share(calm),
        curve=tuple(
            Detection(
                slowdown,
                one=_share([any(of_pair) for of_pair in called[slowdown]]),
                every=_share([all(of_pair) for of_pair in called[slowdown]]),
                equivalent=_share(missed[slowdown]),
            )
            for slowdown in SLOWDOWNS
        ),
    )


def _slowed(found: pd.DataFrame, head: int, series: str, slowdown: float) -> Floats:
    """The effects had one series of the head been slower; the whole step by that phase's share.

    `head` is 1 where the second run is the head, and -1 where the first is.
    """
    time = "head_ns" if head == 1 else "base_ns"
    part, whole = (
        found[found["series"] == name].set_index("case")[time] for name in (series, WHOLE)
    )
    moved = found["case"].map(part / whole).fillna(0.0).where(found["series"] == WHOLE, 0.0)
    moved[found["series"] == series] = 1.0
    effects: Floats = (head * found["effect"] + np.log1p(slowdown * moved)).to_numpy()
    return effects


def _share(seen: Sequence[bool]) -> float:
    return float(np.mean(seen)) if seen else math.nan


def _began(run: RunRecord) -> float:
    return run.sessions[0].started_at
