"""Ceilings: their ids, what each kind of device has, and what a selection is held against."""

from collections import Counter

import pytest

from bench.matrix.ceiling import (
    ACCELERATOR_WIDTHS,
    CACHED,
    CPU_WIDTHS,
    QUEUED,
    UNITS,
    Ceiling,
    ceilings,
    ceilings_under,
    products_dtype,
)
from bench.matrix.precision import PRECISIONS
from bench.worker.ceilings.microbenchmarks import MICROBENCHMARKS
from tests.cases import sumnet

DTYPES = ("float32", "bfloat16")
EVERYWHERE = {"copy", "triad", "matmul", "op", "node", "python-call", "allocation"}
TRANSFERS = {"to-device", "to-device-pinned", "from-device", "from-device-pinned"}

every_device = pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1", "mps"])


@pytest.mark.parametrize(
    ("ceiling", "text"),
    [
        (Ceiling("copy", size=65536), "cpu/t1/copy/65536"),
        (Ceiling("matmul", threads=2, dtype="float32", size=512), "cpu/t2/matmul/float32/512"),
        (Ceiling("op"), "cpu/t1/op"),
        (Ceiling("to-device-pinned", "cuda:1"), "cuda:1/t1/to-device-pinned"),
    ],
)
def test_id_is_stable(ceiling: Ceiling, text: str) -> None:
    """Files and journals name ceilings by it."""
    assert ceiling.id == text


def test_ids_tell_all_ceilings_apart_and_from_cases() -> None:
    everything = [
        ceiling
        for device in ("cpu", "cuda", "cuda:1", "mps")
        for threads in (1, 2)
        for ceiling in ceilings(device, threads, PRECISIONS)
    ]
    ids = {ceiling.id for ceiling in everything}
    assert len(ids) == len(everything)
    assert sumnet().id.count("/") > max(name.count("/") for name in ids)


@pytest.mark.parametrize(
    ("device", "more"),
    [
        ("cpu", {"fresh-memory"}),
        ("cuda", {"launch", "sync", "event-pair"} | TRANSFERS),
        ("cuda:1", {"launch", "sync", "event-pair"} | TRANSFERS),
        ("mps", {"launch", "sync"}),
    ],
)
def test_each_kind_of_device_has_what_it_can_be_asked_for(device: str, more: set[str]) -> None:
    there = ceilings(device, 1, DTYPES)
    assert {ceiling.what for ceiling in there} == EVERYWHERE | more
    assert {(ceiling.device, ceiling.threads) for ceiling in there} == {(device, 1)}


@every_device
def test_copies_and_triads_have_every_size_and_products_every_width_and_dtype(device: str) -> None:
    there = ceilings(device, 1, DTYPES)
    sizes, widths = (CACHED, CPU_WIDTHS) if device == "cpu" else (QUEUED, ACCELERATOR_WIDTHS)
    for what in ("copy", "triad"):
        assert [c.size for c in there if c.what == what] == list(sizes)
    assert [(c.dtype, c.size) for c in there if c.what == "matmul"] == [
        (dtype, width) for dtype in DTYPES for width in widths
    ]


@every_device
def test_every_ceiling_is_a_rate_or_a_cost_that_a_microbenchmark_measures(device: str) -> None:
    for ceiling in ceilings(device, 1, DTYPES):
        assert ceiling.unit == UNITS.get(ceiling.what)
        assert (ceiling.unit == "FLOP") == (ceiling.what == "matmul") == (ceiling.dtype is not None)
        assert ceiling.what in MICROBENCHMARKS


def test_cases_are_held_against_each_device_and_thread_count_once() -> None:
    cases = [
        sumnet(device=device, threads=threads, batch=batch, optimizer=optimizer)
        for device, threads in (("cpu", 1), ("cpu", 2), ("cuda", 1))
        for batch in (2, 1024)
        for optimizer in ("sgd", "adam")
    ]
    found = ceilings_under(cases)
    assert max(Counter(ceiling.id for ceiling in found).values()) == 1
    assert set(found) == {
        ceiling
        for device, threads in (("cpu", 1), ("cpu", 2), ("cuda", 1))
        for ceiling in ceilings(device, threads, ["float32"])
    }


def test_products_are_measured_in_the_dtypes_that_cases_multiply_in() -> None:
    """Float32 always: what another dtype is computed in may be that."""
    cases = [
        sumnet(dtype="amp-bfloat16"),
        sumnet(dtype="bfloat16", batch=1024),
        sumnet(dtype="amp-float16", threads=2),
        sumnet(dtype="tf32", device="cuda"),
    ]
    dtypes: dict[tuple[str, int], list[str | None]] = {}
    for ceiling in ceilings_under(cases):
        if ceiling.what == "matmul":
            of_setting = dtypes.setdefault((ceiling.device, ceiling.threads), [])
            of_setting += [] if ceiling.dtype in of_setting else [ceiling.dtype]
    assert dtypes == {
        ("cpu", 1): ["float32", "bfloat16"],
        ("cpu", 2): ["float32", "float16"],
        ("cuda", 1): ["float32", "tf32"],
    }


def test_products_dtype_needs_no_autocast_and_is_its_own() -> None:
    for name in PRECISIONS:
        multiplied = products_dtype(name)
        assert PRECISIONS[multiplied].autocast is None
        assert PRECISIONS[multiplied].products == PRECISIONS[name].products
        assert products_dtype(multiplied) == multiplied
    assert products_dtype("tf32") == "tf32"


def test_no_cases_are_held_against_nothing() -> None:
    assert ceilings_under([]) == []
