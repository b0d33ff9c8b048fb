"""Bare pytest: the suite's options, and the session that they ask for."""

import pytest
import pytest_benchmark.plugin

from ..errors import BenchError
from ..options import PYTEST, options_of, values_of
from .measurement import measurement_of
from .plan import ceilings_from, plan_from
from .plugin import Suite


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    if not pluginmanager.is_registered(pytest_benchmark.plugin):
        raise pytest.UsageError(
            "this suite needs pytest-benchmark, and pytest has not loaded it: "
            "add -p pytest_benchmark.plugin, or drop -p no:benchmark"
        )
    group = parser.getgroup("sumnet", "training-step benchmark")
    for option in options_of(PYTEST):
        option.declare(group.addoption)


def pytest_configure(config: pytest.Config) -> None:
    try:
        asked = values_of(PYTEST, vars(config.option))
        ceilings = ceilings_from(asked) if asked.resume is None else None
        suite = Suite(measurement_of(asked, plan_from), ceilings, wide=asked.wide)
    except BenchError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(suite)
