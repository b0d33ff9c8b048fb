import pytest

from bench.analysis import stats


@pytest.fixture
def no_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of what replicates show alone, so that runs without noise have none."""
    for statistic in stats.DRIFT:
        monkeypatch.setitem(stats.DRIFT, statistic, 0.0)
