"""Limits of steps without a cost model, from the operators that were counted."""

import math

import pandas as pd
import pytest

from bench.errors import UsageError
from bench.matrix.case import WHOLE, Case, OwnValue
from bench.matrix.ceiling import COPY, Ceiling
from bench.matrix.step import PHASES, Traits
from bench.protocol.profile import Moved, StepProfile, Work
from bench.report.render import render
from bench.roofline.ceilings import ceiling_frame, rates
from bench.roofline.chart import roof_table, roofline
from bench.roofline.limits import COMPILED, COUNTED, limit_frame
from bench.roofline.views import limits_view
from bench.stats.frame import tidy
from tests import synthetic
from tests.roofline.test_limits import EXACT, GBS, GFLOPS, OP_NS, ceilings_of

OWN = ("load", "forward", "backward", "clip")
SMALL, LARGE = 2**12, 2**26


def mynet(batch: int = 32, phases: tuple[str, ...] = OWN, **values: str) -> Case:
    form = "loss" if phases == PHASES else "phases"
    optimizer = {} if form == "loss" else {"optimizer": "own"}
    return Case(
        workload="mynet",
        own=(OwnValue("batch", batch, "batch"),),
        traits=Traits(form=form, phases=phases),
        **optimizer,
        **values,
    )


def work(flops: int = 0, *sizes: int) -> Work:
    """Operators with these bytes of operands, each once."""
    return Work(flops, sum(sizes), tuple(Moved(size, 1, size) for size in sorted(sizes)))


def profile(works: dict[str, Work], compiled: tuple[str, ...] = ()) -> StepProfile:
    phases = {
        name: synthetic.phase_profile(1 / len(works), ops=2, compiled=name in compiled)
        for name in works
    }
    return StepProfile(8, phases, works, state_elements=0)


WORKS = {
    "load": work(0, LARGE),
    "forward": work(10**6, SMALL, LARGE),
    "backward": work(2 * 10**6, LARGE),
    "clip": work(),
}


def limits_of(
    case: Case, seen: StepProfile, ceilings: dict[Ceiling, float] | None = None
) -> pd.DataFrame:
    ceilings = ceilings or ceilings_of()
    run = synthetic.run({case: 1e7}, moods=EXACT, profiles={case: seen}, ceilings=ceilings)
    known = rates([run], ["ours"], ceiling_frame([run], ["ours"]))
    return limit_frame([run], ["ours"], tidy([run], ["ours"]), known)


def by_series(case: Case, seen: StepProfile, **more: dict[Ceiling, float]) -> pd.DataFrame:
    return limits_of(case, seen, **more).set_index("series")


def test_each_phase_has_the_limit_of_what_was_counted_in_it() -> None:
    found = by_series(mynet(), profile(WORKS))
    assert list(found.index) == [*OWN, WHOLE]
    for phase, done in WORKS.items():
        row = found.loc[phase]
        assert row["bandwidth_ns"] == pytest.approx(done.bytes / GBS, rel=1e-3)
        assert row["compute_ns"] == pytest.approx(done.flops / GFLOPS, rel=1e-3)
        assert (row["flops"], row["bytes"]) == (done.flops, done.bytes)
        assert row["overhead_ns"] == pytest.approx(2 * OP_NS, rel=1e-3)
    for term in ("overhead_ns", "bandwidth_ns", "compute_ns"):
        assert found.loc[WHOLE, term] == pytest.approx(found.loc[list(OWN), term].sum())
    assert set(found["basis"]) == {COUNTED}
    assert found["fused_ns"].isna().all()
    assert found["headroom"].notna().all()


def test_operators_have_the_bandwidth_of_their_size() -> None:
    fast = {Ceiling(COPY, size=2**11): 2**11 / 400}
    moved = Moved(SMALL, 3, 3 * SMALL), Moved(LARGE, 1, LARGE)
    seen = profile({"forward": Work(0, 3 * SMALL + LARGE, moved)})
    found = by_series(mynet(phases=("forward",)), seen, ceilings={**ceilings_of(), **fast})
    expected = 3 * SMALL / 400 + LARGE / 100
    assert found.loc["forward", "bandwidth_ns"] == pytest.approx(expected, rel=1e-3)


def test_a_whole_step_that_cannot_be_split_has_one_limit() -> None:
    found = by_series(mynet(phases=()), profile({WHOLE: work(10**6, LARGE)}))
    assert list(found.index) == [WHOLE]
    assert found.loc[WHOLE, "bytes"] == LARGE


def test_of_compiled_phases_the_flop_alone_are_known() -> None:
    case = mynet(phases=PHASES, compile="loss")
    works = {name: work(10**6, LARGE) for name in PHASES}
    found = by_series(case, profile(works, compiled=("forward", "backward")))
    assert found.loc[["forward", "backward"], "bandwidth_ns"].tolist() == [0, 0]
    assert found.loc["step", "bandwidth_ns"] == found.loc[WHOLE, "bandwidth_ns"] > 0
    assert found["bytes"].isna().tolist() == [True, True, False, True]
    assert (found["flops"] > 0).all()
    assert found.loc[WHOLE, "basis"] == COMPILED


# For people


def test_the_table_says_what_was_counted_and_that_no_fused_limit_is_known() -> None:
    limits = limits_of(mynet(), profile(WORKS))
    view = limits_view(limits, WHOLE, {})
    (row,) = view.tables[0].rows
    assert (row["fused limit"], row["x fused limit"]) == ("-", "-")
    assert row["FLOP/B"] == f"{3e6 / (3 * LARGE + SMALL):.2g}"
    notes = [note for note in view.notes if "No cost model" in note]
    assert len(notes) == 1 and mynet().id in notes[0]
    assert "nan" not in render(view, "github")


def test_a_phase_of_its_own_can_be_asked_for_and_one_that_is_not_there_is_refused() -> None:
    limits = limits_of(mynet(), profile(WORKS))
    (row,) = limits_view(limits, "load", {}).tables[0].rows
    assert "load" in row
    with pytest.raises(UsageError, match="load, forward, backward, clip"):
        limits_view(limits, "step", {})


def test_what_is_compiled_is_named_and_has_no_intensity() -> None:
    case = mynet(phases=PHASES, compile="loss")
    works = {name: work(10**6, LARGE) for name in PHASES}
    view = limits_view(limits_of(case, profile(works, ("forward",))), WHOLE, {})
    assert view.tables[0].rows[0]["FLOP/B"] == "-"
    assert any("compiled are not known" in note and case.id in note for note in view.notes)


@pytest.mark.parametrize("samples", [True, False])
def test_a_roofline_is_drawn_with_and_without_known_samples(samples: bool) -> None:
    limits = limits_of(mynet(), profile(WORKS)).assign(samples=32.0 if samples else math.nan)
    bandwidths = {Ceiling(COPY, size=2**20): 2**20 / 50}
    run = synthetic.run({mynet(): 1e7}, moods=EXACT, ceilings={**ceilings_of(), **bandwidths})
    known = rates([run], ["ours"], ceiling_frame([run], ["ours"]))
    drawn = roofline(limits, roof_table(known)).to_dict()
    assert ("batch size" in str(drawn)) == samples


def test_a_step_without_flop_is_not_drawn() -> None:
    limits = limits_of(mynet(phases=("load",)), profile({"load": work(0, LARGE)}))
    with pytest.raises(UsageError, match="FLOP"):
        roofline(limits, roof_table({}))
