"""Limits: computed by hand, missing with their reasons, and never above what was measured."""

import math
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from bench.matrix.case import (
    WHOLE,
    Case,
)
from bench.matrix.ceiling import COPY, LAUNCH, MATMUL, NODE, OP, Ceiling
from bench.matrix.precision import PRECISIONS
from bench.matrix.step import PHASES
from bench.protocol.profile import StepProfile
from bench.records.run_file import RunRecord
from bench.records.store import load_run
from bench.roofline.ceilings import ceiling_frame, rates
from bench.roofline.costs import as_run, eager, fused, total
from bench.roofline.limits import MODELLED, NO_CEILINGS, NO_PROFILE, limit_frame
from bench.stats.frame import tidy
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import Moods

EXACT = Moods(noise=0, between=0, blocks=6)
OP_NS, NODE_NS, LAUNCH_NS = 500.0, 2000.0, 4000.0
GBS, GFLOPS = 100.0, 50.0
"""Bytes and FLOP a nanosecond."""
PHASE_PROFILES = {
    "forward": synthetic.phase_profile(0.4, ops=4),
    "backward": synthetic.phase_profile(0.4, ops=1, nodes=6),
    "step": synthetic.phase_profile(0.2, ops=3),
}
OVERHEAD_NS = {"forward": 4 * OP_NS, "backward": OP_NS + 6 * NODE_NS, "step": 3 * OP_NS}


def ceilings_of(device: str = "cpu", threads: int = 1) -> dict[Ceiling, float]:
    found = {
        Ceiling(COPY, device, threads, size=2**16): 2**16 / GBS,
        Ceiling(MATMUL, device, threads, "float32", 512): 2 * 512**3 / GFLOPS,
        Ceiling(OP, device, threads): OP_NS,
        Ceiling(NODE, device, threads): NODE_NS,
    }
    return found if device == "cpu" else {**found, Ceiling(LAUNCH, device, threads): LAUNCH_NS}


def limits_of(*runs: RunRecord) -> pd.DataFrame:
    labels = [str(number) for number in range(len(runs))]
    known = rates(runs, labels, ceiling_frame(runs, labels))
    return limit_frame(runs, labels, tidy(runs, labels), known)


def measured(
    case: Case, profile: StepProfile | str | None = None, time_ns: float = 1e5, **more: object
) -> pd.DataFrame:
    """The limits of one case by its series, on a machine with all ceilings."""
    seen = profile or synthetic.step_profile(PHASE_PROFILES)
    ceilings = more.pop("ceilings", ceilings_of(case.device, case.threads))
    run = synthetic.run(
        {case: time_ns},
        moods=EXACT,
        profiles={case: seen},
        ceilings=ceilings,  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )
    return limits_of(run).set_index("series")


# Computed by hand


def test_small_case_is_bound_by_launching_its_operators_and_nodes() -> None:
    found = measured(sumnet())
    for phase in PHASES:
        assert found.loc[phase, "limit_ns"] == pytest.approx(OVERHEAD_NS[phase], rel=1e-3)
    assert found.loc[WHOLE, "limit_ns"] == pytest.approx(sum(OVERHEAD_NS.values()), rel=1e-3)
    assert set(found["bound"]) == {"overhead"}
    assert found.loc[WHOLE, "headroom"] == pytest.approx(1e5 / 16_000, rel=1e-2)


def test_large_case_is_bound_by_its_operands_one_operator_at_a_time() -> None:
    case = sumnet(batch=2**20)
    found = measured(case, time_ns=1e9)
    elements = 47 * 2**20 + 41
    assert found.loc["forward", "bytes"] == 4 * elements
    assert found.loc["forward", "bandwidth_ns"] == pytest.approx(4 * elements / GBS, rel=1e-3)
    assert found.loc["forward", "compute_ns"] == pytest.approx(73 * 2**20 / GFLOPS, rel=1e-3)
    assert found.loc[WHOLE, "bound"] == "bandwidth"


def test_an_operator_is_limited_by_the_bandwidth_of_its_own_working_set() -> None:
    cached = {Ceiling(COPY, size=2**15): 2**15 / 400, Ceiling(COPY, size=2**24): 2**24 / 20}
    case = sumnet(batch=2**20)
    found = measured(case, time_ns=1e9, ceilings={**ceilings_of(), **cached})
    expected = sum(
        op.bytes / (20 if op.bytes >= 2**24 else 100) for op in eager(case, 0)["forward"]
    )
    assert found.loc["forward", "bandwidth_ns"] == pytest.approx(expected, rel=1e-3)


