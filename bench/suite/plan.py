"""The plans that the options ask for."""

import os
from argparse import Namespace

from ..errors import UsageError
from ..matrix.axes import AXES
from ..matrix.ceiling import Ceiling, ceilings, ceilings_under, products_dtype
from ..matrix.plan import Plan
from ..matrix.precision import PRECISIONS
from ..matrix.presets import DEFAULT_PRESET, PRESETS, compile_timed
from ..matrix.step import OWN
from ..options import selected


def order_seed() -> int:
    """A seed for the order of blocks, drawn anew."""
    return int.from_bytes(os.urandom(4))


def plan_from(asked: Namespace) -> Plan:
    """The plan of a run of cases. Raises UsageError where cases are named beside a selection."""
    cases = selected(asked)
    if asked.lr is not None and (own := [c for c in cases if c.optimizer == OWN]):
        raise UsageError(
            f"--lr is the rate of the suite's optimizers, and {own[0].workload} brings its own: "
            "drop --lr, or leave that step out with --workload"
        )
    named, preset = bool(asked.cases), PRESETS[asked.preset]
    if asked.compile_times == "all":
        timed = [case.id for case in cases if case.compilation.compiles]
    elif asked.compile_times == "none" or named:
        timed = []
    else:
        timed = compile_timed(asked.preset, cases)
    return Plan(
        cases=cases,
        replicates=preset.replicates if asked.replicates is None else asked.replicates,
        budget_s=preset.budget_s if asked.budget is None else asked.budget,
        environment=asked.environment,
        seed=order_seed() if asked.order_seed is None else asked.order_seed,
        lr=asked.lr,
        preset=None if named else asked.preset,
        steps=asked.catalogue.file,
        named=named,
        compile_timed=timed,
        profiled=asked.profile,
        energy=asked.energy,
        ceilings=ceilings_under(cases) if asked.ceilings else [],
    )


def ceilings_from(asked: Namespace) -> list[Ceiling]:
    """The ceilings of the devices, thread counts and dtypes that are asked for; of every dtype
    where none is."""
    dtypes = dict.fromkeys(map(products_dtype, asked.dtype or PRECISIONS))
    return [
        ceiling
        for device in asked.device or [AXES["device"].default]
        for threads in asked.threads or [AXES["threads"].default]
        for ceiling in ceilings(device, threads, dtypes)
    ]


def ceilings_plan(asked: Namespace) -> Plan:
    """The plan of a run of ceilings alone; the runner has replicates and budgets of their own."""
    quick = PRESETS[DEFAULT_PRESET]
    return Plan(
        [],
        quick.replicates,
        quick.budget_s,
        asked.environment,
        seed=order_seed(),
        ceilings=ceilings_from(asked),
    )
