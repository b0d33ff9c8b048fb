"""How often the verdicts on stored runs err: A/A runs, as they are and slowed down."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..machine.circumstances import DEVICES, PLACE, PLAN, VARIABLES, differences, key
from ..matrix.case import WHOLE, is_phase
from ..records.run_file import RunRecord
from ..records.verdicts import EQUIVALENT, IMPROVED, REGRESSED
from ..stats.calibration import at_most, slowed_parts
from ..stats.frame import tidy
from .verdicts import StoredRules, bounds, evidence, words

SLOWDOWNS = (0.02, 0.05, 0.10, 0.20)
"""Of one phase's time, that calibration makes up."""
MIN_AA_RUNS = 3
"""Fewer runs make one pair, or none."""
MAX_AA_RUNS = 10
"""The newest are enough: 45 pairs."""


@dataclass(frozen=True)
class Calibration:
    """What the rule made of A/A runs."""

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
    """The upper 95% bound of the share of pairs with a false alarm."""
    equivalent: float
    """Share of all series called equivalent."""
    curve: pd.DataFrame
    """For each of SLOWDOWNS the shares of ordered pairs and phases in which at least one series of
    the slowed phase (`any`) and all of them (`all`) were called regressed, and the share of those
    series called equivalent."""


def aa_runs(runs: Sequence[RunRecord], like: RunRecord) -> list[RunRecord]:
    """Complete runs of one plan and code, in the place of `like`; the earliest first.

    Of several sets that of the same cases as `like`, then the largest, then the newest; none where
    no set has MIN_AA_RUNS.
    """
    groups: dict[object, list[RunRecord]] = {}
    for run in sorted((run for run in runs if run.complete), key=_began):
        if not differences((run, like), PLACE):
            groups.setdefault(key(run, (*PLAN, *DEVICES, "code", *VARIABLES)), []).append(run)
    best = max(
        (group for group in groups.values() if len(group) >= MIN_AA_RUNS),
        key=lambda group: (
            not differences((group[0], like), ("cases",)),
            len(group),
            _began(group[-1]),
        ),
        default=[],
    )
    return best[-MAX_AA_RUNS:]


def calibrate(runs: Sequence[RunRecord], rules: StoredRules) -> Calibration | None:
    """Judge every pair of A/A runs, as they are and with one phase of the head slowed down.

    None where no pair has an effect. Pairs share runs, so they are not independent trials. The
    bound is Clopper and Pearson's for the disjoint pairs, the first run with the second, the third
    with the fourth and so on; and where a larger share of all pairs alarm, for as large a share of
    those.
    """
    alarms: dict[tuple[int, int], bool] = {}
    equivalent: list[bool] = []
    slowed: list[pd.DataFrame] = []
    widest = 0
    for pair in itertools.combinations(range(len(runs)), 2):
        frame = tidy([runs[place] for place in pair], ["first", "second"])
        found = evidence(frame, "first", "second").dropna(subset="effect")
        effect, half = found["effect"].to_numpy(), found["half"].to_numpy()
        bound = bounds(half, found["drift"].max())
        verdicts = words(effect, half, bound, rules)
        alarms[pair] = bool(np.isin(verdicts, (REGRESSED, IMPROVED)).any())
        equivalent += list(verdicts == EQUIVALENT)
        widest = max(widest, len(found))
        series = list(zip(found["case"], found["series"], strict=True))
        phases = [n for n in dict.fromkeys(n for _, n in series) if is_phase(n)] or [WHOLE]
        orders = (effect, found["head_ns"]), (-effect, found["base_ns"])
        for (ordered, times), phase in itertools.product(orders, phases):
            parts, of_phase = slowed_parts(series, list(times), phase), found["series"] == phase
            for slowdown in SLOWDOWNS:
                verdicts = words(ordered + np.log1p(slowdown * parts), half, bound, rules)[of_phase]
                called, missed = verdicts == REGRESSED, verdicts == EQUIVALENT
                trial = {"slowdown": slowdown, "trial": len(slowed) // len(SLOWDOWNS)}
                slowed.append(pd.DataFrame(trial | {"called": called, "equivalent": missed}))
    if not widest:
        return None
    curve = pd.concat(slowed).groupby("slowdown")
    trials = pd.concat(slowed).groupby(["slowdown", "trial"])["called"].agg(["any", "all"])
    disjoint = len(runs) // 2
    alone = sum(alarms[2 * i, 2 * i + 1] for i in range(disjoint))
    alarming = sum(alarms.values())
    return Calibration(
        runs=len(runs),
        series=widest,
        pairs=len(alarms),
        alarming=alarming,
        disjoint=disjoint,
        at_most=at_most(max(alone, math.ceil(disjoint * alarming / len(alarms))), disjoint),
        equivalent=float(np.mean(equivalent)),
        curve=trials.groupby("slowdown").mean().join(curve["equivalent"].mean()),
    )


def _began(run: RunRecord) -> float:
    return run.sessions[0].started_at
