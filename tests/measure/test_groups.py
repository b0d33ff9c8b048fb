"""Groups: which cases share a worker."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.matrix.case import Case
from bench.matrix.support import Facts, estimated_bytes
from bench.measure.groups import group_cases
from tests.matrix.strategies import CASES

GIB = 2**30


def machine(memory_bytes: int = 64 * GIB, isolates_compiled: bool = True) -> Facts:
    return Facts("2.13.0", 8, memory_bytes, "g++", isolates_compiled, {"cpu": None})


def test_no_cases_make_no_groups() -> None:
    assert group_cases([], machine()) == []


def test_small_cases_of_one_setting_stay_together_in_their_order() -> None:
    cases = [Case(batch=batch, optimizer=name) for batch in (2, 64) for name in ("sgd", "adam")]
    assert group_cases(cases, machine()) == [cases]


def test_each_thread_count_has_workers_of_its_own() -> None:
    cases = [Case(batch=batch, threads=threads) for batch in (2, 4) for threads in (1, 2)]
    assert group_cases(cases, machine()) == [[cases[0], cases[2]], [cases[1], cases[3]]]


def test_each_device_kind_has_workers_of_its_own_and_its_devices_share_them() -> None:
    cpu, first, second, mps = (Case(device=d) for d in ("cpu", "cuda:0", "cuda:1", "mps"))
    assert group_cases([first, cpu, second, mps], machine()) == [[first, second], [cpu], [mps]]


def test_a_group_fills_at_most_a_quarter_of_the_memory() -> None:
    cases = [Case(batch=1024 + n) for n in range(6)]
    need = estimated_bytes(cases[-1])
    assert [len(group) for group in group_cases(cases, machine(4 * 6 * need))] == [6]
    assert [len(group) for group in group_cases(cases, machine(4 * 3 * need))] == [3, 3]
    assert [len(group) for group in group_cases(cases, machine(4 * 4 * need))] == [4, 2]


def test_a_case_that_fills_it_alone_stands_alone() -> None:
    small, large, other = Case(), Case(batch=2**20), Case(batch=4)
    facts = machine(4 * estimated_bytes(large) - 4)
    assert group_cases([small, large, other], facts) == [[small], [large], [other]]


def test_compiled_cases_share_a_worker_where_torch_keeps_them_apart() -> None:
    cases = [Case(), Case(compile="on"), Case(batch=4, compile="on")]
    assert group_cases(cases, machine()) == [cases]


def test_compiled_cases_stand_alone_where_torch_does_not() -> None:
    cases = [Case(), Case(compile="on"), Case(batch=4), Case(batch=4, compile="on")]
    groups = group_cases(cases, machine(isolates_compiled=False))
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
        assert len({(c.device.partition(":")[0], c.threads) for c in group}) == 1
        assert all(cases.index(one) < cases.index(next_) for one, next_ in pairwise(group))
        if len(group) > 1:
            assert sum(map(estimated_bytes, group)) <= memory_bytes // 4
            assert isolates_compiled or all(case.compile == "off" for case in group)


@given(st.lists(CASES, unique=True, max_size=12))
def test_the_same_cases_fall_into_the_same_groups(cases: list[Case]) -> None:
    """A resumed run knows its groups by their numbers."""
    assert group_cases(cases, machine()) == group_cases(list(cases), machine())
