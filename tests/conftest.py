import pytest

from bench.analysis import stats


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    items[:] = [item for item in items if not item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)


@pytest.fixture
def no_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of what replicates show alone, so that runs without noise have none."""
    for statistic in stats.DRIFT:
        monkeypatch.setitem(stats.DRIFT, statistic, 0.0)
