"""Groups: which cases share a worker."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.devices import DEVICES
from bench.devices.facts import DeviceFacts, Facts
from bench.matrix.case import Case
from bench.matrix.ceiling import Ceiling, ceilings
from bench.matrix.support import estimated_bytes
from bench.runner.batches import MAX_BYTES, MAX_CASES, group_cases, group_ceilings
from tests.cases import sumnet
from tests.matrix.strategies import CASES

GIB = 2**30


def machine(
    memory_bytes: int = 64 * GIB,
    isolates_compiled: bool = True,
    gpu_bytes: int | None = None,
) -> Facts:
    cpu = DeviceFacts(memory_bytes=memory_bytes)
    gpu = DeviceFacts(memory_bytes=memory_bytes if gpu_bytes is None else gpu_bytes)
    devices = dict.fromkeys(DEVICES, 100 * (gpu,)) | {"cpu": (cpu,)}
    return Facts("2.13.0", 8, isolates_compiled, devices)


def sizes(groups: list[list[Case]]) -> list[int]:
    return [len(group) for group in groups]


def test_no_cases_make_no_groups() -> None:
    assert group_cases([], machine()) == []


def test_small_cases_of_one_setting_stay_together_in_their_order() -> None:
    cases = [sumnet(batch=batch, optimizer=name) for batch in (2, 64) for name in ("sgd", "adam")]
    assert group_cases(cases, machine()) == [cases]


def test_each_thread_count_has_workers_of_its_own() -> None:
    cases = [sumnet(batch=batch, threads=threads) for batch in (2, 4) for threads in (1, 2)]
    assert group_cases(cases, machine()) == [[cases[0], cases[2]], [cases[1], cases[3]]]


def test_each_device_has_workers_of_its_own() -> None:
    first, second, third, mps = (sumnet(device=d) for d in ("cpu", "cuda:0", "cuda:1", "mps"))
    again = sumnet(device="cuda:0", batch=64)
    groups = group_cases([first, second, third, again, mps], machine())
    assert groups == [[first], [second, again], [third], [mps]]


def test_a_group_fills_at_most_a_quarter_of_the_memory() -> None:
    cases = [sumnet(batch=1024 + n) for n in range(6)]
    need = estimated_bytes(cases[-1])
    assert sizes(group_cases(cases, machine(4 * 6 * need))) == [6]
    assert sizes(group_cases(cases, machine(4 * 3 * need))) == [3, 3]
    assert sizes(group_cases(cases, machine(4 * 4 * need))) == [4, 2]


def test_it_is_the_devices_own_memory_that_counts() -> None:
    cases = [sumnet(device=device, batch=1024 + n) for n in range(4) for device in ("cpu", "cuda")]
    small = 4 * 2 * estimated_bytes(cases[-1])
    assert sizes(group_cases(cases, machine(gpu_bytes=small))) == [4, 2, 2]
    assert sizes(group_cases(cases, machine(small, gpu_bytes=64 * GIB))) == [2, 4, 2]


def test_a_group_holds_no_more_bytes_than_make_a_difference_however_large_the_memory() -> None:
    cases = [sumnet(batch=2**20 + n) for n in range(20)]
    fit = MAX_BYTES // estimated_bytes(cases[-1])
    assert 1 < fit < 20
    assert sizes(group_cases(cases, machine(2**45)))[0] == fit


def test_a_group_holds_no_more_cases_than_may_be_lost_at_once() -> None:
    cases = [sumnet(batch=1 + n) for n in range(2 * MAX_CASES + 1)]
    assert sizes(group_cases(cases, machine())) == [MAX_CASES, MAX_CASES, 1]


def test_a_case_that_fills_it_alone_stands_alone() -> None:
    small, large, other = sumnet(), sumnet(batch=2**20), sumnet(batch=4)
    facts = machine(4 * estimated_bytes(large) - 4)
    assert group_cases([small, large, other], facts) == [[small], [large], [other]]


@pytest.mark.parametrize("compile", ["on", "loss", "step", "on+max-autotune"])
def test_compiled_cases_share_a_worker_where_torch_keeps_them_apart(compile: str) -> None:
    cases = [sumnet(), sumnet(compile=compile), sumnet(batch=4, compile=compile)]
    assert group_cases(cases, machine()) == [cases]


@pytest.mark.parametrize("compile", ["on", "loss", "step", "on+max-autotune"])
def test_compiled_cases_stand_alone_where_torch_does_not(compile: str) -> None:
    cases = [
        sumnet(),
        sumnet(compile=compile),
        sumnet(batch=4),
        sumnet(batch=4, compile=compile),
    ]
    groups = group_cases(cases, machine(isolates_compiled=False))
    assert groups == [[cases[0], cases[2]], [cases[1]], [cases[3]]]


@pytest.mark.parametrize("compile", ["graph", "on+reduce-overhead", "loss+max-autotune"])
def test_what_graphs_launch_stands_alone(compile: str) -> None:
    """To record or destroy one frees what others write to."""
    cases = [
        sumnet(device="cuda"),
        sumnet(device="cuda", compile=compile),
        sumnet(device="cuda", batch=4, compile="on"),
    ]
    cases.append(sumnet(device="cuda", batch=4, compile=compile))
    groups = group_cases(cases, machine())
    assert groups == [[cases[0], cases[2]], [cases[1]], [cases[3]]]


@given(
    st.lists(CASES, unique=True, max_size=30),
    st.integers(GIB, 2**45),
    st.booleans(),
)
def test_whatever_the_cases_each_is_in_one_group_that_fits_and_is_of_one_setting(
    cases: list[Case], memory_bytes: int, isolates_compiled: bool
) -> None:
    groups = group_cases(cases, machine(memory_bytes, isolates_compiled))
    grouped = [case for group in groups for case in group]
    assert sorted(grouped, key=cases.index) == cases
    for group in groups:
        assert group
        assert len({(case.device, case.threads) for case in group}) == 1
        assert all(cases.index(one) < cases.index(next_) for one, next_ in pairwise(group))
        if len(group) > 1:
            assert sum(map(estimated_bytes, group)) <= min(memory_bytes // 4, MAX_BYTES)
            assert isolates_compiled or not any(case.compilation.compiles for case in group)


@given(st.lists(CASES, unique=True, max_size=12))
def test_the_same_cases_fall_into_the_same_groups(cases: list[Case]) -> None:
    """A resumed run knows its groups by their numbers."""
    assert group_cases(cases, machine()) == group_cases(list(cases), machine())


# Ceilings


def test_the_ceilings_of_one_setting_share_a_worker_in_their_order() -> None:
    """However many there are, and whatever they take: they work on the same memory."""
    one, two = (ceilings("cpu", threads, ["float32"]) for threads in (1, 2))
    gpu = [Ceiling("copy", "cuda:1", size=2**size) for size in range(20, 31)]
    mixed = [above for three in zip(one, two, gpu, strict=False) for above in three]
    groups = group_ceilings(mixed)
    assert groups == [one[: len(gpu)], two[: len(gpu)], gpu]
    assert group_ceilings([]) == []
