"""`nox -s bench`, `regress`, `compare`, `tests`, `lint`; what follows `--` goes to the command.

SUMNET_TORCH names another torch requirement than the one below, and pip's own environment variables
are honoured. `nox --no-venv -s bench` installs nothing and uses the torch that is there.
"""

import os
import re

import nox
from nox.command import CommandFailed

TORCH = os.environ.get("SUMNET_TORCH", "torch==2.13.0")
NOT_FINISHED = 4
"""The command line's own status for a machine that would not let it finish."""
PATIENCE_S = 30
"""What an interrupted command has to write down what it knows; nox alone gives it 0.3 s."""

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "tests"]


def install(session: nox.Session, *extras: str) -> None:
    """torch first and alone, so that nothing else decides which build of it comes."""
    if session.virtualenv.venv_backend == "none":
        return
    session.install(TORCH)
    project = f".[{','.join(extras)}]" if extras else "."
    session.install("--constraint", "constraints.txt", "--editable", project)


def run(session: nox.Session, verb: str) -> None:
    """Install, run a verb, and end with its exit status.

    nox would end with 1 whatever failed, and to the gate a 1 is a regression. SystemExit it lets
    through; sessions queued behind this one are then not run.
    """
    try:
        install(session)
    except CommandFailed:  # which nox has told of
        raise SystemExit(NOT_FINISHED) from None
    command = ("python", "-m", "bench", verb, *session.posargs)
    try:
        session.run(*command, interrupt_timeout=PATIENCE_S)
    except CommandFailed as failed:
        returned = re.fullmatch(r"Returned code (-?\d+)", failed.reason or "")
        status = int(returned[1]) if returned else NOT_FINISHED
        raise SystemExit(status if status >= 0 else 128 - status) from None  # a signal, as in sh


@nox.session
def bench(session: nox.Session) -> None:
    """Measure: `nox -s bench -- --preset standard`."""
    run(session, "run")


@nox.session
def regress(session: nox.Session) -> None:
    """Gate: `nox -s regress -- --base main`."""
    run(session, "regress")


@nox.session
def compare(session: nox.Session) -> None:
    """Compare run files: `nox -s compare -- A.json B.json`."""
    run(session, "compare")


@nox.session
def tests(session: nox.Session) -> None:
    """Test the suite itself: `nox -s tests -- -k store`."""
    install(session, "dev")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, lint and types."""
    install(session, "dev")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
