"""Why a case cannot run: each rule, its reason, and a case it lets pass."""

import msgspec
import pytest
from hypothesis import given

from bench.matrix.case import Case
from bench.matrix.support import RULES, Facts, estimated_bytes, unsupported_reason
from sumnet.optimizers import OptimizerSpec
from tests.matrix.strategies import CASES

MACHINE = Facts(
    torch="2.13.0",
    cores=4,
    memory_bytes=8 * 2**30,
    compiler="g++",
    isolates_compiled=True,
    devices={"cpu": None, "cuda": "torch 2.13.0 sees no cuda device here", "mps": "no mps"},
)
LARGE = Case(batch=2**22, hidden=4096)


def machine(**facts: object) -> Facts:
    return msgspec.structs.replace(MACHINE, **facts)


def test_a_common_case_runs() -> None:
    assert unsupported_reason(Case(), MACHINE) is None


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:3"])
def test_a_device_that_is_not_there_is_refused_for_its_own_reason(device: str) -> None:
    reason = unsupported_reason(Case(device=device), MACHINE)
    assert reason == "torch 2.13.0 sees no cuda device here"
    assert unsupported_reason(Case(device="mps"), MACHINE) == "no mps"


@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_device_that_is_there_runs(device: str) -> None:
    there = machine(devices={"cpu": None, "cuda": None, "mps": "no mps"})
    assert unsupported_reason(Case(device=device), there) is None


def test_an_implementation_torch_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = OptimizerSpec("Rprop", implementations=("default", "foreach"))
    monkeypatch.setattr("bench.matrix.support.OPTIMIZERS", {"rprop": spec})
    fused = Case(optimizer="rprop", implementation="fused")
    assert unsupported_reason(fused, MACHINE) == "torch has no fused implementation of rprop"
    foreach = Case(optimizer="rprop", implementation="foreach")
    assert unsupported_reason(foreach, MACHINE) is None


def test_a_fused_step_is_not_compiled() -> None:
    reason = unsupported_reason(Case(implementation="fused", compile="on"), MACHINE)
    assert reason == "torch.compile captures nothing of a fused optimizer step"
    assert unsupported_reason(Case(implementation="fused"), MACHINE) is None
    assert unsupported_reason(Case(implementation="foreach", compile="on"), MACHINE) is None


def test_without_a_compiler_nothing_is_compiled_on_the_cpu() -> None:
    none = machine(compiler=None)
    assert unsupported_reason(Case(compile="on"), none) == (
        "torch.compile needs a C++ compiler: neither $CXX nor the default is on the PATH"
    )
    assert unsupported_reason(Case(), none) is None
    assert unsupported_reason(Case(compile="on"), MACHINE) is None


def test_threads_need_a_core_each() -> None:
    reason = unsupported_reason(Case(threads=5), MACHINE)
    assert reason == "needs 5 cores, one per thread; this process may use 4"
    assert unsupported_reason(Case(threads=4), MACHINE) is None


def test_a_case_may_take_half_of_the_memory() -> None:
    case = Case(batch=2**20, hidden=64)
    need = estimated_bytes(case)
    assert unsupported_reason(case, machine(memory_bytes=2 * need)) is None
    reason = unsupported_reason(case, machine(memory_bytes=2 * need - 2))
    assert reason is not None
    assert "more than half of this machine's" in reason


def test_the_reason_for_want_of_memory_says_how_much_and_of_how_much() -> None:
    assert unsupported_reason(LARGE, MACHINE) == (
        "needs about 256.1 GiB, more than half of this machine's 8.0 GiB"
    )


def test_rules_of_the_host_do_not_bind_other_devices() -> None:
    there = machine(devices={"cpu": None, "cuda": None, "mps": None}, compiler=None)
    for device in ("cuda", "mps"):
        large = msgspec.structs.replace(LARGE, device=device, threads=64, compile="on")
        assert unsupported_reason(large, there) is None


def test_of_several_reasons_the_first_is_given() -> None:
    case = Case(device="cuda", implementation="fused", compile="on", threads=5)
    assert unsupported_reason(case, MACHINE) == MACHINE.devices["cuda"]
    on_cpu = msgspec.structs.replace(case, device="cpu")
    reason = unsupported_reason(on_cpu, MACHINE)
    assert reason is not None
    assert "fused" in reason


@given(CASES)
def test_a_case_runs_where_no_rule_objects(case: Case) -> None:
    reasons = [reason for rule in RULES if (reason := rule(case, MACHINE))]
    assert unsupported_reason(case, MACHINE) == (reasons[0] if reasons else None)
    assert all(len(reason) > 5 for reason in reasons)


def test_memory_is_estimated_from_rows_hidden_units_and_item_size() -> None:
    # One row: 2 inputs, 1 sum, 10 units four times over, 4 of output; 41 parameters four times.
    assert estimated_bytes(Case(batch=1)) == 4 * (3 + 40 + 4 + 4 * 41)
    assert estimated_bytes(Case(batch=1, dtype="float64")) == 2 * estimated_bytes(Case(batch=1))
    assert 2 * estimated_bytes(Case(batch=1, dtype="bfloat16")) == estimated_bytes(Case(batch=1))
