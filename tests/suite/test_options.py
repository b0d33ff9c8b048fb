"""The plan that the suite's options ask for, and what pytest-benchmark's options become."""

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_benchmark.plugin import pytest_addoption as declare_benchmark_options

from bench.errors import UsageError
from bench.matrix.ceiling import ceilings, ceilings_under, products_dtype
from bench.matrix.plan import Plan
from bench.matrix.precision import PRECISIONS
from bench.matrix.presets import PRESETS, select
from bench.suite.measurement import Measurement, measurement_of
from bench.suite.plan import ceilings_from, ceilings_plan, plan_from
from bench.suite.plugin import MEANINGLESS, Suite, refuse_meaningless
from bench.suite.session import DISPLAY_OPTIONS
from tests.cases import sumnet
from tests.suite.driving import SEED_CASE, asked, stub_config

ADAM_CASE = "cpu/float64/b64/adam/default/compile-off/h10/t1"
HONOURED = {
    *DISPLAY_OPTIONS,
    "--benchmark-compare-fail",
    "--benchmark-disable",
    "--benchmark-disable-gc",
    "--benchmark-enable",
    "--benchmark-only",
    "--benchmark-skip",
    "--benchmark-save",
    "--benchmark-autosave",
    "--benchmark-save-data",
    "--benchmark-json",
    "--benchmark-storage",
    "--benchmark-netrc",
    "--benchmark-quiet",
}


def plan(*words: str) -> Any:
    return plan_from(asked(*words))


def benchmark_options() -> set[str]:
    """Every option pytest-benchmark declares."""
    parser = argparse.ArgumentParser()

    def add(*names: str, **settings: Any) -> None:
        parser.add_argument(*names, **settings)

    group = SimpleNamespace(addoption=add)
    declare_benchmark_options(
        SimpleNamespace(getgroup=lambda *_: group, addini=lambda *_, **__: None)
    )
    return {option for action in parser._actions for option in action.option_strings} - {
        "-h",
        "--help",
    }


def test_nothing_asked_for_is_the_quick_preset_in_the_stock_environment() -> None:
    found = plan()
    quick = PRESETS["quick"]
    assert found.cases == select("quick", {})
    assert (found.preset, found.named, found.environment) == ("quick", False, "stock")
    assert (found.replicates, found.budget_s) == (quick.replicates, quick.budget_s)


def test_preset_brings_its_own_replicates_and_budget() -> None:
    found, full = plan("--preset", "full"), PRESETS["full"]
    assert (found.replicates, found.budget_s) == (full.replicates, full.budget_s)
    assert found.budget_s > plan("--preset", "quick").budget_s


def test_given_numbers_replace_the_presets() -> None:
    found = plan("--preset=seed", "--replicates=17", "--budget=2.5", "--order-seed=0")
    assert (found.replicates, found.budget_s, found.seed) == (17, 2.5, 0)


def test_learning_rate_is_each_optimizers_own_unless_given() -> None:
    assert plan().lr is None
    assert plan("--lr=0.5").lr == 0.5


def test_preset_says_which_compilations_are_timed() -> None:
    timed = plan("--preset=full").compile_timed
    assert timed and all("/compile-" in case and "/compile-off/" not in case for case in timed)
    assert set(timed) < {case.id for case in plan("--preset=full").cases}
    assert plan("--preset=quick").compile_timed == []


def test_every_compilation_or_none_is_timed_where_asked_for() -> None:
    words = ("--preset=seed", "--compile=off,on,step,graph")
    compiled = [SEED_CASE.replace("off", what) for what in ("on", "step")]
    assert plan(*words).compile_timed == []
    assert plan(*words, "--compile-times=all").compile_timed == compiled
    assert plan("--preset=full", "--compile-times=none").compile_timed == []
    by_id = [f"--case={case}" for case in (SEED_CASE, *compiled)]
    assert plan(*by_id).compile_timed == []
    assert plan(*by_id, "--compile-times=all").compile_timed == compiled


def test_nothing_but_times_is_measured_unless_asked_for() -> None:
    found = plan()
    assert (found.profiled, found.energy, found.ceilings) == (False, False, [])


def test_profiles_and_energy_are_planned_where_asked_for() -> None:
    found = plan("--profile")
    assert (found.profiled, found.energy, found.ceilings) == (True, False, [])
    found = plan("--energy")
    assert (found.profiled, found.energy, found.ceilings) == (False, True, [])


def test_ceilings_are_planned_of_the_devices_threads_and_dtypes_that_the_cases_have() -> None:
    words = ("--preset=seed", "--threads=1,2", "--dtype=float32,amp-bfloat16")
    found = plan(*words, "--ceilings")
    assert found.ceilings == ceilings_under(found.cases)
    assert {above.threads for above in found.ceilings} == {1, 2}
    assert {above.device for above in found.ceilings} == {"cpu"}
    assert {above.dtype for above in found.ceilings} == {None, "float32", "bfloat16"}
    by_id = plan(f"--case={ADAM_CASE}", "--ceilings").ceilings
    assert {above.dtype for above in by_id} == {None, "float32", "float64"}


