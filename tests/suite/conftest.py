"""What every test of the suite has: surroundings without this session's own workers."""

import pytest


@pytest.fixture(autouse=True)
def outside_xdist(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite refuses to measure in a worker of pytest-xdist, in which these tests may run."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
