"""`nox -s bench`, `regress`, `compare`, `tests`, `lint`; what follows `--` goes to the command.

All share one environment, which the session `install` makes before them. SUMNET_TORCH names another
torch requirement than the one below, and pip's own environment variables are honoured.
`nox --no-venv -s bench` installs nothing: it runs on nox's own interpreter and the torch it has.
"""

import json
import os
import re
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

TORCH = os.environ.get("SUMNET_TORCH", "torch==2.13.0")
NOT_FINISHED = 4
"""The command line's own status for a machine that would not let it finish."""
PATIENCE_S = 30
"""What an interrupted command has to write down what it knows; nox alone gives it 0.3 s."""
WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2], encoding='utf-8')"

nox.needs_version = ">=2025.5.1"  # the first with `requires`
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "tests"]
environment = nox.session(venv_backend="none", requires=["install"])
interpreter: str | None = None
"""The interpreter of the environment, once `install` has run."""


@nox.session
def install(session: nox.Session) -> None:
    """Make the environment of the other sessions, where it is not as they want it already."""
    global interpreter
    if session.venv_backend == "none":
        interpreter = sys.executable
        return
    interpreter = str(Path(session.bin, "python"))
    project = nox.project.load_toml("pyproject.toml")
    wanted = json.dumps(
        {
            "torch": TORCH,
            "constraints": Path("constraints.txt").read_text(encoding="utf-8"),
            "project": [str(Path.cwd()), project["project"], project["build-system"]],
            "interpreter": session.python or [sys.version, sys.base_prefix],
        }
    )
    stamp = session.env_dir / "installed.json"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    # Anew, for what is there may be half an installation or another interpreter's. nox skips these
    # commands, the stamp's too, where it was asked to install nothing (-R).
    of = ["--python", session.python] if session.python else []
    new = [sys.executable, "-m", "virtualenv", "--no-periodic-update", "--clear", *of]
    try:
        session.run_install(*new, str(session.env_dir), external=True, silent=True)
        session.install(TORCH)  # first and alone: nothing else decides which build of it comes
        session.install("--constraint", "constraints.txt", "--editable", ".[dev]")
        session.run_install("python", "-c", WRITE, str(stamp), wanted, log=False)
    except CommandFailed:  # which nox has told of
        raise SystemExit(NOT_FINISHED) from None


def python(session: nox.Session, *words: str) -> None:
    """Run the environment's interpreter, and end with its exit status if that is not 0.

    nox would end with 1 whatever failed, and to the gate a 1 is a regression. SystemExit it lets
    through; sessions queued behind this one are then not run.
    """
    if interpreter is None:
        session.error("the session install has to run first: drop --no-dependencies and --parallel")
    try:
        session.run(interpreter, *words, interrupt_timeout=PATIENCE_S)
    except CommandFailed as failed:
        returned = re.fullmatch(r"Returned code (-?\d+)", failed.reason or "")
        status = int(returned[1]) if returned else NOT_FINISHED
        raise SystemExit(status if status >= 0 else 128 - status) from None  # a signal, as in sh


@environment
def bench(session: nox.Session) -> None:
    """Measure: `nox -s bench -- --preset standard`."""
    python(session, "-m", "bench", "run", *session.posargs)


@environment
def regress(session: nox.Session) -> None:
    """Gate: `nox -s regress -- --base main`."""
    python(session, "-m", "bench", "regress", *session.posargs)


@environment
def compare(session: nox.Session) -> None:
    """Compare run files: `nox -s compare -- A.json B.json`."""
    python(session, "-m", "bench", "compare", *session.posargs)


@environment
def tests(session: nox.Session) -> None:
    """Test the suite itself: `nox -s tests -- -k store`, or with `--all` the slow tests too."""
    python(session, "-m", "pytest", "-n", "2", "--dist", "loadscope", *session.posargs)


@environment
def lint(session: nox.Session) -> None:
    """Formatting, lint and types."""
    python(session, "-m", "ruff", "format", "--check", ".")
    python(session, "-m", "ruff", "check", ".")
    python(session, "-m", "mypy")
