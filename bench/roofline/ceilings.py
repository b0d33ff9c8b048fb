"""The rates and costs that a machine was measured to reach, from the blocks of its ceilings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..devices import kind_of
from ..machine.circumstances import MACHINE, SOFTWARE, key
from ..matrix.ceiling import COPY, LAUNCH, MATMUL, NODE, OP, PEAK_WIDTH, TRIAD
from ..protocol.messages import CEILING
from ..records.run_file import CeilingRecord, RunRecord
from ..stats.estimates import MIN_BLOCKS
from ..stats.floors import Floors, floor_key, serving_floors
from ..stats.frame import replicate_of

UNMEASURED = "its measurement was interrupted"
COMPUTED_IN_FLOAT32 = ("bfloat16", "float16", "tf32")
"""A kernel may compute these in float32, so their peak is at least that of float32."""


def ceiling_frame(runs: Sequence[RunRecord], labels: Sequence[str]) -> pd.DataFrame:
    """A row for each run and ceiling.

    Columns: run, ceiling (its id), what, device, threads, dtype, size, unit ("B", "FLOP", or None
    for a cost), status, reason, how, replicates, cost_ns (of one unit, nanoseconds), rate (units a
    second), and spread: the slowest replicate over the fastest, less one. A ceiling is the best
    quiet time of any replicate, of those that had quiet blocks where any had.
    """
    rows: list[dict[str, Any]] = []
    for run, label, floors in zip(runs, labels, serving_floors(runs), strict=True):
        rows += [{"run": label, **_row(run, record, floors)} for record in run.ceilings]
    return pd.DataFrame(rows)


def _row(run: RunRecord, record: CeilingRecord, floors: Floors) -> dict[str, Any]:
    above = record.ceiling
    replicates = [
        replicate_of(
            worker,
            CEILING,
            {name: floors[floor_key(run, above, name)].serving_ns for name in worker.readings_ns},
            on_host=not kind_of(above.device).asynchronous,
        )
        for worker in record.blocks
        if record.status == "ok" and len(worker) >= MIN_BLOCKS
    ]
    times = [r.quiet_ns for r in replicates if r.quiet] or [r.quiet_ns for r in replicates]
    unmeasured = record.status == "ok" and not times
    work = record.prepared.work if record.prepared else np.nan
    cost_ns = min(times) / work if times else np.nan
    return {
        "ceiling": record.id,
        "what": above.what,
        "device": above.device,
        "threads": above.threads,
        "dtype": above.dtype,
        "size": above.size,
        "unit": above.unit,
        "status": record.status,
        "reason": UNMEASURED if unmeasured else record.reason,
        "how": record.prepared.how if record.prepared else None,
        "replicates": len(times),
        "cost_ns": cost_ns,
        "rate": 1e9 / cost_ns,
        "spread": max(times) / min(times) - 1 if times else np.nan,
    }


@dataclass(frozen=True)
class Rates:
    """The ceilings of one device with so many threads."""

    bandwidths: tuple[tuple[int, float], ...]
    """Bytes of all arrays together, and the bytes a second of copy or triad, the faster of them."""
    peaks: dict[str, float]
    """The dtype of products to FLOP a second."""
    op_ns: float
    node_ns: float
    launch_ns: float
    """0 on a CPU."""

    def bandwidth(self, bytes_: float) -> float:
        """The most bytes a second that an operator with such operands can move.

        That of the next smaller size that was measured, or of any larger: a cache may hold part of
        the operands.
        """
        least = max((size for size, _ in self.bandwidths if size <= bytes_), default=0)
        return max(rate for size, rate in self.bandwidths if size >= least)

    def peak(self, dtype: str) -> float | None:
        """FLOP a second; None where it was not measured."""
        names = (dtype, "float32") if dtype in COMPUTED_IN_FLOAT32 else (dtype,)
        return max((self.peaks[name] for name in names if name in self.peaks), default=None)


Setting = tuple[str, str, int]
"""A run's label, a device and a number of threads."""


def rates(
    runs: Sequence[RunRecord], labels: Sequence[str], table: pd.DataFrame
) -> dict[Setting, Rates]:
    """The rates for each run's limits: the best of all runs of its machine, software, environment.

    And of its device. `table` is their ceiling_frame.
    """
    if table.empty:
        return {}
    by_label = dict(zip(labels, runs, strict=True))
    keys = {
        label: key(run, (*MACHINE, *SOFTWARE, "environment")) for label, run in by_label.items()
    }

    def hardware(label: str, device: str) -> str:
        return str(by_label[label].devices.get(device, ""))

    known = table[table["cost_ns"].notna()].assign(
        key=lambda t: t["run"].map(keys),
        hardware=lambda t: list(map(hardware, t["run"], t["device"])),
    )
    found: dict[Setting, Rates] = {}
    for place, group in known.groupby(["key", "hardware", "device", "threads"]):
        shared, there, device, threads = place
        if (best := _rates(group)) is not None:
            for label in labels:
                if keys[label] == shared and hardware(label, str(device)) == there:
                    found[label, str(device), int(str(threads))] = best
    return found


def _rates(group: pd.DataFrame) -> Rates | None:
    """None where what every limit needs was not measured."""
    copies = group[group["what"].isin((COPY, TRIAD))].groupby("size")["rate"].max()
    wide = group[(group["what"] == MATMUL) & (group["size"] >= PEAK_WIDTH)]
    products = wide.groupby("dtype")["rate"].max()
    costs = group.groupby("what")["cost_ns"].min()
    if copies.empty or OP not in costs or NODE not in costs:
        return None
    return Rates(
        bandwidths=tuple(zip(copies.index.astype(int).tolist(), copies.tolist(), strict=True)),
        peaks={str(name): float(rate) for name, rate in products.items()},
        op_ns=float(costs[OP]),
        node_ns=float(costs[NODE]),
        launch_ns=float(costs.get(LAUNCH, 0.0)),
    )