def test_terms_of_the_whole_are_the_sums_of_its_phases_and_its_limit_the_largest() -> None:
    found = measured(sumnet(batch=4096), time_ns=1e6)
    for term in ("overhead_ns", "bandwidth_ns", "compute_ns"):
        assert found.loc[WHOLE, term] == pytest.approx(found.loc[list(PHASES), term].sum())
    terms = found.loc[WHOLE, ["overhead_ns", "bandwidth_ns", "compute_ns"]]
    assert found.loc[WHOLE, "limit_ns"] == terms.max()


@pytest.mark.parametrize(
    ("case", "path", "together"),
    [
        (sumnet(batch=2**20), "for-loop", ()),
        (sumnet(batch=2**20, implementation="fused"), "fused", ("step",)),
        (sumnet(batch=2**20, compile="loss"), "for-loop", ("forward", "backward")),
        (sumnet(batch=2**20, compile="step"), "compiled", ("step",)),
        (sumnet(batch=2**20, compile="on"), "compiled", PHASES),
    ],
)
def test_what_is_fused_has_the_traffic_of_one_operator(
    case: Case, path: str, together: tuple[str, ...]
) -> None:
    parts = as_run(case, path, 0)
    for phase in PHASES:
        expected = fused(case, 0) if phase in together else eager(case, 0)
        assert parts[phase] == expected[phase]


@pytest.mark.parametrize("asked", ["default", "fused"])
def test_step_is_fused_where_it_was_seen_to_be_whatever_was_asked_for(asked: str) -> None:
    case = sumnet(optimizer="adam", implementation=asked)
    run = synthetic.run(
        {case: 1e5},
        moods=EXACT,
        profiles={case: synthetic.step_profile(PHASE_PROFILES, state_elements=82)},
        ceilings=ceilings_of(),
    )
    (record,) = run.cases
    assert record.prepared is not None
    for path, elements in (("for-loop", 18 * 41), ("fused", 3 * 41 + 2 * 82)):
        assert record.prepared.verified is not None
        seen = msgspec.structs.replace(record.prepared.verified, path=path)
        record.prepared = msgspec.structs.replace(record.prepared, verified=seen)
        found = limits_of(run).set_index("series")
        assert found.loc["step", "bytes"] == pytest.approx(4 * elements)
        assert found.loc["step", "flops"] == pytest.approx(13 * 41)


def test_fused_limit_gives_each_phase_one_operator() -> None:
    found = measured(sumnet())
    assert found.loc["forward", "fused_ns"] == pytest.approx(OP_NS, rel=1e-3)
    assert found.loc[WHOLE, "fused_ns"] == pytest.approx(3 * OP_NS, rel=1e-3)
    assert (found["fused_ns"] <= found["limit_ns"]).all()


def test_case_without_phases_has_the_limit_of_its_whole_step() -> None:
    profile = synthetic.step_profile({WHOLE: synthetic.phase_profile(ops=40, nodes=5)})
    found = measured(sumnet(optimizer="lbfgs"), profile)
    assert list(found.index) == [WHOLE]
    assert found.loc[WHOLE, "limit_ns"] == pytest.approx(40 * OP_NS + 5 * NODE_NS, rel=1e-3)


def test_on_an_accelerator_overhead_bounds_the_whole_step_and_no_phase() -> None:
    profile = synthetic.step_profile(
        {phase: synthetic.phase_profile(1 / 3, ops=2, launches=10, kernels=10) for phase in PHASES}
    )
    found = measured(sumnet(device="cuda"), profile)
    assert found.loc[list(PHASES), "overhead_ns"].tolist() == [0.0] * 3
    assert found.loc[WHOLE, "overhead_ns"] == pytest.approx(6 * OP_NS, rel=1e-3)


def test_fused_limit_of_a_captured_step_is_no_more_than_its_own() -> None:
    """It is one launch, not three operators."""
    launched = synthetic.phase_profile(ops=0, launches=1, kernels=30)
    graph = sumnet(device="cuda", compile="graph")
    cheap = {**ceilings_of("cuda"), Ceiling(LAUNCH, "cuda"): 800.0}
    found = measured(graph, synthetic.step_profile({WHOLE: launched}), ceilings=cheap)
    assert found.loc[WHOLE, "limit_ns"] == pytest.approx(800, rel=1e-3)
    assert found.loc[WHOLE, "fused_ns"] <= found.loc[WHOLE, "limit_ns"]


