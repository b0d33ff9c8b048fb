"""Rankings and crossovers, out of runs of known times."""

import math
from typing import Any

import pandas as pd
import pytest

from bench.errors import UsageError
from bench.matrix.case import THROUGHPUT, WHOLE, Case
from bench.options import CHOICES
from bench.rank.analysis import Crossover, Ranking, crossovers, rankings
from bench.records.run_file import RunRecord
from bench.stats.estimates import ratio_half
from bench.stats.frame import steps, tidy
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import SHARES, Moods

EXACT = Moods(noise=0, between=0, blocks=6)
ADAM, FOREACH, FUSED = (
    sumnet(optimizer="adam", implementation=name) for name in ("default", "foreach", "fused")
)


def frame_of(*times_ns: dict[Case, float], moods: Moods = EXACT) -> pd.DataFrame:
    return joined(*(synthetic.run(times, moods=moods) for times in times_ns))


def joined(*runs: RunRecord) -> pd.DataFrame:
    return tidy(runs, ["ours", "theirs"][: len(runs)])


def ranked(frame: pd.DataFrame, by: tuple[str, ...] = CHOICES) -> list[Ranking]:
    return rankings(frame, by, "quiet")


def order(ranking: Ranking, column: str = "implementation") -> list[str]:
    return list(ranking.table[column])


# Rankings


def test_fastest_comes_first_at_each_batch() -> None:
    large = [sumnet(batch=1024, optimizer="adam", implementation=n) for n in ("default", "fused")]
    frame = frame_of({large[1]: 9e5, ADAM: 3e5, FUSED: 1e5, FOREACH: 2e5, large[0]: 5e5})
    small, big = ranked(frame)
    assert (small.task["batch"], order(small)) == (2, ["fused", "foreach", "default"])
    assert (big.task["batch"], order(big)) == (1024, ["default", "fused"])
    assert list(small.table["ratio"]) == pytest.approx([1.0, 2.0, 3.0])
    assert list(small.slower["ratio"]) == pytest.approx([2.0, 3.0])


def test_optimizers_and_nets_are_not_ranked_against_each_other() -> None:
    frame = frame_of({sumnet(): 1e5, ADAM: 2e5, sumnet(hidden=64): 3e5})
    tasks = [(r.task["optimizer"], r.task["hidden"], len(r.table)) for r in ranked(frame)]
    assert sorted(tasks) == [("adam", 10, 1), ("sgd", 10, 1), ("sgd", 64, 1)]


def test_configurations_whose_ratio_could_be_1_are_tied_with_the_first() -> None:
    (ranking,) = ranked(frame_of({ADAM: 1e5, FUSED: 1.015e5, FOREACH: 2e5}))
    assert order(ranking) == ["default", "fused", "foreach"]
    assert list(ranking.slower["implementation"]) == ["foreach"]
    half = ratio_half(*ranking.table["quiet_half"][:2])
    assert ranking.table["ratio_half"][1] == pytest.approx(half)
    assert math.log(1.015) < half < math.log(2)


def test_steps_are_of_many_where_the_host_runs_ahead_and_whole_ones_elsewhere() -> None:
    cuda = sumnet(device="cuda")
    frame = frame_of({sumnet(): 1e5, cuda: 1.1e5})
    used = steps(frame, "quiet").set_index("device")
    assert used["series"].to_dict() == {"cpu": WHOLE, "cuda": THROUGHPUT}
    (ranking,) = ranked(frame)
    assert order(ranking, "device") == ["cuda", "cpu"]
    assert ranking.table["quiet_ns"][0] == pytest.approx(1.1e5 * SHARES[THROUGHPUT])


def test_what_one_may_not_choose_is_part_of_the_task() -> None:
    double = sumnet(optimizer="adam", dtype="float64")
    frame = frame_of({ADAM: 2e5, FUSED: 1e5, double: 3e5})
    by_implementation = ranked(frame, ("implementation",))
    assert [(r.task["dtype"], order(r)) for r in by_implementation] == [
        ("float32", ["fused", "default"]),
        ("float64", ["default"]),
    ]
    (everything,) = ranked(frame)
    assert len(everything.table) == 3


def test_runs_are_ranked_against_each_other_only_if_one_may_choose_the_run() -> None:
    frame = frame_of({ADAM: 2e5}, {ADAM: 1e5})
    (together,) = ranked(frame)
    assert order(together, "run") == ["theirs", "ours"]
    apart = ranked(frame, ("implementation",))
    assert [(r.task["run"], len(r.table)) for r in apart] == [("ours", 1), ("theirs", 1)]


def test_ranking_is_of_the_statistic_asked_for() -> None:
    loud = Moods(noise=0, between=0, blocks=40, speeds=(1.0, 2.0, 2.0))
    other = synthetic.machine("other-cpu-8c-16gib")
    runs = [
        synthetic.run({ADAM: 1e5}, moods=loud),
        synthetic.run({ADAM: 1.5e5}, moods=EXACT, on=other),
    ]
    fastest = {
        statistic: rankings(joined(*runs), CHOICES, statistic)[0].table["run"][0]
        for statistic in ("quiet", "typical")
    }
    assert fastest == {"quiet": "ours", "typical": "theirs"}


def test_case_without_a_time_is_not_ranked() -> None:
    run = synthetic.run({ADAM: 1e5}, moods=EXACT, ended={FUSED: ("unsupported", "no kernel")})
    (ranking,) = ranked(joined(run))
    assert order(ranking) == ["default"]


