"""Whether compiling pays: break-even steps, never, and where it is unclear."""

import math
from typing import Any

import pytest

from bench.compare.compile_costs import NEVER, break_even, compile_frame
from bench.matrix.case import Case
from bench.runner.events import CompileMeasured
from bench.stats.estimates import ratio_half
from bench.stats.frame import tidy
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import Moods, compile_measured

EAGER = sumnet(optimizer="adam")
COMPILED = sumnet(optimizer="adam", compile="on")
EXACT = Moods(noise=0, between=0, blocks=6)


def rows_of(
    times_ns: dict[Case, float], *compiled: CompileMeasured, **how: Any
) -> list[dict[Any, Any]]:
    run = synthetic.run(times_ns, moods=EXACT, compiled=compiled, **how)
    return compile_frame([run], ["ours"], tidy([run], ["ours"])).to_dict("records")


def test_break_even_is_the_cost_over_what_a_step_saves() -> None:
    times = {EAGER: 1e6, COMPILED: 6e5}
    (row,) = rows_of(times, compile_measured(COMPILED, cold_s=20.0, warm_s=2.0))
    assert (row["run"], row["case"], row["compile"]) == ("ours", COMPILED.id, "on")
    assert (row["cold_s"], row["warm_s"], row["reason"]) == (20.0, 2.0, "")
    assert (row["eager_ns"], row["steady_ns"]) == pytest.approx((1e6, 6e5))
    assert row["ratio"] == pytest.approx(0.6)
    assert (row["cold_steps"], row["warm_steps"]) == pytest.approx((50_000, 5_000))


def test_compiling_never_pays_where_the_compiled_step_is_slower() -> None:
    (row,) = rows_of({EAGER: 1e6, COMPILED: 1.2e6}, compile_measured(COMPILED, 20.0, 2.0))
    assert (row["cold_steps"], row["warm_steps"]) == (NEVER, NEVER)


@pytest.mark.parametrize("compiled_ns", [0.985e6, 1e6, 1.015e6])
def test_it_is_unclear_where_the_two_steps_may_be_equally_fast(compiled_ns: float) -> None:
    (row,) = rows_of({EAGER: 1e6, COMPILED: compiled_ns}, compile_measured(COMPILED, 20.0, 2.0))
    assert abs(math.log(row["ratio"])) < row["ratio_half"] < 0.04
    assert math.isnan(row["cold_steps"]) and math.isnan(row["warm_steps"])


def test_it_is_unclear_where_one_replicate_gives_no_interval() -> None:
    run = synthetic.run(
        {EAGER: 1e6, COMPILED: 5e5}, compiled=[compile_measured(COMPILED, 9.0, 1.0)], replicates=1
    )
    (row,) = compile_frame([run], ["ours"], tidy([run], ["ours"])).to_dict("records")
    assert math.isnan(row["cold_steps"]) and math.isnan(row["warm_steps"])


def test_width_of_the_ratio_joins_the_widths_of_both_steps() -> None:
    run = synthetic.run({EAGER: 1e6, COMPILED: 5e5}, compiled=[compile_measured(COMPILED, 9.0)])
    frame = tidy([run], ["ours"])
    halves = frame[frame["series"] == "train_step"]["quiet_half"]
    (row,) = compile_frame([run], ["ours"], frame).to_dict("records")
    assert row["ratio_half"] == pytest.approx(ratio_half(*halves))


def test_eager_twin_differs_in_nothing_but_compilation() -> None:
    near = {
        sumnet(optimizer="adam", batch=4): 2e6,
        sumnet(optimizer="adam", implementation="foreach"): 3e6,
        sumnet(optimizer="adam", dtype="float64"): 4e6,
        sumnet(optimizer="adam", compile="loss"): 5e6,
    }
    measured = compile_measured(COMPILED, 20.0, 2.0)
    (lonely,) = rows_of({**near, COMPILED: 5e5}, measured)
    assert math.isnan(lonely["eager_ns"]) and math.isnan(lonely["ratio"])
    assert math.isnan(lonely["cold_steps"]) and math.isnan(lonely["warm_steps"])
    (paired,) = rows_of({**near, EAGER: 1e6, COMPILED: 5e5}, measured)
    assert paired["eager_ns"] == pytest.approx(1e6)


def test_eager_twin_is_of_the_same_run() -> None:
    slow = synthetic.run({EAGER: 9e6}, moods=EXACT)
    fast = synthetic.run({COMPILED: 1e6}, moods=EXACT, compiled=[compile_measured(COMPILED, 1.0)])
    frame = tidy([slow, fast], ["slow", "fast"])
    (row,) = compile_frame([slow, fast], ["slow", "fast"], frame).to_dict("records")
    assert row["run"] == "fast"
    assert math.isnan(row["eager_ns"])


def test_what_could_not_be_timed_keeps_its_row_with_the_reason() -> None:
    times = {EAGER: 1e6, COMPILED: 5e5}
    (row,) = rows_of(times, compile_measured(COMPILED, 20.0, reason="the caches held nothing"))
    assert row["cold_steps"] == pytest.approx(40_000)
    assert math.isnan(row["warm_s"]) and math.isnan(row["warm_steps"])
    assert row["reason"] == "the caches held nothing"


def test_compiled_case_that_broke_has_no_steady_time() -> None:
    times, measured = {EAGER: 1e6, COMPILED: 5e5}, compile_measured(COMPILED, 20.0, 2.0)
    (row,) = rows_of(times, measured, ended={COMPILED: ("failed", "it broke")})
    assert row["cold_s"] == 20.0
    assert math.isnan(row["steady_ns"]) and math.isnan(row["cold_steps"])


def test_run_that_timed_no_compilation_has_no_rows() -> None:
    assert rows_of({EAGER: 1e6, COMPILED: 5e5}) == []


def test_break_even_is_one_step_at_least() -> None:
    assert break_even(0.25, steady_ns=1e9, eager_ns=2e9, ratio_half=0.01) == 1.0
