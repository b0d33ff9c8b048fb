"""The device's library, compiled once for all tests."""

from pathlib import Path

import pytest

from tests.queued_device import build, refusal


@pytest.fixture(scope="session")
def library() -> Path:
    if reason := refusal():
        pytest.skip(reason)
    folder = Path.home() / "queued_device"  # the tests' own home, which their processes share
    folder.mkdir(exist_ok=True)
    return build(folder)
