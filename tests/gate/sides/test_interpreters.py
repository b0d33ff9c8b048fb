"""Sides on another interpreter: one that is named, or one made with another torch."""

import ast
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
import torch

from bench.gate import interpreters
from bench.protocol.interpreter import describe
from bench.protocol.messages import Interpreter
from tests.gate.sides.making import made, refusal, says, sides
from tests.runner.processes import is_gone
from tests.test_structure import ROOT, imported

# Another interpreter


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """An executable file of that text."""

    def make(text: str) -> str:
        path = tmp_path / "interpreter"
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    return make


def without(*modules: str) -> str:
    """A Python that cannot import these."""
    gone = "; ".join(f"sys.modules[{name!r}] = None" for name in modules)
    # Its arguments are -c, what to run, and the words for that.
    run = f"import sys; {gone}; sys.argv = sys.argv[2:]; exec(sys.argv[0])"
    return f'#!/bin/sh\nexec {sys.executable} -c {shlex.quote(run)} "$@"\n'


def test_base_runs_on_the_interpreter_that_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = Path(sys.executable)
    monkeypatch.chdir(python.parent)
    for text in (sys.executable, f"./{python.name}"):
        with sides(root, python=text) as (base, head):
            assert Path(base.python).absolute() == python.absolute()
            assert head.python == sys.executable
            assert f"torch {torch.__version__}" in base.what
            assert base.interpreter == Interpreter(**describe(torch))
            assert head.interpreter is None
            assert (says(base), says(head)) == ("second", "second")


def test_bases_environment_is_its_interpreters_too(
    root: Path, script: Callable[[str], str]
) -> None:
    python = script(f'#!/bin/sh\n[ "$NEEDED" ] && exec {sys.executable} "$@"\n')
    assert "no Python that works" in refusal(root, python=python)
    assert made(root, python=python, env=["NEEDED=1"])[0] == "second"


@pytest.mark.parametrize("text", ["", "nowhere/python", "python-of-no-one", os.devnull, "."])
def test_interpreter_must_be_there(root: Path, text: str) -> None:
    why = refusal(root, python=text)
    assert why.startswith(f"--base-python: {text!r} is not there, or cannot be executed")


def test_interpreter_must_be_executable(root: Path, script: Callable[[str], str]) -> None:
    python = script("#!/bin/sh\n")
    Path(python).chmod(0o644)
    assert "is not there, or cannot be executed" in refusal(root, python=python)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no script", "cannot be run: Exec format error"),
        ("#!/bin/sh\n", "is no Python that works: name one"),
        ("#!/bin/sh\necho 5; echo oh >&2; exit 3\n", "is no Python that works (oh): name one"),
        (
            "#!/bin/sh\necho noise\n"
            """echo '{"name": "PyPy 3.8.1", "version": [3, 8], "failed": {}, "torch": null}'\n""",
            "is PyPy 3.8.1: workers need Python 3.11 or newer",
        ),
    ],
)
def test_interpreter_must_be_a_python(
    root: Path, script: Callable[[str], str], text: str, why: str
) -> None:
    python = script(text)
    assert refusal(root, python=python) == f"--base-python: {python} {why}"


def test_interpreter_must_have_what_workers_import(
    root: Path, script: Callable[[str], str]
) -> None:
    python = script(without("torch", "pynvml"))
    why = refusal(root, python=python)
    assert "(pynvml: import of pynvml halted; None in sys.modules; torch: import of torch" in why
    versions = f"nvidia-ml-py=={metadata.version('nvidia-ml-py')} torch"
    assert f"`{python} -m pip install {versions}`" in why


@pytest.mark.parametrize("has_its_own", [True, False])
def test_torch_of_pythonpath_before_the_interpreters_own_is_refused(
    root: Path,
    tmp_path: Path,
    script: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    has_its_own: bool,
) -> None:
    """Where the interpreter has none, it may come from there."""
    for name in ("path", "own"):
        (tmp_path / name / "torch").mkdir(parents=True)
        (tmp_path / name / "torch" / "__init__.py").write_text(f"__version__ = '9.{len(name)}'\n")
    lacks = f"sys.path = [e for e in sys.path if not e.endswith('-packages')]; {STAND_INS}"
    puts = f"sys.path.append({str(tmp_path / 'own')!r})" if has_its_own else "pass"
    run = f"import sys; {lacks}; {puts}; sys.argv = sys.argv[2:]; exec(sys.argv[0])"
    python = script(f'#!/bin/sh\nexec {sys.executable} -c {shlex.quote(run)} "$@"\n')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    asked = {"python": python}
    if has_its_own:
        assert refusal(root, **asked) == (
            f"--base-python: {python}: PYTHONPATH puts torch 9.4, in {tmp_path}/path/torch, before "
            f"the one that it has, in {tmp_path}/own/torch: unset PYTHONPATH"
        )
    else:
        assert made(root, **asked)[2].endswith("torch 9.4")


STAND_INS = "sys.modules.update(dict.fromkeys(['msgspec', 'psutil', 'pynvml'], sys))"


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("2.12", "2.12.0+cpu", True),
        ("2.12.0rc1", "2.12.0-rc1+cu130", True),
        ("2.12.0", "2.12.1", False),
        ("2.12.0", "2.1.20", False),
    ],
)
def test_versions_are_distinguished_by_their_numbers(one: str, other: str, alike: bool) -> None:
    assert (interpreters._numbers(one) == interpreters._numbers(other)) == alike


