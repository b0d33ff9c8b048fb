"""Training steps as cases in a user's own pytest run: `pytest benchmarks/ --sumnet`.

pytest loads this into every run where the suite is installed, so it imports nothing before it is
asked for. Steps are measured by workers: nothing of pytest's own process is changed.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .suite.collecting import StepsFile

MARK = re.compile(rb"^@(\w+\.)?training_step\b", re.MULTILINE)
"""What a file contains that declares steps. A method of that name, as others have it, is none."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sumnet", "training-step benchmark")
    group.addoption(
        "--sumnet",
        action="store_true",
        help="collect the training steps that files declare with @training_step, and measure them",
    )
    group.addoption(
        "--sumnet-results",
        metavar="FOLDER",
        default="results",
        help="folder that run files are written to (default: results)",
    )
    group.addoption(
        "--sumnet-device",
        metavar="A,B",
        default="cpu",
        help="where the steps run (default: cpu)",
    )
    group.addoption(
        "--sumnet-budget",
        metavar="SECONDS",
        help="wall time to spend on measuring the steps of a file (default: 45)",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("sumnet"):
        from .suite.collecting import Steps

        config.pluginmanager.register(Steps(config), "sumnet-steps")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "StepsFile | None":
    if not parent.config.getoption("sumnet") or file_path.suffix != ".py":
        return None
    try:
        if MARK.search(file_path.read_bytes()) is None:
            return None
    except OSError:  # pytest reports what it cannot read itself
        return None
    from .suite.collecting import StepsFile

    steps: StepsFile = StepsFile.from_parent(parent, path=file_path)
    return steps
