"""How well identical runs agree."""

import math
from collections.abc import Sequence

from ..records.run_file import RunRecord
from ..report.view import Row, Table, View, Worth
from ..stats.frame import tidy
from ..units import percent, share
from .analysis import (
    agreement,
    as_printed,
    phases_over_whole,
    share_in_blocks,
    sizes_of,
)

COVERED = "95% interval covered"
WORTH: Worth = (("missing",), ("series",), ("median interval",), (COVERED,), ("worst spread",))


def repeatability_view(runs: Sequence[RunRecord]) -> View:
    """Spreads and coverage over identical runs: a row for each statistic and size."""
    printed = as_printed(runs)
    together = tidy(runs, [str(number) for number in range(len(runs))])
    rows: list[Row] = [
        {
            "statistic": name,
            **{column: entry[column] for column in sizes_of(together)},
            "series": entry["series"],
            "missing": entry["missing"],
            "median spread": f"{entry['median_spread']:.1%}",
            "worst spread": f"{entry['worst_spread']:.1%}",
            COVERED: f"{entry['covered']:.0%}",
            "median interval": f"± {percent(entry['half_width'])}",
        }
        for name, frame, statistic in (
            ("quiet, as each run printed it", printed, "quiet"),
            ("quiet, compared together", together, "quiet"),
            ("typical", together, "typical"),
        )
        for entry in agreement(frame, statistic).to_dict("records")
    ]
    over_whole = phases_over_whole(together, "quiet")
    ratio = "no case has phases" if math.isnan(over_whole) else f"{over_whole:.4f}"
    below = [
        f"{len(runs)} runs. Spread: max / min - 1 over them. {COVERED}: share of pairs of runs in "
        "which one's interval includes the other's time.",
        f"All phases together over the whole step, median over cases: {ratio}.",
        f"Wall time inside blocks, without worker start-up: {share(share_in_blocks(runs))}.",
    ]
    return View([Table(rows, WORTH)], below, rows)
