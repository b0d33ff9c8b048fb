"""Files from before steps were described: their cases, all of the default step, had its two axes
beside the suite's."""

from collections.abc import Iterable
from typing import Any

from ..matrix.axes import prefix_of
from ..matrix.default_step import DEFAULT

RUN_SCHEMA, REPORT_SCHEMA = 4, 2
"""Of those files."""


def upgrade_run(run: dict[str, Any]) -> None:
    """Give the cases of a run the shape they have now, in place.

    Raises KeyError, TypeError or AttributeError where it has another shape than such files have.
    """
    _upgrade(run["plan"]["cases"])
    _upgrade(record["case"] for record in run.get("cases", ()))


def upgrade_report(report: dict[str, Any]) -> None:
    """The same of the cases of a gate's report."""
    _upgrade(pair[side] for pair in report["comparisons"] for side in ("base", "head"))


def _upgrade(cases: Iterable[dict[str, Any]]) -> None:
    for case in cases:
        case["own"] = [
            [axis.name, case.pop(axis.name, axis.values[0]), prefix_of(axis)]
            for axis in DEFAULT.axes
        ]
