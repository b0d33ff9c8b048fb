"""What of the loop is compiled: the table, and what torch.compile is given and captures."""

import functools
import inspect
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from torch.utils._triton import has_triton

from bench.matrix.compilation import COMPILATIONS, GRAPH_MODES, MODES, Compilation
from bench.matrix.optimizers import OPTIMIZERS
from bench.worker.loop import Loop
from tests.loops import build_loop, forward, weights

COMPILER = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
ISOLATES = "isolate_recompiles" in inspect.signature(torch.compile).parameters
TRAINED = [n for n, spec in OPTIMIZERS.items() if spec.dense and not spec.matrices]

needs_compiler = pytest.mark.skipif(
    shutil.which(COMPILER) is None,
    reason="torch.compile needs a C++ compiler: neither $CXX nor the default was found",
)
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")


def graphs() -> int:
    """Captured in this process so far."""
    return int(counters["stats"]["unique_graphs"])


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Before torch 2.13, loops of one test would count against the recompile limit of another."""
    yield
    torch.compiler.reset()


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options of each call of torch.compile."""
    seen: list[dict[str, Any]] = []
    compile_ = torch.compile

    @functools.wraps(compile_)
    def recording(function: Callable[..., Any], **options: Any) -> Any:
        seen.append(options)
        return compile_(function, **options)

    monkeypatch.setattr(torch, "compile", recording)
    return seen


@pytest.fixture
def captured_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile captures graphs and runs them as they are, which takes no compiler."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))


# The table


def test_each_scope_comes_in_every_mode() -> None:
    modes = ("", "+reduce-overhead", "+max-autotune")
    scoped = {f"{scope}{mode}" for scope in ("on", "loss", "step") for mode in modes}
    assert {*COMPILATIONS} == {"off", "graph", *scoped}


def test_different_names_mean_different_things() -> None:
    assert len(set(COMPILATIONS.values())) == len(COMPILATIONS)


def test_the_modes_are_torchs_own() -> None:
    options = torch._inductor.list_mode_options()
    assert {*MODES} <= options.keys()
    assert {mode for mode in MODES if options[mode].get("triton.cudagraphs")} == {*GRAPH_MODES}


@pytest.mark.parametrize("name", COMPILATIONS)
def test_a_name_says_what_is_compiled_and_in_which_mode(name: str) -> None:
    scope, _, mode = name.partition("+")
    assert COMPILATIONS[name] == Compilation(
        loss=scope in ("on", "loss"),
        step=scope in ("on", "step"),
        mode=mode or "default",
        captured=scope == "graph",
    )
    assert COMPILATIONS[name].compiles == (scope not in ("off", "graph"))


# What torch.compile is given


@pytest.mark.parametrize("name", [name for name in COMPILATIONS if name != "graph"])
def test_torch_compiles_each_part_on_its_own_in_the_mode_and_for_one_shape(
    name: str, given: list[dict[str, Any]]
) -> None:
    asked = COMPILATIONS[name]
    build_loop(compilation=name)
    assert len(given) == asked.loss + asked.step
    assert all((call["mode"], call["dynamic"]) == (asked.mode, False) for call in given)


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_is_captured_where_its_entry_says_so(name: str, captured_only: None) -> None:
    before = graphs()
    build_loop(optimizer=name, compilation="step").train_step()
    assert (graphs() > before) == OPTIMIZERS[name].compilable


def test_a_fused_step_is_not_captured(captured_only: None) -> None:
    before = graphs()
    build_loop(optimizer="adam", implementation="fused", compilation="step").train_step()
    assert graphs() == before


@pytest.mark.skipif(not ISOLATES, reason="before torch 2.13: one compiled loop per process")
def test_many_loops_in_one_process_are_captured_each_for_itself(captured_only: None) -> None:
    limit = torch._dynamo.config.recompile_limit
    before = graphs()
    for size in range(1, limit + 3):
        forward(build_loop(size, compilation="loss"))
    assert graphs() == before + limit + 2


# What it captures, compiled in earnest


@pytest.mark.slow
@pytest.mark.skipif(
    not (torch.cuda.is_available() and has_triton()), reason="no cuda device with Triton"
)
@pytest.mark.parametrize("mode", GRAPH_MODES)
def test_compiled_loops_with_cuda_graphs_train_beside_each_other_as_eager_ones_do(
    mode: str,
) -> None:
    def build(compilation: str) -> Loop:
        return build_loop(3, device="cuda", optimizer="adam", compilation=compilation)

    eager = build("off")
    compiled = [build(f"{scope}+{mode}") for scope in ("on", "loss", "step")]
    for _ in range(8):
        for loop in (eager, *compiled):
            loop.train_step()
    for loop in compiled:
        torch.testing.assert_close(weights(loop), weights(eager))


@needs_compiler
@pytest.mark.parametrize(
    ("scope", "captured"), [("loss", [1, 0, 0]), ("step", [0, 0, 1]), ("on", [1, 0, 1])]
)
def test_the_phases_that_are_compiled_are_those_asked_for(scope: str, captured: list[int]) -> None:
    loop = build_loop(3, compilation=scope)
    counts = [graphs()]
    loss = forward(loop)
    counts.append(graphs())
    loop.phases["backward"](loss)
    counts.append(graphs())
    loop.phases["step"](None)
    counts.append(graphs())
    assert [after - before for before, after in itertools.pairwise(counts)] == captured
    for _ in range(3):
        loop.train_step()
    assert graphs() == counts[-1], "nothing is compiled twice"


@needs_compiler
@pytest.mark.parametrize(
    ("optimizer", "implementation", "scope"),
    [("sgd", "default", "on"), ("adam", "capturable", "step")],
)
def test_compiled_loop_agrees_with_eager(optimizer: str, implementation: str, scope: str) -> None:
    """A capturable step too, which on the CPU torch takes compiled alone."""
    eager = build_loop(3, optimizer=optimizer)
    compiled = build_loop(3, optimizer=optimizer, implementation=implementation, compilation=scope)
    for _ in range(5):
        torch.testing.assert_close(forward(compiled), forward(eager))
        eager.train_step()
        compiled.train_step()
    assert not torch.equal(weights(eager)[0], weights(build_loop(3))[0])
    torch.testing.assert_close(weights(compiled), weights(eager))