def test_case_under_autocast_is_limited_by_the_products_that_it_casts_to() -> None:
    peaks = {"bfloat16": 200.0, "float16": 5.0}
    own = {Ceiling(MATMUL, dtype=name, size=512): 2 * 512**3 / peak for name, peak in peaks.items()}
    for dtype, peak in (("amp-bfloat16", 200.0), ("amp-float16", GFLOPS)):
        case = sumnet(dtype=dtype, batch=2**10)
        found = measured(case, ceilings={**ceilings_of(), **own})
        expected = (7 * 10 + 3) * 2**10 / peak
        assert found.loc["forward", "compute_ns"] == pytest.approx(expected, rel=1e-3)


def test_narrow_dtype_is_limited_by_float32_where_its_own_products_are_slower() -> None:
    slow = {Ceiling(MATMUL, dtype="float16", size=512): 2 * 512**3 / 5}
    found = measured(sumnet(dtype="float16"), ceilings={**ceilings_of(), **slow})
    assert found.loc[WHOLE, "compute_ns"] == pytest.approx(
        sum(total(ops).flops for ops in eager(sumnet(dtype="float16"), 0).values()) / GFLOPS,
        rel=1e-3,
    )


# Missing


def reasons(found: pd.DataFrame) -> set[str]:
    assert found[["limit_ns", "fused_ns", "headroom"]].isna().all(axis=None)
    assert found["bound"].isna().all()
    return set(found["reason"])


def test_without_ceilings_there_is_no_limit() -> None:
    assert reasons(measured(sumnet(), ceilings={})) == {NO_CEILINGS}
    other_threads = ceilings_of(threads=2)
    assert reasons(measured(sumnet(), ceilings=other_threads)) == {NO_CEILINGS}


def test_without_a_profile_there_is_no_limit() -> None:
    run = synthetic.run({sumnet(): 1e5}, moods=EXACT, ceilings=ceilings_of())
    assert reasons(limits_of(run)) == {NO_PROFILE}
    assert reasons(measured(sumnet(), "steps differ")) == {"steps differ"}


def test_without_products_in_its_dtype_there_is_no_limit() -> None:
    found = measured(sumnet(dtype="float64"))
    assert reasons(found) == {"the ceilings lack matrix products in float64"}


def test_case_that_failed_has_its_own_reason() -> None:
    found = measured(sumnet(), ended={sumnet(): ("killed", "by the kernel")})
    assert reasons(found) == {"killed: by the kernel"}


def test_limit_is_kept_where_only_the_time_is_missing() -> None:
    run = synthetic.run(
        {sumnet(): 1e5},
        replicates=3,
        moods=EXACT,
        profiles={sumnet(): synthetic.step_profile(PHASE_PROFILES)},
        ceilings=ceilings_of(),
    )
    run.cases[0].blocks.clear()
    found = limits_of(run).set_index("series")
    assert math.isnan(found.loc[WHOLE, "headroom"])
    assert found.loc[WHOLE, "limit_ns"] > 0


# Of a run that was measured


@pytest.fixture(scope="module")
def stored(stored_runs: Path) -> RunRecord:
    """A run with ceilings and profiles."""
    return load_run(stored_runs / "amd-epyc-2c-24gib" / "20261125T163755Z-39203a121a.json")


@pytest.fixture(scope="module")
def limits(stored: RunRecord) -> pd.DataFrame:
    return limits_of(stored)


def test_nothing_was_measured_below_its_limit(limits: pd.DataFrame) -> None:
    assert limits["limit_ns"].notna().any()
    below = limits[limits["headroom"] < 1]
    assert below[["case", "series", "measured_ns", "limit_ns"]].to_dict("records") == []
    assert set(limits["series"]) <= {*PHASES, WHOLE}
    assert set(limits["basis"].dropna()) == {MODELLED}


def test_overhead_bounds_small_batches_and_never_the_largest_on_a_cpu(
    limits: pd.DataFrame,
) -> None:
    whole = limits[(limits["series"] == WHOLE) & (limits["device"] == "cpu")]
    known = whole[whole["limit_ns"].notna()]
    assert set(known[known["batch"] >= 2**18]["bound"]) <= {"bandwidth", "compute"}
    assert set(known[known["batch"] == 2]["bound"]) == {"overhead"}


def test_the_model_of_a_stored_run_is_what_torch_was_counted_to_do(stored: RunRecord) -> None:
    for record in (case for case in stored.cases if case.profile):
        case, profile = record.case, record.profile
        assert profile is not None
        if WHOLE in profile.work:
            continue
        parts = eager(case, profile.state_elements)
        for phase, work in profile.work.items():
            assert total(parts[phase]).products == work.flops, (case.id, phase)
        for phase in ("forward", "backward"):
            if PRECISIONS[case.dtype].autocast is None:
                ratio = total(parts[phase]).bytes / profile.work[phase].bytes
                assert abs(ratio - 1) <= 0.2, (case.id, phase)
