"""Cases of the default step."""

from typing import Any

from bench.matrix.case import Case, case_of
from bench.matrix.default_step import DEFAULT


def sumnet(**axes: Any) -> Case:
    """The case of the default step with these values of its axes."""
    return case_of(DEFAULT, axes)