def test_nothing_to_rank_is_refused() -> None:
    with pytest.raises(UsageError, match=r"nothing to rank: .* quiet"):
        ranked(joined(synthetic.run({ADAM: 1e5}, ended={ADAM: ("failed", "it broke")})))


# Crossovers


def times(cpu: dict[int, float], cuda: dict[int, float]) -> dict[Case, float]:
    """Steps of so many nanoseconds at these batches; a step on cuda is one among many."""
    on_cuda = {sumnet(device="cuda", batch=b): ns / SHARES[THROUGHPUT] for b, ns in cuda.items()}
    return {sumnet(batch=b): ns for b, ns in cpu.items()} | on_cuda


def crossing(cpu: dict[int, float], cuda: dict[int, float]) -> list[Crossover]:
    return crossovers(frame_of(times(cpu, cuda)), "quiet")


def only(found: list[Crossover]) -> dict[str, Any]:
    (crossover,) = found
    return {name: getattr(crossover, name) for name in ("batch", "faster_below", "faster_above")}


def test_one_place_overtakes_the_other_between_two_batches() -> None:
    (found,) = crossing({4: 1e5, 16: 1e5, 256: 4e5}, {4: 2e5, 16: 2e5, 256: 2e5})
    assert (found.places, found.batches) == (("cpu", "cuda"), (4, 256))
    assert (found.faster_below, found.faster_above) == ("cpu", "cuda")
    # The lead goes from a factor of 2 to one of 1/2: half way, in logarithms.
    assert found.batch == pytest.approx(64)
    assert found.task == {"workload": "sumnet", "optimizer": "sgd", "hidden": 10}


def test_crossover_lies_nearer_to_where_the_places_differ_less() -> None:
    (found,) = crossing({4: 1e5, 4096: 8e5}, {4: 2e5, 4096: 2e5})
    assert found.batch == pytest.approx(4 * (4096 / 4) ** (1 / 3))


def test_place_that_is_always_faster_is_never_overtaken() -> None:
    found = crossing({4: 1e5, 64: 2e5, 1024: 3e5}, {4: 9e5, 64: 9e5, 1024: 9e5})
    assert only(found) == {"batch": None, "faster_below": "cpu", "faster_above": "cpu"}


def test_places_that_differ_at_no_batch_are_tied() -> None:
    found = crossing({4: 1e5, 64: 2e5}, {4: 1.01e5, 64: 1.99e5})
    assert only(found) == {"batch": None, "faster_below": None, "faster_above": None}


def test_batches_at_which_the_places_do_not_differ_are_passed_over() -> None:
    (found,) = crossing({4: 1e5, 16: 2.01e5, 256: 4e5}, {4: 2e5, 16: 2e5, 256: 2e5})
    assert found.batch == pytest.approx(math.sqrt(4 * 256))


def test_last_change_counts_where_there_are_several() -> None:
    (found,) = crossing({2: 1e5, 8: 4e5, 32: 1e5, 512: 4e5}, {2: 2e5, 8: 2e5, 32: 2e5, 512: 2e5})
    assert found.batch == pytest.approx(math.sqrt(32 * 512))


def test_place_that_is_overtaken_and_overtakes_again_is_not_faster_throughout() -> None:
    found = only(crossing({4: 1e5, 16: 4e5, 64: 1e5}, {4: 2e5, 16: 2e5, 64: 2e5}))
    assert found["faster_above"] == "cpu"
    assert found["batch"] == pytest.approx(math.sqrt(16 * 64))


def test_each_place_is_at_its_fastest_configuration() -> None:
    slow = times({4: 1e5, 64: 4e5}, {4: 9e5, 64: 9e5})
    fused = {
        sumnet(device="cuda", batch=batch, implementation="fused"): 2e5 / SHARES[THROUGHPUT]
        for batch in (4, 64)
    }
    (found,) = crossovers(frame_of(slow | fused), "quiet")
    assert found.batch == pytest.approx(16)


def test_places_that_share_one_batch_or_none_have_no_crossover() -> None:
    assert crossing({4: 1e5, 16: 1e5}, {16: 2e5, 64: 2e5}) == []
    assert crossovers(frame_of({sumnet(): 1e5, sumnet(batch=64): 2e5}), "quiet") == []


def test_devices_of_different_runs_are_different_places() -> None:
    ours, theirs = (
        {sumnet(batch=4): 1e5, sumnet(batch=64): 4e5},
        {sumnet(batch=4): 2e5},
    )
    theirs[sumnet(batch=64)] = 2e5
    (found,) = crossovers(frame_of(ours, theirs), "quiet")
    assert (found.faster_below, found.faster_above) == ("ours cpu", "theirs cpu")
    assert found.batch == pytest.approx(16)


def test_every_task_has_its_own_crossover() -> None:
    sgd = times({4: 1e5, 64: 4e5}, {4: 2e5, 64: 2e5})
    adam = {
        sumnet(device=case.device, batch=case.own_values["batch"], optimizer="adam"): 1e5
        * (1 + (ns > 2e5))
        for case, ns in sgd.items()
    }
    found = crossovers(frame_of(sgd | adam), "quiet")
    assert [crossover.task["optimizer"] for crossover in found] == ["sgd", "adam"]
