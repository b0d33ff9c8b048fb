"""The suite as it lies once it is installed: in a site-packages, with a torch beside it."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch

from bench.records.gate_report import load_report
from tests.cases import sumnet
from tests.suite.driving import LEAST, ROOT, SEED_CASE, run_files, surroundings

OVERLAY = """
import pathlib
here, real = __file__, pathlib.Path({real!r})
__path__, __file__ = [str(real.parent)], str(real)
exec(compile(real.read_text(), str(real), "exec"), globals())
__version__, __file__ = {version!r}, here
"""
"""A package `torch` that is the real one, and says another version."""


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


@pytest.mark.slow
def test_installed_suite_measures_what_it_is_asked_to(tmp_path: Path) -> None:
    site = environment(tmp_path / "ours", "2.13.0+ours")
    environment(tmp_path / "other", "2.12.0+other")
    for package in ("bench", "sumnet"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, site / package, ignore=ignored)
    (site / "sumnet_bench-0.1.dist-info").mkdir()
    (site / "sitecustomize.py").write_text("print('Welcome', flush=True)\n")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    subprocess.run(["git", "init", "--quiet", str(foreign)], check=True)
    other_python = str(tmp_path / "other" / "bin" / "python")

    def bench(*words: str, path: str = "") -> subprocess.CompletedProcess[str]:
        """The command in another project's checkout."""
        command = [str(tmp_path / "ours" / "bin" / "python"), "-m", "bench", *words]
        around = surroundings(PYTHONPATH=path, HOME=str(tmp_path))
        return subprocess.run(command, cwd=foreign, env=around, capture_output=True, text=True)

    done = bench("run", SEED_CASE, *LEAST, "--results", str(tmp_path / "results"))
    assert done.returncode == 0, done.stdout + done.stderr
    (run_file,) = run_files(tmp_path / "results")
    assert '"2.13.0+ours"' in run_file.read_text()
    assert bench("compare", str(run_file)).returncode == 0

    done = bench("regress")
    assert (done.returncode, done.stdout) == (2, "Welcome\n")
    assert f"error: there is no sumnet/ to take revisions of: not in {foreign} or" in done.stderr

    sides = [sumnet().id, "--base-python", other_python]
    path = tmp_path / "report.json"
    # So little time ends it after a few pairs.
    bench("regress", *sides, "--budget", "10", "--report", str(path))
    report = load_report(path)
    assert [side.torch for side in report.sides] == ["2.12.0+other", "2.13.0+ours"]
    assert report.pairs
    assert str(tmp_path) not in path.read_text(), "which stands for a person's home"

    done = bench("regress", *sides, path=str(site))
    assert done.returncode == 2
    assert f"PYTHONPATH puts torch 2.13.0+ours, in {site}/torch, before the one that" in done.stderr
