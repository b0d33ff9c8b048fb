"""Another interpreter for the base: one with another torch, made here, or one that was named."""

import contextlib
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import msgspec

from ..errors import UsageError
from ..protocol import interpreter
from ..protocol.messages import Interpreter

IMPORTS = {"msgspec": "msgspec", "psutil": "psutil", "pynvml": "nvidia-ml-py", "torch": "torch"}
"""What a worker imports beside this suite, and what to install for it."""
ALIKE = ("numpy",)
"""What torch uses where it is installed: a base without it would differ by more than its torch."""
CONFLICT = re.compile(r"The conflict is caused by:\n(.+?)\n\s*\n", re.DOTALL)
OLDEST = (3, 11)
MAX_QUOTE = 300
"""Characters of an installer's output, where it names no error."""
EXAMINE_S = 120.0
"""To import torch in, from a cold disk too."""


class Examined(msgspec.Struct, frozen=True):
    """What an interpreter reports of itself."""

    name: str
    """For example "CPython 3.11.7"."""
    version: tuple[int, int]
    failed: dict[str, str]
    """Module to why it cannot be imported."""
    interpreter: Interpreter | None = None
    """None where it cannot import torch."""
    overridden: str | None = None
    """The folder of a torch that it has and PYTHONPATH puts another before."""


def named_interpreter(text: str, environment: Mapping[str, str]) -> tuple[str, Interpreter]:
    """The interpreter that --base-python names, by path or as a shell finds it, and what it is.

    `environment` is the base's own, added to ours. Raises UsageError where a worker could not run
    on it.
    """
    found = shutil.which(text) if text else None
    if found is None:
        raise UsageError(
            f"--base-python: {text!r} is not there, or cannot be executed: name an interpreter"
        )
    python = str(Path(found).absolute())  # and not resolved: a virtual environment's is a link
    return python, examined(python, environment, f"--base-python: {python}")


def make_interpreter(
    version: str, folder: Path, environment: Mapping[str, str], on_progress: Callable[[str], None]
) -> tuple[str, Interpreter]:
    """The interpreter of a new virtual environment with that torch and all that workers import.

    Everything but torch and what torch itself needs has the version installed here. pip obeys its
    own variables and files; `environment`, the base's own, plays no part in the installation.
    Raises UsageError where that fails.
    """
    others = [_pinned(name) for name in (*IMPORTS.values(), *ALIKE) if name != "torch"]
    on_progress(f"installing torch {version} for the base")
    started = time.monotonic()
    _install(version, sys.executable, "venv", str(folder))
    python = str(folder / "bin" / "python")
    options = ("--no-input", "--disable-pip-version-check")
    _install(version, python, "pip", "install", *options, f"torch=={version}", *others)
    found = examined(python, environment, f"--base-torch: the interpreter made for {version}")
    if _numbers(found.torch) != _numbers(version):
        raise UsageError(
            f"--base-torch: torch {version} was installed, and {found.torch} is what is imported, "
            f"from {found.torch_folder}"
        )
    on_progress(f"installed torch {found.torch} for the base in {time.monotonic() - started:.0f} s")
    return python, found


def _numbers(version: str) -> list[int]:
    """For example [2, 12, 1] of 2.12.1+cpu; 2.12.0 and 2.12 are one version."""
    numbers = [int(digits) for digits in re.findall(r"\d+", version.partition("+")[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def _pinned(distribution: str) -> str:
    """The requirement of the version that is installed here; any torch will do."""
    if distribution == "torch":
        return distribution
    try:
        return f"{distribution}=={metadata.version(distribution)}"
    except metadata.PackageNotFoundError:  # found by PYTHONPATH, perhaps: whichever pip takes
        return distribution


def _install(version: str, python: str, *words: str) -> None:
    """Run a module as a step of the installation. Raises UsageError, quoting it, where it fails."""
    # What PYTHONPATH holds would count as installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = run([python, "-P", "-m", *words], environment, None)
    if done.returncode:
        why = _complaint(done.stdout + done.stderr)
        raise UsageError(
            f"--base-torch: cannot install torch {version}; {words[0]} reports: {why}. See that "
            "there is such a version and that pip reaches its index; or --base-python names an "
            "interpreter that has it"
        )


def _complaint(output: str) -> str:
    """The last error of an installer's output, or the conflict of pip's requirements."""
    if conflict := CONFLICT.search(output):
        return "; ".join(line.strip() for line in conflict[1].splitlines())
    errors = re.findall(r"^ERROR: (.*)$", output, re.MULTILINE)
    return errors[-1] if errors else " ".join(output.split())[-MAX_QUOTE:]


def examined(python: str, environment: Mapping[str, str], who: str) -> Interpreter:
    """What it is; raises UsageError where a worker could not run on it with its own torch."""
    try:
        everything = {**os.environ, "PYTHONSAFEPATH": "1", **environment}
        done = run([python, "-c", inspect.getsource(interpreter), *IMPORTS], everything, EXAMINE_S)
        # Whatever torch may print while it is imported comes before.
        report = msgspec.json.decode(done.stdout.splitlines()[-1], type=Examined)
    except OSError as error:
        raise UsageError(f"{who} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise UsageError(f"{who} did not import torch within {EXAMINE_S:.0f} s") from None
    except (IndexError, msgspec.DecodeError):
        lines = done.stderr.strip().splitlines()
        last = f" ({lines[-1].strip()})" if lines else ""
        raise UsageError(f"{who} is no Python that works{last}: name one") from None
    if report.version < OLDEST:
        least = ".".join(map(str, OLDEST))
        raise UsageError(f"{who} is {report.name}: workers need Python {least} or newer")
    if report.failed:
        reasons = "; ".join(f"{module}: {reason}" for module, reason in report.failed.items())
        needs = [_pinned(IMPORTS[module]) for module in report.failed]
        raise UsageError(
            f"{who} cannot import what workers need ({reasons}): "
            f"`{python} -m pip install {' '.join(needs)}`"
        )
    found = report.interpreter
    assert found is not None  # torch did not fail
    if report.overridden is not None:
        raise UsageError(
            f"{who}: PYTHONPATH puts torch {found.torch}, in {found.torch_folder}, before the one "
            f"that it has, in {report.overridden}: unset PYTHONPATH"
        )
    return found


def run(
    command: list[str],
    environment: dict[str, str],
    seconds: float | None,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run it in the folder, to its end; where nobody waits for that, all it started is killed."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=folder,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except BaseException:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)
