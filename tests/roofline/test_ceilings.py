"""Ceilings from blocks: rates and costs, quiet ones, and who may share them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.machine.circumstances import MeasuredDevice
from bench.matrix.ceiling import COPY, FRESH_MEMORY, LAUNCH, MATMUL, NODE, OP, TRIAD, Ceiling
from bench.records.run_file import RunRecord
from bench.roofline.ceilings import Rates, ceiling_frame, rates
from tests import synthetic
from tests.synthetic import GPU, OTHER_GPUS, Moods, measured_on

EXACT = Moods(noise=0, between=0, blocks=6)
COPIES = Ceiling(COPY, size=2**20)
LEAST = {
    COPIES: 2**20 / 100,
    Ceiling(TRIAD, size=2**20): 2**20 / 80,
    Ceiling(MATMUL, dtype="float32", size=64): 2 * 64**3 / 50,
    Ceiling(OP): 500.0,
    Ceiling(NODE): 2000.0,
}


def measured(ceilings: dict[Ceiling, float] | None = None, **more: object) -> RunRecord:
    how = {"moods": EXACT, **more}
    return synthetic.run({}, ceilings=LEAST if ceilings is None else ceilings, **how)  # type: ignore[arg-type]


def row_of(run: RunRecord, ceiling: Ceiling) -> dict[str, object]:
    frame = ceiling_frame([run], ["ours"])
    (row,) = frame[frame["ceiling"] == ceiling.id].to_dict("records")
    return {str(name): value for name, value in row.items()}


def rates_of(*runs: RunRecord) -> dict[tuple[str, str, int], Rates]:
    labels = [str(number) for number in range(len(runs))]
    return rates(runs, labels, ceiling_frame(runs, labels))


def test_rate_is_units_a_second_and_cost_nanoseconds_of_one() -> None:
    run = measured({**LEAST, Ceiling(FRESH_MEMORY): 2**26 / 2.5})
    assert row_of(run, COPIES)["rate"] == pytest.approx(100e9, rel=1e-3)
    assert row_of(run, Ceiling(FRESH_MEMORY))["rate"] == pytest.approx(2.5e9, rel=1e-3)
    op = row_of(run, Ceiling(OP))
    assert op["cost_ns"] == pytest.approx(500, rel=1e-3)
    assert op["replicates"] == 3


def test_ceiling_is_the_best_that_any_replicate_reached() -> None:
    run = measured({COPIES: 2**20 / 100}, moods=Moods(noise=0, between=0.1, blocks=6, seed=3))
    row = row_of(run, COPIES)
    (record,) = run.ceilings
    assert record.prepared is not None
    p10 = [worker.p10_ns["ceiling"][0] for worker in record.blocks]
    assert row["cost_ns"] == pytest.approx(min(p10) / record.prepared.work, rel=1e-6)
    assert row["spread"] == pytest.approx(max(p10) / min(p10) - 1, rel=1e-6)


def test_what_slowed_the_reference_loops_is_removed_on_a_cpu() -> None:
    moods = Moods(noise=0, between=0, blocks=30, speeds=(1.0, 1.1))
    assert row_of(measured(moods=moods), COPIES)["rate"] == pytest.approx(100e9, rel=1e-2)


def test_blocks_that_were_not_quiet_do_not_weigh_on_a_ceiling() -> None:
    moods = Moods(noise=0, between=0, blocks=30, speeds=(1.0, 1.6, 1.6), strain=2.0)
    assert row_of(measured(moods=moods), COPIES)["rate"] == pytest.approx(100e9, rel=1e-2)


def test_what_slowed_the_host_is_not_removed_on_an_accelerator() -> None:
    for device, slower in (("cpu", 1.0), ("cuda", 1.1)):
        copies = Ceiling(COPY, device, size=2**20)
        run, best = (
            measured({copies: 2**20 / 100}, moods=Moods(noise=0, between=0, blocks=6, speeds=(at,)))
            for at in (1.1, 1.0)
        )
        frame = ceiling_frame([run, best], ["ours", "best"]).set_index("run")
        assert frame.loc["ours", "rate"] == pytest.approx(100e9 / slower, rel=1e-2)


def test_machine_in_a_slower_state_has_the_ceilings_of_that_state() -> None:
    run = measured(moods=Moods(noise=0, between=0, blocks=6, speeds=(2.0,)))
    own = row_of(run, COPIES)
    run.floors_ns = {"dispatch, t1, stock": 80_000, "memory, t1, stock": 350_000}
    assert row_of(run, COPIES)["cost_ns"] == own["cost_ns"]
    assert float(str(own["cost_ns"])) > 0


def test_ceiling_that_cannot_be_measured_keeps_its_row_and_reason() -> None:
    broken = Ceiling(MATMUL, dtype="tf32", size=64)
    row = row_of(measured(ended={broken: ("unsupported", "a CPU has no such")}), broken)
    assert (row["status"], row["reason"]) == ("unsupported", "a CPU has no such")


def test_ceilings_are_shared_by_runs_of_one_machine_software_and_environment() -> None:
    slow = measured({ceiling: 2 * time for ceiling, time in LEAST.items()})
    alike, empty = measured(), measured({})
    found = rates_of(slow, alike, empty)
    assert [found[label, "cpu", 1].op_ns for label in "012"] == [pytest.approx(500, rel=1e-3)] * 3


@pytest.mark.parametrize(
    "other",
    [
        {"on": synthetic.machine("other-cpu-8c-16gib")},
        {"on": synthetic.machine(torch="2.11.0")},
        {"environment": "steady"},
    ],
)
def test_ceilings_are_not_shared_with_another(other: dict[str, object]) -> None:
    found = rates_of(measured({}), measured(**other))
    assert [label for label, _, _ in found] == ["1"]


ON_GPU = {Ceiling(c.what, "cuda", dtype=c.dtype, size=c.size): time for c, time in LEAST.items()}


@pytest.mark.parametrize("other", OTHER_GPUS, ids=str)
def test_ceilings_of_a_device_are_not_shared_with_another_and_a_cpus_are(
    other: MeasuredDevice,
) -> None:
    slow = measured_on(
        measured({above: 2 * time for above, time in {**LEAST, **ON_GPU}.items()}), GPU
    )
    fast = measured({**LEAST, **ON_GPU})
    for device, known in ((GPU, (500, 500, 500)), (other, (1000, 500, 500))):
        measured_on(fast, device)
        found = rates_of(slow, fast)
        known_ns = [found["0", "cuda", 1].op_ns, found["1", "cuda", 1].op_ns]
        assert [*known_ns, found["0", "cpu", 1].op_ns] == pytest.approx(known, rel=1e-3)


def test_without_what_every_limit_needs_there_are_no_rates() -> None:
    for missing in (COPIES, Ceiling(OP), Ceiling(NODE)):
        kept = {c: t for c, t in LEAST.items() if c.what != missing.what}
        kept.pop(Ceiling(TRIAD, size=2**20) if missing is COPIES else missing, None)
        assert rates_of(measured(kept)) == {}


def test_launches_cost_nothing_where_there_are_none() -> None:
    assert rates_of(measured())["0", "cpu", 1].launch_ns == 0
    with_launch = {**ON_GPU, Ceiling(LAUNCH, "cuda"): 4000.0}
    assert rates_of(measured(with_launch))["0", "cuda", 1].launch_ns == pytest.approx(
        4000, rel=1e-3
    )


def some_rates(bandwidths: dict[int, float], peaks: dict[str, float] | None = None) -> Rates:
    return Rates(tuple(sorted(bandwidths.items())), peaks or {}, 500.0, 2000.0, 0.0)


def test_bandwidth_is_that_of_the_next_smaller_size_or_of_any_larger() -> None:
    found = some_rates({100: 5.0, 200: 9.0, 400: 3.0})
    assert [found.bandwidth(size) for size in (1, 100, 199, 200, 399, 400, 10**9)] == [
        *(9.0, 9.0, 9.0),
        *(9.0, 9.0),
        *(3.0, 3.0),
    ]


@given(
    st.dictionaries(st.integers(1, 2**30), st.floats(1.0, 1e12), min_size=1),
    st.tuples(st.floats(1, 2**31), st.floats(1, 2**31)),
)
def test_more_operands_never_move_faster(
    bandwidths: dict[int, float], sizes: tuple[float, float]
) -> None:
    found = some_rates(bandwidths)
    assert found.bandwidth(max(sizes)) <= found.bandwidth(min(sizes))


def test_peak_of_a_narrow_dtype_is_at_least_float32s() -> None:
    peaks = {"float32": 100.0, "float64": 50.0, "bfloat16": 400.0, "float16": 5.0}
    found = some_rates({1: 1.0}, peaks)
    assert [found.peak(dtype) for dtype in peaks] == [100.0, 50.0, 400.0, 100.0]
    assert found.peak("tf32") == 100.0
    assert some_rates({1: 1.0}).peak("float64") is None
