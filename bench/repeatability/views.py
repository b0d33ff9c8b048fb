"""How well identical runs agree, as text."""

import math
from collections.abc import Sequence
from pathlib import Path

from bench.records.loading import load_each
from bench.records.store import load_cases
from bench.repeatability.analysis import (
    Agreement,
    agreement,
    as_printed,
    check_identical,
    phases_over_whole,
    share_in_blocks,
)
from bench.report.tables import Row, render
from bench.report.terminal import Worth
from bench.stats.frame import tidy
from bench.units import percent

WORTH: Worth = (("missing",), ("series",), ("median interval",), ("held",), ("worst spread",))


def repeatability_text(files: Sequence[Path], width: int | None = None) -> str:
    """Spreads and coverage over run files of one plan. Raises UsageError unless they are that."""
    _, runs = load_each(files, load_cases)
    check_identical(runs)
    printed = as_printed(runs)
    together = tidy(runs, [str(number) for number in range(len(runs))])
    rows = [
        _row(name, entry)
        for name, frame, statistic in (
            ("quiet, as each run printed it", printed, "quiet"),
            ("quiet, compared together", together, "quiet"),
            ("typical", together, "typical"),
        )
        for entry in agreement(frame, statistic)
    ]
    sum_over_whole = phases_over_whole(together, "quiet")
    return "\n".join(
        [
            render(rows, "github", WORTH, width),
            "",
            f"{len(runs)} runs. Spread is max / min - 1 over them. Held: how often one run's 95% "
            "interval holds another's time.",
            "Forward + backward + step over the whole step, median over cases: "
            + ("no case has phases." if math.isnan(sum_over_whole) else f"{sum_over_whole:.4f}."),
            f"Wall time, worker start-up apart, inside blocks: {share_in_blocks(runs):.0%}.",
        ]
    )


def _row(name: str, entry: Agreement) -> Row:
    return {
        "time": name,
        "batch": entry.batch,
        "series": entry.series,
        "missing": entry.missing,
        "median spread": f"{entry.median_spread:.1%}",
        "worst spread": f"{entry.worst_spread:.1%}",
        "held": f"{entry.covered:.0%}",
        "median interval": f"± {percent(entry.half_width)}",
    }
