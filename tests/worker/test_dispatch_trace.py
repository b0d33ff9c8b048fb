"""What really ran: products, the optimizer's path, and what torch.compile says it did."""

import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from bench.devices.cpu import Cpu
from bench.matrix.optimizers import OPTIMIZERS
from bench.worker.dispatch_trace import cache_counts, compiler_counts, count_work, observe
from tests.loops import TRAINABLE, build_loop, forward, update

CXX = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
needs_compiler = pytest.mark.skipif(
    not shutil.which(CXX), reason="torch.compile needs a C++ compiler"
)


@pytest.fixture
def compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


# Products


@pytest.mark.parametrize(
    ("precision", "products"),
    [
        ("float32", "float32"),
        ("float64", "float64"),
        ("bfloat16", "bfloat16"),
        ("float16", "float16"),
        ("amp-bfloat16", "bfloat16"),
        ("amp-float16", "float16"),
    ],
)
def test_the_dtype_that_matrices_are_multiplied_in_is_seen(precision: str, products: str) -> None:
    loop = build_loop(precision=precision)
    assert observe(partial(forward, loop)).products == {products}
    assert observe(loop.backward).products == {products}


def test_products_of_two_dtypes_are_both_seen() -> None:
    single, double = build_loop(), build_loop(precision="float64")
    seen = observe(lambda: (forward(single), forward(double)))
    assert seen.products == {"float32", "float64"}


def test_where_nothing_is_multiplied_no_product_is_seen() -> None:
    loop = build_loop()
    loop.backward()
    assert observe(partial(update, loop)).products == set()


