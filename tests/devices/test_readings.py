"""Optional readings: what is a figure, and that nothing else ends a run."""

import math
from pathlib import Path
from typing import Any

import pytest

from bench.devices.readings import MOST, count_in, figure, reading


@pytest.mark.parametrize("number", [0, 7, MOST, 0.0, 2.5])
def test_number_that_can_be_is_a_figure(number: float) -> None:
    assert figure(type(number), lambda: number) == number


def test_figure_is_of_the_kind_that_is_asked_for() -> None:
    assert isinstance(figure(int, lambda: 7.0), int)
    assert isinstance(figure(float, lambda: 7), float)


@pytest.mark.parametrize(
    "odd", [None, "", "7", b"7", [], {}, -1, -0.5, math.nan, math.inf, -math.inf, MOST + 1, 1j]
)
@pytest.mark.parametrize("kind", [int, float])
def test_anything_else_is_none(kind: type, odd: Any) -> None:
    assert figure(kind, lambda: odd) is None


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        (b"12\n", 12),
        (b"0", 0),
        (b"", None),
        (b"max\n", None),
        (b"-1\n", None),
        (b"1.5", None),
        (b"\xff", None),
        (b"9" * 400, None),
        (b"9" * 5000, None),
    ],
)
def test_count_in_a_file_is_a_figure_or_none(raw: bytes, count: int | None, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(raw)
    assert count_in(tmp_path / "file") == count
    assert count_in(tmp_path / "missing") is None
    assert count_in(tmp_path) is None


@pytest.mark.parametrize("error", [Exception, ValueError, OSError, RecursionError, MemoryError])
def test_errors_of_any_kind_are_none(error: type[Exception]) -> None:
    def ask(*about: Any) -> Any:
        raise error

    assert reading(ask, "what") is None
    assert figure(int, ask, "what") is None


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_process_is_no_reading(end: type[BaseException]) -> None:
    def ask() -> Any:
        raise end

    with pytest.raises(end):
        reading(ask)
