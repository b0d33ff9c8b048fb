"""The README's commands: their sessions exist, end as they do, and install what is pinned."""

import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.suite.driving import PATIENCE_S, ROOT, surroundings

NOX = (
    [sys.executable, "-m", "nox"]
    if importlib.util.find_spec("nox") is not None
    else [path for path in [shutil.which("nox")] if path is not None]
)
needs_nox = pytest.mark.skipif(not NOX, reason="nox is not installed here")
STAND_IN = """
import os, pathlib, sys, time
verb, what, *_ = sys.argv[1:]
print(f"stand-in for {verb}", flush=True)
if what == "signal":
    os.kill(os.getpid(), 9)
if what == "wait":
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(1)
        pathlib.Path("kept").touch()
        sys.exit(130)
sys.exit(int(what))
"""
"""In place of the suite: it ends with a status, or waits for an interrupt and takes a second."""
PYPROJECT = """
[project]
name = "stand-in"
version = "1"

[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
WHEEL = """
import sys, zipfile
from pathlib import Path

def write_wheel(folder, name):
    file = f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder, file), "w") as wheel:
        info = f"{name}-1.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: 1\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return file

def build_editable(folder, config_settings=None, metadata_directory=None):
    return write_wheel(folder, "stand_in")
"""
"""A build backend whose wheels are empty."""
TORCH = "./torch-1-py3-none-any.whl"
LOCK = "requirements.lock"
PIP_COMMANDS = 3
"""That make an environment: what is locked, torch, the project."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The noxfile, with a stand-in for the suite."""
    shutil.copy(ROOT / "noxfile.py", tmp_path)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / LOCK).touch()
    (tmp_path / "backend.py").write_text(WHEEL)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").touch()
    (tmp_path / "bench" / "__main__.py").write_text(STAND_IN)
    return tmp_path


def nox(project: Path, *words: str) -> subprocess.Popen[str]:
    """nox in a project, with only the system's folders on the PATH."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [*NOX, *words],
            cwd=project,
            env=surroundings(PATH="/usr/bin:/bin"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


@needs_nox
@pytest.mark.parametrize(
    ("session", "verb", "what", "status"),
    [
        ("regress", "regress", "0", 0),
        ("regress", "regress", "1", 1),
        ("regress", "regress", "2", 2),
        ("regress", "regress", "3", 3),
        ("regress", "regress", "4", 4),
        ("regress", "regress", "signal", 137),
        ("bench", "run", "4", 4),
        ("compare", "compare", "2", 2),
    ],
)
def test_session_ends_with_the_status_of_its_command(
    project: Path, session: str, verb: str, what: str, status: int
) -> None:
    process = nox(project, "--no-venv", "-s", session, "--", what)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status, output
    assert f"stand-in for {verb}\n" in output


@needs_nox
def test_interrupted_session_lets_its_command_finish_and_ends_with_130(project: Path) -> None:
    process = nox(project, "--no-venv", "-s", "regress", "--", "wait")
    assert process.stdout is not None
    assert any("stand-in" in line for line in process.stdout)
    time.sleep(0.3)  # until it waits
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, output
    assert (project / "kept").exists()


@needs_nox
def test_session_that_cannot_install_has_no_verdict(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUMNET_TORCH", "./no-such-torch")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    process = nox(project, "-s", "regress", "--", "0")
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 4, output
    assert "stand-in" not in output


@pytest.fixture
def offline(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project with a torch that can be installed without a network."""
    command = "import backend; backend.write_wheel('.', 'torch')"
    subprocess.run([sys.executable, "-c", command], cwd=project, check=True)
    monkeypatch.setenv("SUMNET_TORCH", TORCH)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return project


def installed(project: Path, *words: str, status: int = 0) -> tuple[int, str]:
    """How many commands of pip a session took, and the interpreter it then ran on."""
    process = nox(project, *words, "--", str(status))
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status, output
    (interpreter,) = re.findall(r"^nox > (\S+) -m bench ", output, re.MULTILINE)
    return output.count("pip install"), interpreter