def test_what_is_looked_at_has_been_done() -> None:
    watched, plain = build_loop(optimizer="adam"), build_loop(optimizer="adam")
    observe(watched.train_step)
    plain.train_step()
    for ours, theirs in zip(watched.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


# Paths


STEPS = [
    (optimizer, path)
    for optimizer, spec in OPTIMIZERS.items()
    if optimizer in TRAINABLE
    for path, had in (
        ("for-loop", spec.foreach),
        ("foreach", spec.foreach),
        ("fused", spec.torch_class in Cpu.fused),
    )
    if had
]


@pytest.mark.parametrize(("optimizer", "path"), STEPS)
def test_the_implementation_of_a_step_is_seen(optimizer: str, path: str) -> None:
    loop = build_loop(optimizer=optimizer, implementation=path)
    loop.backward()
    assert observe(partial(update, loop)).path == path


# Work

ROW, OTHER, SCALAR = torch.ones(100), torch.ones(100), torch.ones(())
SQUARE = torch.ones(10, 10)
ROWS = [torch.ones(30), torch.ones(20)]


@pytest.mark.parametrize(
    ("call", "elements"),
    [
        (lambda: ROW + OTHER, 300),
        (lambda: ROW + ROW, 200),  # the same operand, once
        (lambda: ROW + SCALAR, 201),
        (lambda: ROW.sum(), 101),
        (lambda: SQUARE @ SQUARE.clone(), 200 + 300),
        (lambda: torch.ones(100), 100),
        # In place: what is written is read first, unless it is only overwritten.
        (lambda: ROW.add_(OTHER), 300),
        (lambda: ROW.mul_(1.0), 200),
        (lambda: ROW.copy_(OTHER), 200),
        (lambda: ROW.fill_(1.0), 100),
        (lambda: OTHER.clone().zero_(), 200 + 100),
        # Of an expanded operand what it stands for.
        (lambda: SQUARE + torch.ones(10).expand(10, 10), 10 + 100 + 10 + 100),
        (lambda: SCALAR.expand(100) + ROW, 201),
        (lambda: torch._foreach_mul(ROWS, 2.0), 100),
        (lambda: torch._foreach_mul_(ROWS, 1.0), 100),
        (lambda: torch._foreach_mul(ROWS, ROWS), 100),
        (lambda: torch._foreach_add_(ROWS, [torch.zeros(30), torch.zeros(20)]), 50 + 150),
    ],
)
def test_operands_count_once_and_again_where_they_are_written(
    call: Callable[[], object], elements: int
) -> None:
    assert count_work(call)[1].bytes == 4 * elements


@pytest.mark.parametrize(
    "call",
    [
        lambda: SQUARE.t(),
        lambda: SQUARE.view(100),
        lambda: SQUARE[2:5],
        lambda: ROW.expand(50, 100),
        lambda: ROW.detach(),
        lambda: torch.empty(100),
        lambda: torch.empty_like(ROW),
    ],
)
def test_views_and_what_is_yet_to_be_written_move_nothing(call: Callable[[], object]) -> None:
    assert count_work(call)[1].bytes == 0


def test_bytes_are_those_of_the_dtype_and_flop_those_of_products_alone() -> None:
    for dtype, size in ((torch.float64, 8), (torch.bfloat16, 2)):
        left, right = torch.ones(3, 4, dtype=dtype), torch.ones(4, 5, dtype=dtype)
        product, work = count_work(lambda left=left, right=right: left @ right)
        assert product.shape == (3, 5), "what the call returns is handed on"
        assert (work.flops, work.bytes) == (2 * 3 * 4 * 5, size * (12 + 20 + 15))
        assert count_work(lambda left=left: left + 1)[1].flops == 0


# Of one parameter: itself and its state, read and written, and its gradient, which is read.
@pytest.mark.parametrize(
    ("optimizer", "elements"), [("sgd", 3), ("sgd-momentum", 5), ("adam", 7), ("adagrad", 5)]
)
def test_fused_step_reads_its_gradients_and_does_not_write_them(
    optimizer: str, elements: int
) -> None:
    loop = build_loop(optimizer=optimizer, implementation="fused", hidden=1024)
    loop.train_step()
    loop.backward()
    before = [parameter.grad.clone() for parameter in loop.model.parameters()]
    gradients = [parameter.grad for parameter in loop.model.parameters()]
    _, work = count_work(partial(update, loop))
    assert all(map(torch.equal, gradients, before)), "so torch's schema says more than is done"
    parameters = 4 * 1024 + 1
    assert 0 <= work.bytes - 4 * elements * parameters < 100, "the rest are counts of steps"


def test_fused_step_that_unscales_its_gradients_writes_them_too() -> None:
    loop = build_loop(precision="amp-float16", implementation="fused", hidden=1024)
    loop.train_step()
    loop.backward()
    before = [parameter.grad.clone() for parameter in loop.model.parameters()]
    gradients = [parameter.grad for parameter in loop.model.parameters()]
    moved = count_work(partial(update, loop))[1].bytes
    assert not all(map(torch.equal, gradients, before))
    assert moved == pytest.approx(4 * (4 * 1024 + 1) * (4 + 2), rel=0.01), "the scaler looks too"


@needs_compiler
def test_work_of_what_is_compiled_is_counted_as_it_was_written(compiler: None) -> None:
    eager, compiled = build_loop(), build_loop(compilation="loss")
    before = compiler_counts()
    assert count_work(partial(forward, compiled))[1] == count_work(partial(forward, eager))[1]
    assert compiler_counts() == before


# Compiling


@needs_compiler
def test_what_is_compiled_is_looked_at_as_it_was_written(compiler: None) -> None:
    loop = build_loop(precision="amp-bfloat16", compilation="loss")
    before = compiler_counts()
    assert observe(partial(forward, loop)).products == {"bfloat16"}
    assert compiler_counts() == before, "nothing was compiled for it"
    forward(loop)
    assert compiler_counts().graphs == before.graphs + 1
    forward(loop)
    assert compiler_counts().graphs == before.graphs + 1, "nor is it written anew afterwards"


def test_breaks_are_counted_by_the_first_line_of_their_reason(compiler: None) -> None:
    def broken_twice(number: torch.Tensor) -> torch.Tensor:
        number = number + 1
        torch._dynamo.graph_break()
        number = number + 2
        torch._dynamo.graph_break()
        return number + 3

    before = compiler_counts()
    assert torch.compile(broken_twice, backend="eager")(torch.zeros(1)).item() == 6
    after = compiler_counts()
    assert after.graphs - before.graphs == 3
    ((reason, times),) = (after.breaks - before.breaks).items()
    assert times == 2
    assert "graph_break()" in reason
    assert "\n" not in reason


def test_an_unbroken_function_is_one_graph(compiler: None) -> None:
    before = compiler_counts()
    torch.compile(lambda number: number + 1, backend="eager")(torch.zeros(1))
    assert compiler_counts() == before._replace(graphs=before.graphs + 1)


@needs_compiler
def test_a_graph_is_a_miss_where_the_cache_is_empty_and_a_hit_the_next_time(
    compiler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    counts = [cache_counts()]
    for _ in range(2):
        loop = build_loop(5, hidden=9, compilation="loss")
        with torch.no_grad():
            forward(loop)
        counts.append(cache_counts())
        torch.compiler.reset()
    (cold_hits, cold_misses), (hits, misses) = (
        (after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(counts)
    )
    assert (cold_hits, cold_misses) == (0, 1)
    assert hits >= 1
    assert misses == 0