def test_interpreter_that_hangs_is_ended(
    root: Path, tmp_path: Path, script: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreters, "EXAMINE_S", 0.5)
    python = script(f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path}/pid\nwait\n")
    assert "did not import torch within" in refusal(root, python=python)
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_what_workers_import_is_what_is_asked_for() -> None:
    seen, todo = set(), ["bench.worker.__main__", "bench.worker.session", "sumnet.training"]
    others = set()
    while todo:
        module = todo.pop()
        place = ROOT.joinpath(*module.split("."))
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if module in seen or not file.exists():
            others |= {module.split(".")[0]} - {"bench", "sumnet"}
            continue
        seen.add(module)
        package = module if place.is_dir() else module.rpartition(".")[0]
        todo += imported(ast.parse(file.read_text()), ROOT, package)
    assert others - sys.stdlib_module_names == set(interpreters.IMPORTS)


# Another torch


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that pip finds: what workers need and a torch 9.1, and every one of them empty."""
    folder = tmp_path / "index"
    folder.mkdir()
    modules = {name: module for module, name in interpreters.IMPORTS.items()}
    for name in (*modules, *interpreters.ALIKE):
        version = "9.1" if name == "torch" else metadata.version(name)
        write_wheel(folder, name, version, modules.get(name, name))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    return folder


def write_wheel(folder: Path, name: str, version: str, module: str) -> None:
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    files = {
        f"{module}/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)


@pytest.mark.slow
def test_torch_is_installed_for_the_base(
    root: Path, tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    reported: list[str] = []
    with sides(root, reported.append, torch="9.1") as (base, head):
        assert base.what == f"{head.what}, torch 9.1"
        assert Path(base.python).is_relative_to(base.subject.parent)
        words = [base.python, "-m", "pip", "freeze"]
        frozen = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert [line.split(" @")[0] for line in frozen.split("\n") if line] == sorted(
            f"{name}=={'9.1' if name == 'torch' else metadata.version(name)}"
            for name in (*interpreters.IMPORTS.values(), *interpreters.ALIKE)
        )
        assert head.python == sys.executable
    assert reported[0] == "installing torch 9.1 for the base"
    assert reported[1].startswith("installed torch 9.1 for the base in ")
    assert not Path(base.python).exists()

    # A torch on PYTHONPATH is what workers would load instead.
    (tmp_path / "path" / "torch").mkdir(parents=True)
    (tmp_path / "path" / "torch" / "__init__.py").write_text("__version__ = '9.2'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    why = refusal(root, torch="9.1")
    assert f"PYTHONPATH puts torch 9.2, in {tmp_path}/path/torch, before the one" in why


@pytest.mark.slow
def test_torch_that_pip_does_not_find_is_refused_in_its_words(root: Path, index: Path) -> None:
    why = refusal(root, torch="9.9.9")
    assert why.startswith(
        "--base-torch: cannot install torch 9.9.9; pip reports: No matching distribution found for "
        "torch==9.9.9."
    )
    assert "--base-python names an interpreter that has it" in why


CONFLICT = """
The conflict is caused by:
    The user requested torch==9.9.9
    The user requested (constraint) torch==2.13.0

To fix this you could try to:
ERROR: Cannot install torch==9.9.9 because these package versions have conflicting dependencies.
ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/
"""
NO_ENSUREPIP = (
    "The virtual environment was not created successfully because\nensurepip is not there.\n"
)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            CONFLICT,
            "The user requested torch==9.9.9; The user requested (constraint) torch==2.13.0",
        ),
        ("WARNING: retry\nERROR: a\nERROR: b\nWARNING: old pip\n", "b"),
        (NO_ENSUREPIP, " ".join(NO_ENSUREPIP.split())),
        ("", ""),
    ],
)
def test_installers_complaint_is_its_own(output: str, said: str) -> None:
    assert interpreters._complaint(output) == said


@pytest.fixture
def interrupt_soon() -> Iterator[Callable[[Callable[[], bool]], None]]:
    """Sends this process what Ctrl-C does, once something holds."""
    threads: list[threading.Thread] = []
    # In the background of some shells it would be ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(ready: Callable[[], bool]) -> None:
        def wait() -> None:
            while not ready():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        threads.append(threading.Thread(target=wait, daemon=True))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(10)
    signal.signal(signal.SIGINT, before)


def test_installation_that_is_interrupted_is_ended_and_leaves_nothing(
    root: Path,
    tmp_path: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: Callable[[str], str],
    interrupt_soon: Callable[[Callable[[], bool]], None],
) -> None:
    pid = tmp_path / "pid"
    slow = f"#!/bin/sh\nsleep 600 &\necho $! > {pid}.part\nmv {pid}.part {pid}\nwait\n"
    monkeypatch.setattr(sys, "executable", script(slow))
    interrupt_soon(pid.exists)
    with (
        pytest.raises(KeyboardInterrupt),
        sides(root, torch="9.1"),
    ):
        pass
    assert is_gone(int(pid.read_text()))
    assert list(temporary.iterdir()) == []