@needs_nox
@pytest.mark.slow
def test_sessions_share_an_environment_that_is_made_once(
    offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for each torch that is asked for, so that they do not take turns in one."""
    name = f"install-{re.sub('[^A-Za-z0-9.]+', '-', TORCH)}"
    ours = str(offline / ".nox" / name / "bin" / "python")
    assert installed(offline, "-s", "bench") == (PIP_COMMANDS, ours)
    assert installed(offline, "-s", "compare", status=3) == (0, ours)
    (offline / LOCK).write_text("# renewed\n")
    assert installed(offline, "-R", "-s", "regress") == (0, ours)
    assert installed(offline, "-s", "regress") == (PIP_COMMANDS, ours)
    assert installed(offline, "-r", "-s", "bench") == (0, ours)
    monkeypatch.setenv("PIP_FIND_LINKS", str(offline))
    assert installed(offline, "-s", "bench") == (PIP_COMMANDS, ours), "another source of builds"
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert installed(offline, "-s", "bench") == (0, ours)


@needs_nox
@pytest.mark.slow
def test_half_an_installation_is_made_again(offline: Path) -> None:
    pyproject = offline / "pyproject.toml"
    pyproject.write_text(PYPROJECT.replace('"backend"', '"no_backend"'))
    process = nox(offline, "-s", "bench", "--", "0")
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 4, output
    assert "stand-in for run" not in output
    pyproject.write_text(PYPROJECT)
    assert installed(offline, "-s", "bench")[0] == PIP_COMMANDS


@needs_nox
@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False])
def test_what_is_locked_is_installed_by_its_hash(offline: Path, same: bool) -> None:
    command = "import backend; backend.write_wheel('.', 'locked')"
    subprocess.run([sys.executable, "-c", command], cwd=offline, check=True)
    wheel = offline / "locked-1-py3-none-any.whl"
    digest = hashlib.sha256(wheel.read_bytes() if same else b"another file").hexdigest()
    (offline / LOCK).write_text(f"./{wheel.name} --hash=sha256:{digest}\n")
    process = nox(offline, "-s", "bench", "--", "0")
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == (0 if same else 4), output
    assert ("stand-in for run" in output) is same


@needs_nox
def test_without_an_environment_commands_run_on_noxs_own_interpreter(project: Path) -> None:
    assert installed(project, "--no-venv", "-s", "bench") == (0, sys.executable)


@dataclass(frozen=True)
class Locked:
    """A distribution in the lock: `name==version ; marker`, and its hashes."""

    requirement: Requirement
    hashes: list[str]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        (pin,) = self.requirement.specifier
        assert pin.operator == "==" and "*" not in pin.version
        return pin.version


def locked() -> list[Locked]:
    text = re.sub(r"^#.*\n", "", (ROOT / LOCK).read_text(), flags=re.M).replace("\\\n", " ")
    entries = [re.split(r"\s+--hash=", line.strip()) for line in text.splitlines()]
    return [Locked(Requirement(first), hashes) for first, *hashes in entries]


def asked_for() -> dict[str, list[Requirement]]:
    """What pyproject.toml asks for, with its extras, to run and to build the project."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = document["project"]
    named = [*project["dependencies"], *document["build-system"]["requires"]]
    named += [line for extra in project["optional-dependencies"].values() for line in extra]
    found: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, named):
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    del found[project["name"]]  # whose extra `dev` has its extra `report`
    return found


def needed(requirement: Requirement) -> Iterator[Requirement]:
    """What a distribution that is installed here needs on this machine, by its own metadata."""
    for line in metadata.requires(requirement.name) or ():
        inner = Requirement(line)
        extras = [{"extra": extra} for extra in ("", *requirement.extras)]
        if inner.marker is None or any(map(inner.marker.evaluate, extras)):
            yield inner


@needs_nox
def test_noxfile_lists_its_sessions() -> None:
    command = [*NOX, "--list", "-f", "noxfile.py"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    sessions = re.findall(r"^[*-] (\w+) -> \S", ran.stdout, flags=re.MULTILINE)
    assert sorted(sessions) == ["bench", "compare", "install", "lint", "regress", "tests"]


def test_lock_has_one_exact_version_of_each_by_hash() -> None:
    for each in locked():
        assert each.version, each.requirement
        assert each.hashes, each.requirement
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in each.hashes)
    names = [each.name for each in locked()]
    assert sorted(set(names)) == names
    assert "://" not in (ROOT / LOCK).read_text()


def test_lock_has_what_the_project_asks_for_and_no_torch() -> None:
    versions = {each.name: each.version for each in locked()}
    asked = asked_for()
    assert asked.keys() - versions.keys() == {"torch"}
    for name, requirements in asked.items():
        for requirement in requirements:
            assert name == "torch" or requirement.specifier.contains(versions[name]), requirement


def test_lock_has_all_that_those_need() -> None:
    """By the metadata of what is installed here. Libraries that torch was built for it brings."""
    versions = {each.name: each.version for each in locked()}
    versions["torch"] = metadata.version("torch")
    waiting = [requirement for some in asked_for().values() for requirement in some]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if str(requirement) in seen or re.match("cuda-|nvidia-(?!ml-py)|triton", name):
            continue
        seen.add(str(requirement))
        assert requirement.specifier.contains(versions[name], prereleases=True), requirement
        try:
            waiting += needed(requirement)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed here")
