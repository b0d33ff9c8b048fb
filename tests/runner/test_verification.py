"""Verification: every case is reported once, as what it is or with the reason why it is not."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch

from bench.devices.cpu import Cpu
from bench.devices.facts import DeviceFacts, Facts
from bench.errors import MachineError
from bench.matrix.case import Case
from bench.matrix.optimizers import IMPLEMENTATIONS, OPTIMIZERS
from bench.matrix.precision import PRECISIONS
from bench.matrix.support import unsupported_reason
from bench.protocol.messages import Refused
from bench.protocol.verified import Verified
from bench.runner.pool import Deadlines
from bench.runner.process import Side
from bench.runner.verification import Outcome, verify_cases
from tests.cases import sumnet
from tests.loops import TRAINABLE
from tests.older import older_subject
from tests.runner.conftest import MakeSide
from tests.runner.processes import is_gone

CASES = [sumnet(batch=batch) for batch in (2, 64, 1024)]
SCOPES = ("off", "on", "loss", "step")

needs_compiler = pytest.mark.skipif(
    Cpu().facts().compile_refusal is not None, reason="no C++ compiler"
)


def outcomes(
    cases: list[Case], side: Side | None = None, deadlines: Deadlines | None = None
) -> list[Outcome]:
    """What is reported of each case; each is reported once, in order."""
    reported: list[tuple[Case, Outcome]] = []
    verify_cases(cases, lambda *one: reported.append(one), side=side, deadlines=deadlines)
    assert [case for case, _ in reported] == cases
    assert all(
        outcome.case == case.id for case, outcome in reported if isinstance(outcome, Refused)
    )
    return [outcome for _, outcome in reported]


def statuses(reported: list[Outcome]) -> list[str]:
    return [one.status if isinstance(one, Refused) else "verified" for one in reported]


# With workers that train nothing


def test_cases_of_one_setting_are_verified_by_one_worker(
    fake_side: MakeSide, pids: Callable[[], list[int]]
) -> None:
    reported = outcomes(CASES, fake_side())
    assert statuses(reported) == ["verified"] * 3
    assert isinstance(reported[0], Verified)
    assert reported[0].path == "for-loop"
    assert len(pids()) == 1
    assert is_gone(pids()[0])


def test_no_cases_need_no_worker(tmp_path: Path) -> None:
    assert outcomes([], Side(python=str(tmp_path / "none"))) == []


def test_each_setting_has_a_worker_of_its_own(
    fake_side: MakeSide, settings: Callable[[], list[str]], pids: Callable[[], list[int]]
) -> None:
    body = 'ACCELERATORS = {"cuda": 2 * (DeviceFacts(memory_bytes=2**33),)}'
    cases = [
        sumnet(),
        sumnet(threads=2),
        sumnet(batch=64, threads=2),
        sumnet(device="cuda:1"),
        sumnet(device="cuda:1"),
    ]
    assert statuses(outcomes(cases, fake_side(body))) == ["verified"] * 5
    assert settings() == ["cpu 1", "cpu 2", "cuda:1 1"]
    assert all(is_gone(pid) for pid in pids())


def test_an_unsupported_case_is_reported_with_its_reason_and_starts_no_other_worker(
    fake_side: MakeSide, pids: Callable[[], list[int]]
) -> None:
    cases = [
        sumnet(),
        sumnet(device="cuda:1"),
        sumnet(threads=9),
        sumnet(optimizer="muon"),
        sumnet(batch=64),
    ]
    reported = outcomes(cases, fake_side())
    assert reported[1:4] == [
        Refused(cases[1].id, "unsupported", "no cuda device here"),
        Refused(
            cases[2].id,
            "unsupported",
            "needs 9 cores, one per thread; this process may use 4",
        ),
        Refused(
            cases[3].id, "unsupported", "Muon optimizes matrices alone, and the net has biases"
        ),
    ]
    assert statuses(reported) == ["verified", *["unsupported"] * 3, "verified"]
    assert len(pids()) == 1


def test_where_the_first_case_is_unsupported_its_worker_reports_why(
    fake_side: MakeSide, settings: Callable[[], list[str]]
) -> None:
    reported = outcomes(
        [sumnet(device="mps"), sumnet(device="mps", batch=64), sumnet()], fake_side()
    )
    assert statuses(reported) == ["unsupported", "unsupported", "verified"]
    assert settings() == ["mps 1", "cpu 1"]


TOOLS = """
from bench.protocol.messages import Refused
good = held

def held(request):
    return {deed} if request.case.own_values["batch"] == 64 else good(request)
