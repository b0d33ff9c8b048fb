"""Builds of a side's tree: a shell command, run in an environment that only this side has."""

import json
import os
import shlex
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from ..errors import MachineError, UsageError
from ..machine.git import own_environment
from ..protocol.subject import origin_of
from ..runner.process import Side
from .interpreters import examined, run
from .subjects import Say

LAST_LINES = 15
"""Of a failed build's output."""
OUTER = "sumnet_bench_outer.pth"
SITES = """
import json, site, sys
folders = site.getsitepackages()
if site.ENABLE_USER_SITE:
    folders.append(site.getusersitepackages())
print(json.dumps(folders))
"""


def build(side: Side, command: str, inside: Path, say: Say) -> Side:
    """The side once its tree is built, to be run with the interpreter of its environment.

    `command` runs in the folder `inside` the tree, or in the tree where that has none. Raises
    UsageError, quoting the command's last lines, where it fails.
    """
    folder = side.subject.with_name(f"{side.name}-python")
    started = time.monotonic()
    say(f"building the {side.name}: {command}")
    python = _make_environment(side, folder)
    variables = own_environment() | dict(side.environment)
    variables |= {
        "VIRTUAL_ENV": str(folder),
        "PATH": os.pathsep.join(
            [
                str(python.parent),
                str(Path(side.python).parent),
                variables.get("PATH", os.defpath),
            ]
        ),
    }
    variables.pop("PYTHONHOME", None)
    where = side.subject / inside if (side.subject / inside).is_dir() else side.subject
    done = run(["/bin/sh", "-c", f"exec 2>&1\n{command}"], variables, None, where)
    if done.returncode:
        lines = [line.rstrip() for line in done.stdout.splitlines() if line.strip()]
        quoted = "".join(f"\n  {line}" for line in lines[-LAST_LINES:])
        raise UsageError(
            f"--build failed on the {side.name} ({side.what}), with exit status {done.returncode}: "
            f"{command}{quoted}"
        )
    who = f"--build: the {side.name}'s interpreter"
    interpreter = examined(str(python), side.environment, who)
    say(f"built the {side.name} in {time.monotonic() - started:.0f} s")
    return replace(
        side,
        what=f"{side.what}, built by {command!r}",
        python=str(python),
        interpreter=interpreter,
        installed=_has_installed(folder, side.subject),
    )


def _has_installed(folder: Path, tree: Path) -> bool:
    """Whether a build installed a distribution into its environment out of the side's own tree."""
    places = [str(place) for place in folder.glob("lib/python*/site-packages")]
    origins = map(origin_of, metadata.distributions(path=places))
    return any(origin is not None and origin.is_relative_to(tree) for origin in origins)


def _make_environment(side: Side, folder: Path) -> Path:
    """The interpreter of a new virtual environment that sees all that the side's has installed.

    `--system-site-packages` would not do: of an environment it shows what lies below that one. pip
    is the one that is seen too, not the older one that Python would install. Raises UsageError.
    """
    variables = own_environment() | dict(side.environment)
    made = run([side.python, "-m", "venv", "--without-pip", str(folder)], variables, None)
    listed = run([side.python, "-c", SITES], variables, None)
    if made.returncode or listed.returncode:
        why = " ".join((made.stdout + made.stderr + listed.stderr).split())
        raise UsageError(f"--build: {side.python} cannot make a virtual environment: {why}")
    python = folder / "bin" / "python"
    lines = "".join(f"import site; site.addsitedir({f!r})\n" for f in json.loads(listed.stdout))
    try:
        for packages in folder.glob("lib/python*/site-packages"):
            (packages / OUTER).write_text(lines)
        for name in ("pip", "pip3"):
            script = python.with_name(name)
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(str(python))} -m pip "$@"\n')
            script.chmod(0o755)
    except OSError as error:
        raise MachineError(f"cannot write to {folder}: {error.strerror}") from None
    return python
