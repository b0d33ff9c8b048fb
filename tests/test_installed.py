"""The suite as its wheel installs it: under another name, in a folder of somebody else's."""

import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.records.gate_report import load_report
from tests.cases import sumnet
from tests.suite.driving import LEAST, ROOT, SEED_CASE, run_files, surroundings

pytestmark = pytest.mark.slow
OVERLAY = """
import pathlib
here, real = __file__, pathlib.Path({real!r})
__path__, __file__ = [str(real.parent)], str(real)
exec(compile(real.read_text(), str(real), "exec"), globals())
__version__, __file__ = {version!r}, here
"""
"""A package `torch` that is the real one, and says another version."""
BUILD = "import sys; from hatchling.build import build_{kind}; build_{kind}(sys.argv[1])"
RAISES = "raise RuntimeError('not wanted here')\n"
STEPS = """
import torch
from bench import WIDTH
from sumnet import Step, training_step

@training_step(batch=[4])
def mynet(device, batch):
    model = torch.nn.Linear(WIDTH, 1).to(device)
    x = torch.randn(batch, WIDTH, device=device)
    return Step(model, loss=lambda: model(x).square().mean(), samples=batch)
"""
Command = Callable[..., subprocess.CompletedProcess[str]]


def environment(folder: Path, version: str) -> Path:
    """A virtual environment with a torch of that version; its site-packages."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    others = [entry for entry in sys.path if entry.endswith("-packages")]
    (site / "others.pth").write_text("\n".join(others))
    (site / "torch").mkdir()
    overlay = OVERLAY.format(real=torch.__file__, version=version)
    (site / "torch" / "__init__.py").write_text(overlay)
    return site


def build(kind: str, folder: Path, source: Path = ROOT) -> Path:
    """The project's "wheel", "editable" wheel or "sdist", in a new folder."""
    folder.mkdir()
    command = [sys.executable, "-c", BUILD.format(kind=kind), str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


def install(wheel: Path, python: Path) -> None:
    """As a user does; what it depends on is there."""
    words = ["install", "--no-deps", "--no-index", "--quiet", str(wheel)]
    command = [sys.executable, "-m", "pip", "--python", str(python), *words]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site-packages of an environment with the suite and another distribution's `bench`."""
    folder = tmp_path_factory.mktemp("installed")
    site = environment(folder / "ours", "2.13.0+ours")
    (site / "bench").mkdir()
    (site / "bench" / "__init__.py").write_text(RAISES)
    (site / "bench-1.0.dist-info").mkdir()
    (site / "bench-1.0.dist-info" / "METADATA").write_text("Name: bench\nVersion: 1.0\n")
    install(build("wheel", folder / "dist"), folder / "ours" / "bin" / "python")
    return site


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with packages of our names, none of which may be imported."""
    folder = tmp_path / "checkout"
    for name in ("bench", "tests", "results"):
        (folder / name).mkdir(parents=True)
        for file in ("__init__.py", "conftest.py"):
            (folder / name / file).write_text(RAISES)
    (folder / "conftest.py").write_text(RAISES)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    return folder


@pytest.fixture
def command(site: Path, checkout: Path, tmp_path: Path) -> Command:
    """The installed command, in that repository."""

    def run(*words: object, path: str = "") -> subprocess.CompletedProcess[str]:
        script = site.parents[2] / "bin" / "sumnet-bench"
        around = surroundings(PYTHONPATH=path, HOME=str(tmp_path))
        return subprocess.run(
            [script, *map(str, words)], cwd=checkout, env=around, capture_output=True, text=True
        )

    return run


def check(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_measures_beside_packages_of_its_own_names(command: Command, checkout: Path) -> None:
    """The folder is on the import path too, as PYTHONPATH=. has it."""
    assert check(command("list", SEED_CASE, path=".")) == f"{SEED_CASE}\n"
    check(command("run", SEED_CASE, *LEAST, path="."))
    (run_file,) = run_files(checkout / "results")
    assert '"2.13.0+ours"' in run_file.read_text()
    assert SEED_CASE in check(command("compare", path="."))
    assert SEED_CASE in check(command("profile", SEED_CASE, path="."))


def test_steps_import_the_users_package_that_has_a_name_of_ours(
    command: Command, checkout: Path
) -> None:
    (checkout / "bench" / "__init__.py").write_text("WIDTH = 8\n")
    (checkout / "steps.py").write_text(STEPS)
    listed = check(command("list", "steps.py", "--verify"))
    assert re.search("^mynet/cpu/.* verified", listed, re.MULTILINE), listed
    check(command("run", "steps.py", *LEAST))
    assert "mynet/" in check(command("compare"))


def test_messages_name_the_installed_command(command: Command, checkout: Path) -> None:
    assert command().stdout.startswith("usage: sumnet-bench ")
    none = command("run", "--preset=seed", "-k", "nosuch")
    assert none.returncode == 2
    assert "`sumnet-bench list` prints the ids" in none.stdout + none.stderr


def test_gate_compares_interpreters_with_the_installed_step(
    site: Path, command: Command, checkout: Path, tmp_path: Path
) -> None:
    environment(tmp_path / "other", "2.12.0+other")
    other_python = str(tmp_path / "other" / "bin" / "python")
    done = command("regress")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: there is no sumnet/ to take revisions of: not in {checkout}" in done.stderr

    sides = [sumnet().id, "--base-python", other_python]
    path = tmp_path / "report.json"
    # So little time ends it after a few pairs.
    command("regress", *sides, "--budget", "10", "--report", path)
    report = load_report(path)
    assert [side.torch for side in report.sides] == ["2.12.0+other", "2.13.0+ours"]
    assert report.pairs
    assert str(tmp_path) not in path.read_text(), "which stands for a person's home"

    done = command("regress", *sides, path=str(site))
    assert done.returncode == 2
    assert f"PYTHONPATH puts torch 2.13.0+ours, in {site}/torch, before the one that" in done.stderr


def test_output_at_startup_does_no_harm(site: Path, command: Command) -> None:
    greeting = site / "sitecustomize.py"
    greeting.write_text("print('Welcome', flush=True)\n")
    try:
        assert check(command("list", SEED_CASE)) == f"Welcome\n{SEED_CASE}\n"
    finally:
        greeting.unlink()


def test_editable_install_has_the_command_and_the_source(tmp_path: Path, checkout: Path) -> None:
    site = environment(tmp_path / "ours", "2.13.0+ours")
    install(build("editable", tmp_path / "dist"), tmp_path / "ours" / "bin" / "python")
    assert not (site / "sumnet_bench").exists()
    script = tmp_path / "ours" / "bin" / "sumnet-bench"
    around = surroundings(PYTHONPATH=".", HOME=str(tmp_path))  # whose bench/ raises
    words = [script, "list", SEED_CASE]
    done = subprocess.run(words, cwd=checkout, env=around, capture_output=True, text=True)
    assert check(done) == f"{SEED_CASE}\n"


def test_sdist_builds_the_same_wheel(tmp_path: Path) -> None:
    shutil.unpack_archive(build("sdist", tmp_path / "sdist"), tmp_path, filter="data")
    (source,) = tmp_path.glob("sumnet_bench-*/")
    names = files_in(build("wheel", tmp_path / "ours"))
    assert files_in(build("wheel", tmp_path / "theirs", source)) == names
    folders = {name.split("/")[0] for name in names}
    assert {name for name in folders if not name.endswith(".dist-info")} == {
        "sumnet",
        "sumnet_bench",
    }


def files_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as file:
        return sorted(file.namelist())
