"""What really ran: products, the optimizer's path, and what torch.compile says it did."""

import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.measure.observe import cache_counts, compiler_counts, observe
from sumnet.optimizers import OPTIMIZERS
from sumnet.train import build_loop

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
    assert observe(loop.forward).products == {products}
    assert observe(lambda: loop.backward(loop.forward())).products == {products}


def test_products_of_two_dtypes_are_both_seen() -> None:
    single, double = build_loop(), build_loop(precision="float64")
    seen = observe(lambda: (single.forward(), double.forward()))
    assert seen.products == {"float32", "float64"}


def test_where_nothing_is_multiplied_no_product_is_seen() -> None:
    loop = build_loop()
    loop.backward(loop.forward())
    assert observe(loop.step).products == set()


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
    if spec.refusal is None
    for path, had in (
        ("for-loop", spec.foreach),
        ("foreach", spec.foreach),
        ("fused", "cpu" in spec.fused),
    )
    if had
]


@pytest.mark.parametrize(("optimizer", "path"), STEPS)
def test_the_implementation_of_a_step_is_seen(optimizer: str, path: str) -> None:
    loop = build_loop(optimizer=optimizer, implementation=path)
    loop.backward(loop.forward())
    assert observe(loop.step).path == path


# Compiling


@needs_compiler
def test_what_is_compiled_is_looked_at_as_it_was_written(compiler: None) -> None:
    loop = build_loop(precision="amp-bfloat16", compilation="loss")
    before = compiler_counts()
    assert observe(loop.forward).products == {"bfloat16"}
    assert compiler_counts() == before, "nothing was compiled for it"
    loop.forward()
    assert compiler_counts().graphs == before.graphs + 1
    loop.forward()
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
            loop.forward()
        counts.append(cache_counts())
        torch.compiler.reset()
    (cold_hits, cold_misses), (hits, misses) = (
        (after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(counts)
    )
    assert (cold_hits, cold_misses) == (0, 1)
    assert hits >= 1
    assert misses == 0
