"""The house keeps its order: imports point one way, and what should be light is light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.matrix.ceiling import ceilings
from bench.matrix.default_step import PACKAGE
from tests import synthetic
from tests.cases import sumnet

ROOT = Path(__file__).parents[1]
ROOMS = (
    "errors",
    "signals",
    "figures",
    "units",
    "devices",
    "matrix",
    "options",
    "project",
    "protocol",
    "machine",
    "worker",
    "runner",
    "records",
    "stats",
    "report",
    "compare",
    "rank",
    "trend",
    "roofline",
    "profiles",
    "repeatability",
    "verification",
    "gate",
    "suite",
    "pytest_plugin",
    "cli",
    "__main__",
)
"""From left to right: each may import itself and what stands before it."""
FEATURES = ROOMS[ROOMS.index("compare") : ROOMS.index("suite")]
"""Rooms that import the core, and never one another."""
WITH_TORCH = ("worker", "devices")
"""Rooms that may import torch. Devices do so only when they are asked, by a worker or by `list`."""


def modules(root: Path, package: str) -> list[Path]:
    return sorted((root / package).rglob("*.py"))


def imported(tree: ast.AST, root: Path, package: str) -> Iterator[str]:
    """The modules that are imported anywhere in a file, type-checking imports too.

    A `from` import counts as the most precise module it can mean. `package` is the file's own, as
    relative imports see it.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -(node.level - 1) or None] if node.level else []
            base = ".".join([*above, *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                place = root.joinpath(*inner.split("."))
                is_module = place.is_dir() or place.with_suffix(".py").is_file()
                yield inner if is_module else base


def room(module: str) -> str | None:
    """The room of a module of bench; None for the package itself and for all else."""
    parts = module.split(".")
    return parts[1] if parts[0] == "bench" and len(parts) > 1 else None


def sources(root: Path) -> list[tuple[str, ast.Module, str]]:
    """Each module's path without suffix, its tree, and its package as relative imports see it."""
    found = []
    for path in [*modules(root, "bench"), *modules(root, "sumnet")]:
        here = path.relative_to(root).with_suffix("")
        found.append((here.as_posix(), ast.parse(path.read_text()), ".".join(here.parts[:-1])))
    return found


def wrong_arrows(root: Path) -> list[str]:
    """Every import that points back, or into a room that keeps to itself: `file -> module`."""
    found = []
    for path, tree, package in sources(root):
        own = room(path.replace("/", ".").removesuffix(".__init__"))
        for target in imported(tree, root, package):
            theirs, top = room(target), target.split(".")[0]
            if path.startswith("sumnet/"):
                wrong = top == "bench"
            elif top == "torch":
                wrong = own not in WITH_TORCH
            elif theirs is None:
                wrong = False
            else:
                wrong = (
                    own is None
                    or ROOMS.index(theirs) > ROOMS.index(own)
                    or (own in FEATURES and theirs in FEATURES and own != theirs)
                    or (theirs == "worker" and own != "worker")
                    or (own == "worker" and theirs == "machine")
                )
            if wrong:
                found.append(f"{path} -> {target}")
    return found


def copied(folder: Path) -> Path:
    """The folder, with a copy of the sources."""
    for source in [*modules(ROOT, "bench"), *modules(ROOT, "sumnet")]:
        copy = folder / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(source.read_text())
    return folder


def append(root: Path, file: str, line: str) -> None:
    with (root / file).open("a") as source_file:
        source_file.write(f"\n{line}\n")


def test_imports_point_one_way() -> None:
    assert wrong_arrows(ROOT) == []


def importing_the_default_step(root: Path) -> list[str]:
    """Modules of bench that name its package in an import. The worker's start loads it by a string
    of its own, from the folder beside it, before anything can be imported."""
    return sorted(
        {
            path
            for path, tree, package in sources(root)
            for target in imported(tree, root, package)
            if target.split(".")[0] == PACKAGE and not path.startswith(f"{PACKAGE}/")
        }
    )


def test_one_module_imports_the_default_step_by_name() -> None:
    assert importing_the_default_step(ROOT) == ["bench/matrix/default_step"]


@pytest.mark.parametrize("line", ["import sumnet.data", "def late():\n    from sumnet import data"])
def test_another_module_that_does_is_noticed(tmp_path: Path, line: str) -> None:
    append(copied(tmp_path), "bench/worker/loop.py", line)
    assert importing_the_default_step(tmp_path) == [
        "bench/matrix/default_step",
        "bench/worker/loop",
    ]


def test_every_room_of_bench_has_its_place_in_the_order() -> None:
    there = {path.stem for path in (ROOT / "bench").iterdir() if path.suffix in ("", ".py")}
    assert there - {"__init__", "__pycache__"} == set(ROOMS)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("sumnet/train.py", "import bench"),
        ("sumnet/train.py", "from bench.errors import UsageError"),
        ("bench/errors.py", "from bench.matrix import case"),
        ("bench/devices/cpu.py", "import bench.matrix.case"),
        ("bench/matrix/case.py", "from bench import cli"),
        ("bench/records/store.py", "from ..stats.estimates import floor_of"),
        ("bench/records/store.py", "def late():\n    from bench.report import notes"),
        ("bench/stats/estimates.py", "if TYPE_CHECKING:\n    from bench.report.view import Row"),
        ("bench/rank/analysis.py", "from bench.compare.analysis import compare"),
        ("bench/runner/pool.py", "from bench.worker.timing import Samples"),
        ("bench/runner/pool.py", "def late():\n    import torch"),
        ("bench/gate/views.py", "from torch.utils import benchmark"),
        ("bench/matrix/case.py", "from bench.options import OPTIONS"),
        ("bench/worker/server.py", "from bench.runner.events import Event"),
        ("bench/__init__.py", "from bench.errors import UsageError"),
    ],
)
def test_arrow_that_points_back_is_noticed(tmp_path: Path, file: str, line: str) -> None:
    append(copied(tmp_path), file, line)
    assert [arrow.split(" -> ")[0] for arrow in wrong_arrows(tmp_path)] == [
        file.removesuffix(".py")
    ]


WITHOUT_TORCH = """
import importlib, runpy, sys

run_file = sys.argv[1]

def check(what, *names):
    if came := [name for name in names if name in sys.modules]:
        sys.exit(f"{came} came with {what}")

def command(*arguments):
    sys.argv = ["bench", *arguments]
    try:
        runpy.run_module("bench", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise

command("--help")
from bench.options import VERBS
for verb in VERBS:
    command(verb, "--help")
check("--help", "torch", "numpy", "pandas", "pytest", "rich", "psutil", "pynvml")
for verb in ("compare", "rank", "ceilings", "trend"):
    command(verb, run_file)
command("compare", run_file, "--limits")
check("verbs", "torch")
for name in sys.stdin.read().split():
    importlib.import_module(name)
    check(name, "torch")
"""


def test_help_is_light_and_nothing_outside_workers_needs_torch(tmp_path: Path) -> None:
    above = dict.fromkeys(ceilings("cpu", 1, ["float32"]), 1e4)
    profiles = {sumnet(): synthetic.step_profile()}
    run = synthetic.run({sumnet(): 1e5}, profiles=profiles, ceilings=above)
    run_file = synthetic.run_file(tmp_path / "run.json", run)
    names = [
        path.replace("/", ".").removesuffix(".__init__")
        for path, _, _ in sources(ROOT)
        if path.startswith("bench/") and room(path.replace("/", ".")) not in ("worker", "__main__")
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(run_file)],
        input="\n".join(names),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
