"""What two sides are compared in: its id, what is timed of it, and what stays resident together."""

from dataclasses import dataclass

import msgspec
import pytest

from bench.devices.facts import DeviceFacts, Facts
from bench.matrix.case import DISPATCH, LATENCY, THROUGHPUT, WHOLE, Case
from bench.matrix.comparison import Comparison
from bench.matrix.step import PHASES
from bench.matrix.support import estimated_bytes
from bench.protocol.messages import PHASES_KIND, THROUGHPUT_KIND, WAITING_KIND, WHOLE_KIND
from bench.runner.batches import MAX_BYTES, MAX_CASES, group_comparisons, shared_kinds
from tests.cases import sumnet

CUDA_GRAPH = sumnet(device="cuda", compile="graph")
ALL_SERIES = (*PHASES, WHOLE, DISPATCH, LATENCY, THROUGHPUT)


def same(**values: object) -> Comparison:
    case = sumnet(**values)  # type: ignore[arg-type]
    return Comparison(case, case)


def facts(memory_bytes: int = 2**40, isolates_compiled: bool = True) -> Facts:
    device = DeviceFacts(memory_bytes=memory_bytes)
    return Facts("2.13.0", 64, isolates_compiled, {"cpu": (device,), "cuda": 4 * (device,)})


def sizes(comparisons: list[Comparison], *sides: Facts) -> list[int]:
    base, head = sides or (facts(), facts())
    return [len(group) for group in group_comparisons(comparisons, (base, head))]


# Ids


@pytest.mark.parametrize("case", [sumnet(), CUDA_GRAPH, sumnet(dtype="amp-float16", threads=7)])
def test_id_of_the_same_case_on_both_sides_is_the_cases(case: Case) -> None:
    assert Comparison(case, case).id == case.id


@pytest.mark.parametrize(
    ("head", "id"),
    [
        (sumnet(compile="on"), "cpu/float32/b2/sgd/default/compile-off->on/h10/t1"),
        (sumnet(batch=64), "cpu/float32/b2->64/sgd/default/compile-off/h10/t1"),
        (sumnet(device="cuda:1"), "cpu->cuda:1/float32/b2/sgd/default/compile-off/h10/t1"),
        (
            sumnet(optimizer="adam", implementation="fused", threads=2),
            "cpu/float32/b2/sgd->adam/default->fused/compile-off/h10/t1->2",
        ),
    ],
)
def test_id_has_both_values_of_an_axis_that_differs(head: Case, id: str) -> None:
    assert Comparison(sumnet(), head).id == id


def test_ids_tell_the_direction() -> None:
    assert Comparison(sumnet(), sumnet(batch=64)).id != Comparison(sumnet(batch=64), sumnet()).id


def test_comparison_survives_json() -> None:
    comparison = Comparison(sumnet(), sumnet(compile="on"))
    assert msgspec.json.decode(msgspec.json.encode(comparison), type=Comparison) == comparison


# Series and kinds


@dataclass(frozen=True)
class Common:
    base: Case
    head: Case
    series: tuple[str, ...]
    kinds: tuple[str, ...]


COMMON = {
    "cpu": Common(sumnet(), sumnet(), (*PHASES, WHOLE), (PHASES_KIND, WHOLE_KIND)),
    "cuda": Common(
        sumnet(device="cuda"),
        sumnet(device="cuda"),
        ALL_SERIES,
        (PHASES_KIND, WHOLE_KIND, WAITING_KIND, THROUGHPUT_KIND),
    ),
    "cpu and cuda": Common(
        sumnet(), sumnet(device="cuda"), (*PHASES, WHOLE), (PHASES_KIND, WHOLE_KIND)
    ),
    "a closure": Common(sumnet(), sumnet(optimizer="lbfgs"), (WHOLE,), (WHOLE_KIND,)),
    "a graph": Common(
        sumnet(device="cuda"),
        CUDA_GRAPH,
        (WHOLE, DISPATCH, LATENCY, THROUGHPUT),
        (WHOLE_KIND, WAITING_KIND, THROUGHPUT_KIND),
    ),
    "cpu and a graph": Common(sumnet(), CUDA_GRAPH, (WHOLE,), (WHOLE_KIND,)),
}


@pytest.mark.parametrize("common", COMMON.values(), ids=COMMON)
def test_what_both_sides_time_is_compared(common: Common) -> None:
    for comparison in (Comparison(common.base, common.head), Comparison(common.head, common.base)):
        assert comparison.series == common.series
        assert shared_kinds(comparison) == shared_kinds(common)


# Groups


def test_comparisons_of_one_setting_share_workers_in_their_order() -> None:
    comparisons = [same(batch=2), same(threads=2), same(batch=64), same(batch=64, threads=2)]
    assert group_comparisons(comparisons, (facts(), facts())) == [
        comparisons[::2],
        comparisons[1::2],
    ]


@pytest.mark.parametrize(
    "head",
    [sumnet(device="cuda"), sumnet(threads=2)],
    ids=["another device", "more threads"],
)
def test_heads_of_another_setting_have_workers_of_their_own(head: Case) -> None:
    comparisons = [same(), Comparison(sumnet(), head), same(batch=64)]
    assert sizes(comparisons) == [2, 1]


def test_a_group_holds_so_many_comparisons_at_most() -> None:
    comparisons = [same(batch=1 + batch) for batch in range(2 * MAX_CASES + 1)]
    assert sizes(comparisons) == [MAX_CASES, MAX_CASES, 1]


@pytest.mark.parametrize("tight", [0, 1])
def test_both_sides_together_fit_a_quarter_of_the_smaller_memory(tight: int) -> None:
    comparison = Comparison(sumnet(batch=1024), sumnet(batch=4096))
    need = estimated_bytes(comparison.base) + estimated_bytes(comparison.head)
    sides = [facts(), facts()]
    sides[tight] = facts(memory_bytes=4 * 2 * need)
    assert sizes([comparison] * 4, *sides) == [2, 2]


def test_plenty_of_memory_is_not_filled() -> None:
    comparison = same(batch=1 << 20)
    held = MAX_BYTES // (2 * estimated_bytes(comparison.base))
    assert sizes([comparison] * (held + 1)) == [held, 1]


def test_one_that_is_too_large_for_any_group_stands_alone() -> None:
    small, large = same(), same(batch=1 << 22, hidden=4096)
    assert sizes([small, large, small]) in ([1, 1, 1], [2, 1])


@pytest.mark.parametrize("poor", [0, 1])
def test_compiled_loops_stand_alone_where_one_side_cannot_keep_them_apart(poor: int) -> None:
    compiled = Comparison(sumnet(), sumnet(compile="on"))
    comparisons = [same(), compiled, same(batch=64), same(compile="step")]
    sides = [facts(), facts()]
    assert sizes(comparisons, *sides) == [4]
    sides[poor] = facts(isolates_compiled=False)
    assert group_comparisons(comparisons, (sides[0], sides[1])) == [
        [comparisons[0], comparisons[2]],
        [compiled],
        [comparisons[3]],
    ]
