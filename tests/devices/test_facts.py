"""The facts of several devices: each by its own name."""

import pytest

from bench.devices.facts import DeviceFacts, Facts
from bench.matrix.support import unsupported_reason
from tests.cases import sumnet

LARGE = DeviceFacts(name="Large", memory_bytes=2**36)
SMALL = DeviceFacts(name="Small", memory_bytes=2**25, refused_dtypes={"tf32": "Small has none"})
GONE = DeviceFacts(unavailable="cuda does not start: it fell off the bus")
FACTS = Facts("2.13.0", 4, True, {"cpu": (DeviceFacts(),), "cuda": (LARGE, SMALL, GONE)})
NONE = Facts("2.13.0", 4, True, {"cuda": (DeviceFacts(unavailable="sees no cuda device here"),)})


def test_a_device_has_the_facts_of_its_own_index() -> None:
    for name, facts in {"cuda": LARGE, "cuda:0": LARGE, "cuda:1": SMALL, "cuda:2": GONE}.items():
        assert FACTS.of(name) is facts


def test_a_device_that_is_not_there_is_unavailable_and_the_last_is_named() -> None:
    assert FACTS.of("cuda:3").unavailable == "there is no cuda:3 here: the last is cuda:2"


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:5"])
def test_where_there_is_none_the_reason_is_that(name: str) -> None:
    assert NONE.of(name).unavailable == "sees no cuda device here"


def test_names_memory_and_refusals_of_a_case_are_its_own_devices() -> None:
    """Those of GPU 0 were taken for all."""
    assert unsupported_reason(sumnet(device="cuda:0", dtype="tf32"), FACTS) is None
    assert unsupported_reason(sumnet(device="cuda:1", dtype="tf32"), FACTS) == "Small has none"
    assert unsupported_reason(sumnet(device="cuda:0", batch=2**20), FACTS) is None
    assert "more than half" in (
        unsupported_reason(sumnet(device="cuda:1", batch=2**20), FACTS) or ""
    )
    assert unsupported_reason(sumnet(device="cuda:2"), FACTS) == GONE.unavailable


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_device_that_cannot_be_used_leaves_the_others_as_they_are(name: str) -> None:
    without = FACTS.without(name, "it is busy")
    assert without.of(name) == DeviceFacts(unavailable="it is busy")
    for other in ("cpu", "cuda:1", "cuda:2"):
        assert without.of(other) is FACTS.of(other)
    assert FACTS.of(name) is LARGE