"""


@pytest.mark.parametrize("status", ["invalid", "failed"])
def test_a_refusal_is_reported_and_the_worker_goes_on(
    fake_side: MakeSide, pids: Callable[[], list[int]], status: str
) -> None:
    deed = f"Refused(request.case.id, {status!r}, 'it will not do')"
    reported = outcomes(CASES, fake_side(TOOLS.format(deed=deed)))
    assert statuses(reported) == ["verified", status, "verified"]
    assert reported[1] == Refused(CASES[1].id, status, "it will not do")
    assert len(pids()) == 1


@pytest.mark.parametrize(
    ("deed", "status", "said"),
    [
        ("os._exit(3)", "failed", "the worker exited with status 3"),
        ("os.kill(os.getpid(), 9)", "killed", "the worker was killed by SIGKILL"),
        ("__import__('time').sleep(600)", "timeout", "no answer within"),
        ("shout(b'ready\\n') or good(request)", "failed", "the worker's reply could not be read"),
        ("hello()", "failed", "invalid worker reply"),
        ("CaseVerified('cpu/other', VERIFIED)", "failed", "invalid worker reply"),
        ("Refused(request.case.id, 'oom', 'no room')", "oom", "no room"),
    ],
    ids=["exits", "killed", "hangs", "prints", "says hello", "another case", "oom"],
)
def test_a_worker_that_is_lost_takes_one_case_with_it(
    fake_side: MakeSide, pids: Callable[[], list[int]], deed: str, status: str, said: str
) -> None:
    side = fake_side(TOOLS.format(deed=deed))
    reported = outcomes(CASES, side, Deadlines(prepare_s=1.5))
    assert statuses(reported) == ["verified", status, "verified"]
    assert isinstance(reported[1], Refused)
    assert reported[1].reason.startswith(said)
    assert len(set(pids())) == 2
    assert all(is_gone(pid) for pid in pids())


def test_a_compiled_case_has_a_deadline_of_its_own(fake_side: MakeSide) -> None:
    side = fake_side(TOOLS.format(deed="__import__('time').sleep(600)"))
    cases = [
        sumnet(compile="step"),
        sumnet(batch=64, compile="step"),
        sumnet(batch=1024),
    ]
    reported = outcomes(cases, side, Deadlines(prepare_s=600, prepare_compiled_s=1.5))
    assert statuses(reported) == ["verified", "timeout", "verified"]


@pytest.mark.parametrize("deed", ["die", "refuse"])
def test_a_reason_names_no_one(
    fake_side: MakeSide, monkeypatch: pytest.MonkeyPatch, deed: str
) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    body = """
from bench.protocol.messages import Refused

def held(request):
    said = "no such file: /home/alice/model"
    if DIE:
        os.write(2, said.encode())
        os._exit(3)
    return Refused(request.case.id, "failed", said)