def test_ceilings_alone_are_those_of_a_cpu_in_every_dtype_unless_an_axis_says_otherwise() -> None:
    dtypes = list(dict.fromkeys(map(products_dtype, PRECISIONS)))
    assert ceilings_from(asked()) == ceilings("cpu", 1, dtypes)
    words = ("--device=cpu,cuda:1", "--threads=2", "--dtype=amp-float16,float16")
    assert ceilings_from(asked(*words)) == [
        *ceilings("cpu", 2, ["float16"]),
        *ceilings("cuda:1", 2, ["float16"]),
    ]


def test_axis_replaces_the_presets_values_in_the_order_given() -> None:
    found = plan("--preset=seed", "--batch=64,2", "--dtype=float64")
    assert found.cases == [
        sumnet(dtype="float64", batch=64),
        sumnet(dtype="float64", batch=2),
    ]
    assert found.preset == "seed"


def test_cases_by_id_are_taken_once_each_and_in_order() -> None:
    found = plan(f"--case={ADAM_CASE}", f"--case={SEED_CASE}", f"--case={ADAM_CASE}")
    assert [case.id for case in found.cases] == [ADAM_CASE, SEED_CASE]
    assert (found.named, found.preset) == (True, None)


def test_order_of_blocks_differs_from_run_to_run_unless_seeded() -> None:
    assert len({plan().seed for _ in range(5)}) > 1
    assert {plan("--order-seed=7").seed for _ in range(5)} == {7}


def test_environment_is_the_one_asked_for() -> None:
    assert plan("--environment=steady").environment == "steady"


def test_every_option_of_pytest_benchmark_is_honoured_or_refused() -> None:
    refused = {f"--benchmark-{name}" for name in MEANINGLESS}
    assert HONOURED.isdisjoint(refused)
    assert benchmark_options() <= HONOURED | refused


@pytest.mark.parametrize("name", sorted(MEANINGLESS))
def test_option_that_a_replayed_clock_cannot_honour_is_refused_with_the_reason(name: str) -> None:
    option = f"--benchmark-{name}"
    for words in ([f"{option}=3"], [option, "3"], [option]):
        with pytest.raises(UsageError) as caught:
            refuse_meaningless(stub_config(*words))
        assert str(caught.value) == f"{option} has no meaning here: {MEANINGLESS[name]}"


def test_meaningless_option_is_refused_wherever_it_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    in_file = stub_config(addopts=("-ra", "--benchmark-max-time=2"))
    with pytest.raises(UsageError, match=r"--benchmark-max-time .* --budget"):
        refuse_meaningless(in_file)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-q --benchmark-min-rounds 7")
    with pytest.raises(UsageError, match=r"--benchmark-min-rounds .* --replicates"):
        refuse_meaningless(stub_config())


@pytest.mark.parametrize("text", ["x", "param:x", "group,", "name, func", ""])
def test_grouping_that_the_tables_do_not_know_is_refused_before_measuring(text: str) -> None:
    with pytest.raises(UsageError, match="--benchmark-group-by: "):
        refuse_meaningless(stub_config(benchmark_group_by=text))
    refuse_meaningless(stub_config(benchmark_group_by="group,param:case,param:phase"))
    refuse_meaningless(stub_config())


def test_option_that_keeps_its_meaning_passes() -> None:
    refuse_meaningless(stub_config(*HONOURED, "--preset=seed"))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--preset=seed",), "--preset"),
        (("--batch=2",), "--batch"),
        ((f"--case={SEED_CASE}",), "--case"),
        (("--replicates=9", "--order-seed=1"), "--replicates, --order-seed"),
        (("--environment=stock",), "--environment"),
        (("--lr=0.1", "--compile-times=none"), "--lr, --compile-times"),
        (("--profile",), "--profile"),
        (("--energy", "--ceilings"), "--energy, --ceilings"),
        (("--results=elsewhere",), "--results"),
    ],
)
def test_resumed_run_takes_no_plan_but_its_journals(words: tuple[str, ...], named: str) -> None:
    with pytest.raises(UsageError) as caught:
        measurement_of(asked("--resume=some.journal", *words), plan_from)
    _, _, dropped = str(caught.value).partition(": drop ")
    assert set(dropped.split(", ")) == set(named.split(", "))


@pytest.mark.parametrize("word", ["-kb2", "-mslow", SEED_CASE])
def test_resumed_command_takes_no_selection(word: str) -> None:
    with pytest.raises(UsageError, match=r"--resume .*: drop"):
        measurement_of(asked("--resume=some.journal", word, front="run"), plan_from)


@pytest.mark.parametrize(
    "given", [{"keyword": "b2"}, {"markexpr": "slow"}, {"benchmark_disable": True}]
)
def test_resumed_session_takes_no_selection(given: dict[str, object]) -> None:
    resumed = Measurement(Plan([], 1, 0), Path(), resume=Path("some.journal"))
    with pytest.raises(pytest.UsageError, match=r"--resume .*: drop -"):
        Suite(resumed).pytest_configure(stub_config(**given))
    Suite(resumed).pytest_configure(stub_config())


def test_ceilings_command_plans_ceilings_alone() -> None:
    found = ceilings_plan(asked("--dtype=float32", "--environment=steady", front="ceilings"))
    assert (found.cases, found.environment) == ([], "steady")
    assert found.ceilings == ceilings("cpu", 1, ["float32"])
