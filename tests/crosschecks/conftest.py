"""Our measurements against other ways to measure, on a quiet machine.

`python -m pytest tests/crosschecks`, with the axes, `--preset` and `--case` of `bench run`.
"""

import pytest

from bench.errors import BenchError
from bench.matrix.axes import AXES
from bench.matrix.case import Case
from bench.options import PYTEST, options_of, selected, values_of

CASES: pytest.StashKey[list[Case]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sumnet", "training-step benchmark")
    for option in options_of(PYTEST):
        if option.name in (*AXES, "preset", "cases"):
            option.declare(group.addoption)


def pytest_configure(config: pytest.Config) -> None:
    chosen = dict.fromkeys(option.name for option in options_of(PYTEST)) | vars(config.option)
    try:
        config.stash[CASES] = selected(values_of(PYTEST, chosen))
    except BenchError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        cases = metafunc.config.stash[CASES]
        metafunc.parametrize("case", cases, ids=[case.id for case in cases])
