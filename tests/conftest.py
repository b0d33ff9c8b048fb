"""What every test has: its own home, and data of its own."""

import gzip
import os
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest
import torch

RESULTS = Path(__file__).parents[1] / "results"
RUNS = Path(__file__).with_name("data") / "runs"
USERS = ("GIT_", "PIP_", "SUMNET_", "TORCHINDUCTOR_", "XDG_")
"""What the names of variables begin with that hold a user's settings and folders."""
collect_ignore = ["crosschecks"]
"""They compare ways to measure, and take a quiet machine: `python -m pytest tests/crosschecks`."""
HOME: tempfile.TemporaryDirectory[str] | None = None
"""The home of the tests and of the commands they start; processes of pytest-xdist inherit it."""

if "PYTEST_XDIST_WORKER" not in os.environ:  # before anything is imported that reads them
    HOME = tempfile.TemporaryDirectory(prefix="sumnet-tests-")
    for name in [name for name in os.environ if name.startswith(USERS)]:
        del os.environ[name]
    os.environ.setdefault("USER", Path.home().name)
    os.environ["HOME"] = HOME.name
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = f"{HOME.name}/hypothesis"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{HOME.name}/torchinductor"

if worker := os.environ.get("PYTEST_XDIST_WORKER"):  # or they would wait for each other's runs
    os.environ["XDG_STATE_HOME"] = f"{os.environ['HOME']}/{worker}"

# Its nets are too small for two threads, which wait for each other where cores are busy.
torch.set_num_threads(1)

# Property tests say what holds, not how fast: a busy machine must not fail them.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    items[:] = [item for item in items if not item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)


def pytest_unconfigure() -> None:
    if HOME is not None:
        HOME.cleanup()


def refuse_results(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook by which no test reads or writes what users measured."""
    if event not in ("open", "os.listdir", "os.scandir") or not isinstance(
        arguments[0], str | Path
    ):
        return
    path = Path(arguments[0])
    relative_to_a_descriptor = event == "open" and arguments[1] is None and not path.is_absolute()
    if not relative_to_a_descriptor and path.absolute().is_relative_to(RESULTS):
        raise AssertionError(f"a test opens {path}: give it data of its own")


@pytest.fixture(scope="session", autouse=True)
def without_results() -> None:
    """For all tests; it stays, as an audit hook does."""
    sys.addaudithook(refuse_results)


@pytest.fixture(scope="session")
def stored_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with run files that were measured with earlier versions, by machine."""
    folder = tmp_path_factory.mktemp("stored")
    for packed in RUNS.glob("*/*.json.gz"):
        path = folder / packed.relative_to(RUNS).with_suffix("")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


@pytest.fixture
def no_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of what replicates show alone, so that runs without noise have none."""
    from bench.stats import estimates as stats

    for statistic in stats.DRIFT:
        monkeypatch.setitem(stats.DRIFT, statistic, 0.0)
