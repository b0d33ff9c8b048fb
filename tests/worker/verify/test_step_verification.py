"""Verification of any step: every trap is told in words, and what can be checked is."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from bench.protocol.verified import Verified
from bench.worker.refusals import InvalidCase
from bench.worker.restoring import restorers
from bench.worker.verify import float64_step, step_verification
from bench.worker.verify.float64_step import CHECKPOINTS
from bench.worker.verify.same_seed import other_restored_loss
from bench.worker.verify.step_checks import watched
from bench.worker.verify.watch import Watch
from sumnet.steps import Step
from tests.user_steps import UserStep

CXX = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
needs_compiler = pytest.mark.skipif(
    not shutil.which(CXX), reason="torch.compile needs a C++ compiler"
)
quiet = pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")
EIGHT = 8


@pytest.fixture
def compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2)
    )


def classifier(device: str) -> Step:
    """A step without fault."""
    model, x, y = net(), torch.randn(EIGHT, 3), torch.randint(2, (EIGHT,))
    return Step(model, loss=lambda: cross_entropy(model(x), y), samples=EIGHT)


def refusal(factory: Callable[..., Step], **values: Any) -> str:
    with pytest.raises(InvalidCase) as caught:
        UserStep(factory).verify(**values)
    return str(caught.value)


def notes(factory: Callable[..., Step], **values: Any) -> tuple[str, ...]:
    return UserStep(factory).verify(**values).notes


def note(factory: Callable[..., Step], *words: str) -> str:
    """The one note with all these words."""
    told = notes(factory)
    (found,) = [note for note in told if all(word in note for word in words)]
    return found


# A step without fault


@pytest.mark.parametrize("dtype", ["float32", "amp-bfloat16", "amp-float16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_step_without_fault_is_checked_against_float64(dtype: str, optimizer: str) -> None:
    seen = UserStep(classifier).verify(dtype=dtype, optimizer=optimizer)
    assert seen.expected is not None and seen.ratio is not None
    assert seen.notes == ()
    assert seen.samples == EIGHT
    assert seen.expected.steps == CHECKPOINTS[-1]
    assert abs(seen.ratio - seen.expected.ratio) <= seen.expected.tolerance
    assert msgspec.json.decode(msgspec.json.encode(seen), type=Verified) == seen


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_a_step_that_builds_in_the_dtype_it_is_given_is_checked_in_each(dtype: str) -> None:
    def typed(device: str, dtype: torch.dtype) -> Step:
        model, x = net().to(dtype), torch.randn(EIGHT, 3, dtype=dtype)
        return Step(model, loss=lambda: model(x).square().mean(), samples=EIGHT)

    seen = UserStep(typed).verify(dtype=dtype)
    assert seen.expected is not None
    assert seen.products == dtype
    assert seen.notes == ()


def test_an_optimizer_with_a_closure_is_checked_against_float64() -> None:
    def linear(device: str) -> Step:
        model, x = nn.Linear(3, 2), torch.randn(EIGHT, 3)
        return Step(model, loss=lambda: model(x).square().mean(), samples=EIGHT)

    seen = UserStep(linear).verify(optimizer="lbfgs")
    assert seen.expected is not None
    assert seen.path == "closure"


def test_a_steps_own_optimizer_and_frozen_parameters_are_no_fault() -> None:
    def fine_tuning(device: str) -> Step:
        model, x = net(), torch.randn(EIGHT, 3)
        model[0].requires_grad_(False)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=0.01, foreach=True)
        return Step(
            model, loss=lambda: model(x).square().mean(), optimizer=optimizer, samples=EIGHT
        )

    seen = UserStep(fine_tuning).verify()
    assert seen.expected is not None
    assert (seen.path, seen.notes) == ("foreach", ())


def test_an_optimizer_that_takes_its_eps_from_the_dtype_is_checked_with_that() -> None:
    def seldom(device: str) -> Step:
        model, items = nn.Embedding(50, 4), torch.randint(20, (EIGHT,))
        return Step(model, loss=lambda: model(items).square().mean(), samples=EIGHT)

    assert UserStep(seldom).verify(optimizer="adafactor").expected is not None


def test_sparse_gradients_are_checked() -> None:
    def bags(device: str) -> Step:
        model, items = nn.EmbeddingBag(20, 4, sparse=True), torch.randint(20, (EIGHT, 3))
        return Step(model, loss=lambda: model(items).square().mean(), samples=EIGHT)

    seen = UserStep(bags).verify(optimizer="sparseadam")
    assert seen.expected is not None
    assert (seen.products, seen.notes) == ("", ())


def test_what_a_float64_run_said_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    step = UserStep(classifier)
    expected = step.verify().expected
    monkeypatch.delattr(step_verification, "expect_step")
    assert step.verify(expected).expected == expected


def regression(device: str) -> Step:
    model, x, y = nn.Linear(3, 1), torch.randn(EIGHT, 3), torch.randn(EIGHT, 1)
    return Step(model, loss=lambda: mse_loss(model(x), y), samples=EIGHT)


@quiet
@needs_compiler
def test_a_compiled_loss_is_checked_against_float64(compiler: None) -> None:
    seen = UserStep(regression).verify(compile="loss")
    assert seen.expected is not None
    assert (seen.graphs.loss, seen.graphs.step, seen.graphs.recompiled) == (1, 0, 0)


@pytest.mark.slow
@quiet
@needs_compiler
def test_a_compiled_step_is_checked_against_float64(compiler: None) -> None:
    seen = UserStep(regression).verify(compile="on", optimizer="adam")
    assert seen.expected is not None
    assert (seen.graphs.loss, seen.graphs.step, seen.graphs.recompiled) == (1, 1, 0)


@quiet
@needs_compiler
def test_compiled_code_that_draws_its_own_numbers_is_not_compared(compiler: None) -> None:
    seen = UserStep(classifier).verify(compile="loss")
    assert seen.expected is None
    (told,) = seen.notes
    assert "not checked against float64" in told and "random numbers" in told


@quiet
@needs_compiler
def test_a_break_in_a_compiled_graph_is_told(compiler: None) -> None:
    def broken(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)

        def loss() -> torch.Tensor:
            predicted = model(x)
            torch._dynamo.graph_break()
            return predicted.square().mean()

        return Step(model, loss=loss, samples=EIGHT)

    (told,) = notes(broken, compile="loss")
    assert "broke the graph" in told


# Traps: the model


def test_a_model_in_eval_mode_is_refused() -> None:
    def evaluated(device: str) -> Step:
        model, x = net().eval(), torch.randn(EIGHT, 3)
        return Step(model, loss=lambda: model(x).square().mean())

    assert "model.train()" in refusal(evaluated)


def test_that_every_batchnorm_and_dropout_is_in_eval_mode_is_told() -> None:
    def frozen(device: str) -> Step:
        model, x = net(), torch.randn(EIGHT, 3)
        for part in (model[1], model[3]):
            part.eval()
        return Step(model, loss=lambda: model(x).square().mean(), samples=EIGHT)

    assert note(frozen, "eval mode", "BatchNorm1d", "Dropout")


@pytest.mark.parametrize(
    ("what", "named"), [("parameter", "0.weight"), ("buffer", "1.running_mean")]
)
def test_what_is_left_on_another_device_is_refused(what: str, named: str) -> None:
    def elsewhere(device: str) -> Step:
        model, x = net(), torch.randn(EIGHT, 3)
        if what == "parameter":
            model[0].to("meta")
        else:
            model[1].running_mean = torch.zeros(4, device="meta")
        return Step(model, loss=lambda: model(x).square().mean())

    text = refusal(elsewhere)
    assert f"the {what} {named} is on meta, not on cpu" in text


def test_parameters_in_another_dtype_than_the_cases_are_refused() -> None:
    def half(device: str) -> Step:
        model, x = nn.Linear(3, 1).bfloat16(), torch.randn(EIGHT, 3).bfloat16()
        return Step(model, loss=lambda: model(x).square().mean())

    assert "torch.bfloat16, not torch.float32" in refusal(half)


def test_that_some_parameters_have_another_dtype_is_told() -> None:
    def mixed(device: str) -> Step:
        model, x = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1).double()), torch.randn(EIGHT, 3)
        return Step(model, loss=lambda: model[1](model[0](x).double()).mean(), samples=EIGHT)

    assert note(mixed, "1.weight and 1.bias of 4", "float32")


def test_a_model_that_autocast_of_its_own_runs_in_another_dtype_is_refused() -> None:
    def casting(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)

        def loss() -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return model(x).float().mean()

        return Step(model, loss=loss)

    text = refusal(casting)
    assert "bfloat16" in text and "float32" in text and "autocast" in text


# Traps: the loss and its gradients


def test_a_loss_under_no_grad_is_refused() -> None:
    def blind(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)

        def loss() -> torch.Tensor:
            with torch.no_grad():
                return model(x).mean()

        return Step(model, loss=loss)

    assert "no_grad" in refusal(blind)


def test_a_detached_loss_is_refused() -> None:
    def detached(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)
        return Step(model, loss=lambda: model(x).mean().detach())

    assert "detached" in refusal(detached)


@pytest.mark.parametrize(
    ("reduced", "named"),
    [(lambda out: out.square(), f"({EIGHT}, 1)"), (lambda out: out.sum().item(), "float")],
)
def test_a_loss_that_is_not_one_number_of_torchs_is_refused(
    reduced: Callable[[torch.Tensor], Any], named: str
) -> None:
    def several(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)
        return Step(model, loss=lambda: reduced(model(x)))

    assert named in refusal(several)


@pytest.mark.parametrize(
    ("factor", "named"), [(float("nan"), "the loss is nan"), (float("inf"), "the loss is inf")]
)
def test_a_loss_that_is_not_finite_is_refused(factor: float, named: str) -> None:
    def infinite(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)
        return Step(model, loss=lambda: factor * model(x).square().mean())

    assert named in refusal(infinite)


def test_a_loss_that_training_makes_infinite_is_refused() -> None:
    def diverging(device: str) -> Step:
        model, x = nn.Linear(3, 1), 1e6 * torch.randn(EIGHT, 3)
        return Step(model, loss=lambda: model(x).square().mean())

    assert "after" in refusal(diverging)


def test_gradients_that_are_not_finite_are_refused() -> None:
    def rooted(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model.scale = nn.Parameter(torch.zeros(()))
        return Step(model, loss=lambda: model(x).mean() + model.scale.sqrt(), optimizer=optimizer)

    assert "scale" in refusal(rooted)


def test_gradients_that_are_all_zero_are_refused() -> None:
    def flat(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)
        return Step(model, loss=lambda: 1 + 0 * model(x).mean())

    assert "zero" in refusal(flat)


def test_a_parameter_that_no_gradient_reaches_is_named() -> None:
    def half_used(device: str) -> Step:
        model, x = (
            nn.ModuleDict({"used": nn.Linear(3, 1), "unused": nn.Linear(3, 1)}),
            torch.ones(8, 3),
        )
        return Step(model, loss=lambda: model["used"](x).mean(), samples=8)

    assert note(half_used, "unused.weight and unused.bias of 4")


def test_no_gradient_is_expected_of_an_average_of_the_model() -> None:
    def averaged(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.ones(8, 3)
        average = torch.optim.swa_utils.AveragedModel(model)
        return Step(model, loss=lambda: model(x).mean(), state=[average], samples=8)

    assert not any("gradient" in each for each in notes(averaged))


def test_a_step_that_changes_no_parameter_is_refused() -> None:
    def still(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        return Step(model, loss=lambda: model(x).mean(), optimizer=optimizer)

    assert "changes none of 2 parameters" in refusal(still)

    def accumulating(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.ones(8, 3)
        return Step(run=lambda: model(x).mean().backward(), state=[model])

    assert "where gradients are accumulated" in refusal(accumulating)


# Traps: data, waiting, samples


def test_data_that_is_left_elsewhere_is_refused() -> None:
    def forgotten(device: str) -> Step:
        model, x, other = nn.Linear(3, 1), torch.randn(EIGHT, 3), torch.ones(5, 7, device="meta")

        def loss() -> torch.Tensor:
            other.exp()
            return model(x).mean()

        return Step(model, loss=loss)

    text = refusal(forgotten)
    assert "(5, 7)" in text and "meta" in text and "exp" in text


def test_data_that_torch_refuses_for_its_device_is_named() -> None:
    def forgotten(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)
        where = torch.zeros(EIGHT, 3, device="meta")
        return Step(model, loss=lambda: model(x + where.exp()).mean())

    assert f"({EIGHT}, 3)" in refusal(forgotten)


def test_what_a_step_raises_is_raised() -> None:
    def wrong(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 4)
        return Step(model, loss=lambda: model(x).mean())

    with pytest.raises(RuntimeError, match="shapes"):
        UserStep(wrong).verify()


@pytest.mark.parametrize(
    ("wait", "named"),
    [
        (lambda out: out.mean().item(), ".item()"),
        (lambda out: bool(out.mean() > 0), "bool()"),
        (lambda out: out[out > 0], "nonzero()"),
        (lambda out: torch.masked_select(out, out > 0), "masked_select()"),
    ],
)
def test_a_line_that_waits_for_the_device_is_told(
    wait: Callable[[torch.Tensor], Any], named: str
) -> None:
    def waiting(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)

        def loss() -> torch.Tensor:
            out = model(x)
            wait(out.detach())
            return out.square().mean()

        return Step(model, loss=loss, samples=EIGHT)

    (told,) = notes(waiting)
    assert named in told
    assert "test_step_verification.py:" in told


def test_a_synchronize_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    synchronize = torch.cuda.synchronize

    def waiting(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)

        def loss() -> torch.Tensor:
            torch.cuda.synchronize()
            return model(x).square().mean()

        return Step(model, loss=loss, samples=EIGHT)

    (told,) = notes(waiting)
    assert "torch.cuda.synchronize()" in told and "test_step_verification.py:" in told
    assert torch.cuda.synchronize is synchronize


def test_what_waits_and_what_is_copied_is_told_of_a_device_with_a_queue() -> None:
    watch = Watch("cuda")
    watch.waits["steps.py:7"] = ".item()"
    watch.copies["a tensor of shape (5, 7) on cpu"] = "steps.py:9"
    case = UserStep(classifier).case(device="cuda")
    copied, waited = watched(case, watch, has_own_loop=False)
    assert "(5, 7)" in copied and "steps.py:9" in copied and "cuda" in copied
    assert "waits" in waited and "steps.py:7" in waited


def test_copies_from_elsewhere_are_seen_with_their_line() -> None:
    watch = Watch("meta")
    away = torch.ones(5, 7)
    watch.run(lambda: away.to("meta"))
    ((tensor, place),) = watch.copies.items()
    assert "(5, 7) on cpu" in tensor and "test_step_verification.py:" in place


def test_samples_that_the_model_is_not_given_are_told() -> None:
    def miscounting(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)
        return Step(model, loss=lambda: model(x).mean(), samples=32)

    assert note(miscounting, "samples=32", f"({EIGHT}, 3)")


@pytest.mark.parametrize("samples", [4, 4 * 6])
def test_samples_are_sequences_or_their_tokens(samples: int) -> None:
    def sequences(device: str) -> Step:
        model, tokens = nn.Embedding(10, 3), torch.randint(10, (4, 6))
        return Step(model, loss=lambda: model(tokens).square().mean(), samples=samples)

    assert notes(sequences) == ()


def test_that_samples_are_not_said_is_told() -> None:
    def uncounted(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)
        return Step(model, loss=lambda: model(x).mean())

    assert note(uncounted, "samples=")


# The same seed, and float64


def test_a_step_that_the_seed_does_not_determine_is_told_and_not_compared() -> None:
    starts = iter(range(100))

    def chancy(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3) + next(starts)
        return Step(model, loss=lambda: model(x).square().mean(), samples=EIGHT)

    seen = UserStep(chancy).verify()
    assert seen.expected is None
    (told,) = seen.notes
    assert "not deterministic" in told and "float64" in told


def test_training_that_its_dtype_makes_wrong_is_refused() -> None:
    def skewed(device: str) -> Step:
        model, x, y = nn.Linear(3, 1), torch.randn(EIGHT, 3), torch.randn(EIGHT, 1)
        if model.weight.dtype is torch.float32:
            model.weight.register_hook(lambda gradient: gradient * 1.01)
        return Step(model, loss=lambda: mse_loss(model(x), y), samples=EIGHT)

    text = refusal(skewed)
    assert "float64" in text and f"{CHECKPOINTS[-1]} steps" in text


def test_a_first_loss_that_its_dtype_makes_wrong_is_refused() -> None:
    def skewed(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)
        factor = 1.0001 if model.weight.dtype is torch.float32 else 1
        return Step(model, loss=lambda: factor * model(x).square().mean(), samples=EIGHT)

    assert "first loss" in refusal(skewed)


def test_why_a_step_cannot_be_compared_with_float64_is_told() -> None:
    def single(device: str) -> Step:
        model, x = nn.Linear(3, 1), torch.randn(EIGHT, 3)

        def loss() -> torch.Tensor:
            if model.weight.dtype is not torch.float32:
                raise TypeError("in float32 alone")
            return model(x).square().mean()

        return Step(model, loss=loss, samples=EIGHT)

    seen = UserStep(single).verify()
    assert seen.expected is None
    assert seen.ratio is not None
    (told,) = seen.notes
    assert "not checked against float64" in told and "in float32 alone" in told


def test_a_step_too_slow_for_float64_runs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float64_step, "BUDGET_S", 0.0)
    monkeypatch.setattr(step_verification, "BUDGET_S", 0.0)
    seen = UserStep(classifier).verify()
    assert seen.expected is None
    (told,) = seen.notes
    assert "too long" in told


# Loops of their own


def adversaries(device: str) -> Step:
    one, other = nn.Linear(3, 3), nn.Linear(3, 1)
    first = torch.optim.Adam(one.parameters())
    second = torch.optim.Adam(other.parameters())

    def run() -> torch.Tensor:
        for optimizer, sign in ((first, 1), (second, -1)):
            first.zero_grad()
            second.zero_grad()
            loss = sign * other(one(torch.randn(EIGHT, 3))).sigmoid().mean()
            loss.backward()
            optimizer.step()
        return loss.detach()

    return Step(run=run, state=[one, other, first, second], samples=EIGHT)


def test_a_loop_of_its_own_is_checked_from_outside() -> None:
    seen = UserStep(adversaries).verify()
    assert seen.expected is None
    assert seen.ratio is not None
    (told,) = seen.notes
    assert "not checked against float64" in told


def test_named_phases_are_checked_from_outside() -> None:
    def phased(device: str) -> Step:
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def update() -> None:
            optimizer.step()
            optimizer.zero_grad()

        phases: dict[str, Callable[..., Any]] = {
            "load": lambda: torch.randn(EIGHT, 3),
            "forward": lambda x: model(x).square().mean(),
            "backward": lambda loss: loss.backward(),
            "step": update,
        }
        return Step(phases=phases, state=[model, optimizer], samples=EIGHT)

    seen = UserStep(phased).verify()
    assert seen.ratio is not None
    (told,) = seen.notes
    assert "not checked against float64" in told


def test_a_loop_that_changes_nothing_of_its_state_is_refused() -> None:
    def idle(device: str) -> Step:
        model, count = nn.Linear(3, 1), torch.zeros(2)
        return Step(run=lambda: model(torch.ones(1, 3)), state=[model, count])

    assert "changes none of 3" in refusal(idle)


def test_a_loop_without_state_or_loss_is_told_what_is_not_checked() -> None:
    told = notes(lambda device: Step(run=lambda: None))
    for words in ("state=", "samples=", "no loss", "float64"):
        assert [note for note in told if words in note]


def test_a_loop_whose_loss_is_not_finite_is_refused() -> None:
    assert "nan" in refusal(lambda device: Step(run=lambda: torch.tensor(float("nan"))))


def test_a_loop_that_the_seed_does_not_determine_is_told() -> None:
    starts = iter(range(100))
    told = notes(lambda device: Step(run=lambda: torch.tensor(1.0 + next(starts))))
    assert [note for note in told if "not deterministic" in note]


def test_a_loop_may_work_elsewhere_and_is_told() -> None:
    away = torch.ones(5, 7, device="meta")
    told = notes(lambda device: Step(run=lambda: away.exp()))
    assert [note for note in told if "(5, 7)" in note]


def test_a_loop_in_eval_mode_is_refused() -> None:
    def evaluated(device: str) -> Step:
        model = net().eval()
        return Step(run=lambda: model(torch.ones(2, 3)), state=[model])

    assert "eval mode" in refusal(evaluated)


# Once more from one state


def test_a_step_that_is_put_back_whole_gives_the_same_loss() -> None:
    step = UserStep(adversaries)
    loop = step.build(step.case())
    calls, _ = restorers(loop, "cpu")
    assert other_restored_loss(loop, lambda: [call() for call in calls]) is None


def test_a_step_that_goes_by_what_is_not_put_back_is_told() -> None:
    def reading(device: str) -> Step:
        model, batches = nn.Linear(3, 1), iter(torch.randn(100, EIGHT, 3))
        return Step(model, loss=lambda: model(next(batches)).square().mean(), samples=EIGHT)

    step = UserStep(reading)
    loop = step.build(step.case())
    calls, _ = restorers(loop, "cpu")
    told = other_restored_loss(loop, lambda: [call() for call in calls])
    assert told is not None and "state=" in told