"""
    [reported] = outcomes([sumnet()], fake_side(body.replace("DIE", str(deed == "die"))))
    assert isinstance(reported, Refused)
    assert reported.reason.endswith("no such file: ~/model")


def test_a_worker_that_does_not_start_ends_it(fake_side: MakeSide) -> None:
    reported: list[Case] = []
    side = fake_side("if number(): os._exit(5)")
    with pytest.raises(MachineError, match="the worker exited with status 5"):
        verify_cases(
            [sumnet(), sumnet(threads=2)],
            lambda case, _: reported.append(case),
            side=side,
        )
    assert reported == [sumnet()]


def test_an_end_from_outside_leaves_no_worker_running(
    fake_side: MakeSide, pids: Callable[[], list[int]]
) -> None:
    def interrupted(case: Case, outcome: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_cases(CASES, interrupted, side=fake_side())
    assert len(pids()) == 1
    assert is_gone(pids()[0])


# With a real one

EVERY = [
    sumnet(optimizer=optimizer, implementation=implementation, dtype=dtype, batch=64)
    for optimizer, implementation, dtype in product(OPTIMIZERS, IMPLEMENTATIONS, PRECISIONS)
]


@pytest.fixture(scope="module")
def every() -> dict[Case, Outcome]:
    """What a real worker says of every optimizer, implementation and dtype, not compiled."""
    return dict(zip(EVERY, outcomes(EVERY), strict=True))


@pytest.mark.slow
def test_every_eager_case_is_verified_or_refused_with_a_reason(every: dict[Case, Outcome]) -> None:
    ends = {
        case.id: outcome
        for case, outcome in every.items()
        if isinstance(outcome, Refused)
        and not (outcome.status in ("unsupported", "invalid") and outcome.reason)
    }
    assert ends == {}


@pytest.mark.slow
def test_every_optimizer_that_can_train_the_net_learns_in_every_dtype_but_perhaps_float16(
    every: dict[Case, Outcome],
) -> None:
    """In float16 the eps of many optimizers is nothing, and they divide by it."""
    invalid = {case for case, reported in every.items() if statuses([reported]) == ["invalid"]}
    assert {case.dtype for case in invalid} <= {"float16"}
    verified = {case for case, reported in every.items() if isinstance(reported, Verified)}
    for dtype in ("float32", "float64", "bfloat16", "amp-bfloat16"):
        default = {
            c.optimizer for c in verified if (c.dtype, c.implementation) == (dtype, "default")
        }
        assert default == {*TRAINABLE}, dtype


@pytest.mark.slow
def test_a_verified_case_ran_as_what_it_is_called(every: dict[Case, Outcome]) -> None:
    paths = {"for-loop": "for-loop", "foreach": "foreach", "fused": "fused"}
    for case, reported in every.items():
        if isinstance(reported, Verified):
            assert reported.products == PRECISIONS[case.dtype].products, case.id
            assert reported.path == paths.get(case.implementation, reported.path), case.id
            assert (reported.graphs.loss, reported.graphs.step) == (0, 0), case.id
            assert abs(reported.ratio - reported.expected.ratio) <= reported.expected.tolerance, (
                case.id
            )


@pytest.mark.parametrize(
    "device",
    [
        pytest.param(
            "cuda",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device"),
        ),
        pytest.param(
            "mps",
            marks=pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no mps device"),
        ),
    ],
)
def test_every_optimizer_is_verified_on_an_accelerator(device: str) -> None:
    cases = [sumnet(device=device, optimizer=name, batch=64) for name in TRAINABLE]
    assert statuses(outcomes(cases)) == ["verified"] * len(cases)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
@pytest.mark.parametrize("compilation", ["off", "graph"])
def test_a_gpus_case_that_is_verified_twice_in_one_worker_has_one_peak(compilation: str) -> None:
    """Libraries take their memory but once, whichever case comes first."""
    case = sumnet(device="cuda", batch=64, optimizer="sgd-momentum", compile=compilation)
    first, second = outcomes([case, case])
    assert isinstance(first, Verified) and isinstance(second, Verified)
    assert first.peak_bytes == second.peak_bytes
    assert 0 < (first.peak_bytes or 0) < 2**20, "and none of it is the case's"


@needs_compiler
@pytest.mark.slow
def test_compiled_cases_are_verified_with_their_graphs() -> None:
    cases = [
        sumnet(batch=64, optimizer="adam", compile="on"),
        sumnet(batch=64, implementation="foreach", compile="step"),
        sumnet(batch=64),
    ]
    both, step, neither = outcomes(cases)
    for reported in (both, step, neither):
        assert isinstance(reported, Verified)
    assert both.graphs.loss and both.graphs.step
    assert step.graphs.step and not step.graphs.loss
    assert not neither.graphs.step and not neither.graphs.loss
    assert {reported.graphs.recompiled for reported in (both, step, neither)} == {0}
    assert both.path == step.path == "compiled"


@pytest.mark.parametrize("hook", [True, False])
def test_a_subject_from_before_steps_were_described_is_measured_too(
    tmp_path: Path, hook: bool
) -> None:
    """As that of a gate's base may be."""
    side = Side(subject=older_subject(tmp_path, hook=hook))
    assert statuses(outcomes([sumnet()], side)) == ["verified"]


# Every compile scope, by the rules


FACTS = Facts("2.13.0", 4, True, {"cpu": (DeviceFacts(memory_bytes=2**34),)})


def refused(compile: str) -> set[tuple[str, str]]:
    """The optimizers and implementations that cannot be had so compiled."""
    cases = [
        sumnet(batch=64, optimizer=optimizer, implementation=implementation, compile=compile)
        for optimizer, implementation in product(OPTIMIZERS, IMPLEMENTATIONS)
    ]
    reasons = {case: unsupported_reason(case, FACTS) for case in cases}
    assert all(reason is None or reason for reason in reasons.values())
    return {(case.optimizer, case.implementation) for case in cases if reasons[case]}


def test_compiling_the_loss_refuses_no_optimizer_that_is_not_refused_eager() -> None:
    assert refused("loss") == refused("off")


def test_compiling_both_refuses_what_compiling_the_step_does() -> None:
    assert refused("on") == refused("step")


def test_compiling_the_step_refuses_what_cannot_be_captured_and_lets_the_cpu_be_capturable() -> (
    None
):
    uncaptured = {("adafactor", "default"), ("adafactor", "for-loop"), ("adafactor", "foreach")}
    uncaptured |= {("lbfgs", "default")}
    fused = {(name, "fused") for name, spec in OPTIMIZERS.items() if spec.torch_class in Cpu.fused}
    capturable = {(name, "capturable") for name, spec in OPTIMIZERS.items() if spec.capturable}
    assert refused("step") - refused("off") == uncaptured | fused
    assert refused("off") - refused("step") == capturable


@pytest.mark.parametrize("compile", SCOPES)
def test_every_optimizer_is_had_by_default_in_every_scope_that_captures_it(compile: str) -> None:
    had = {name for name in OPTIMIZERS if (name, "default") not in refused(compile)}
    never = {"muon", "sparseadam"}
    steps = {"adafactor", "lbfgs"} if compile in ("on", "step") else set()
    assert set(OPTIMIZERS) - had == never | steps
