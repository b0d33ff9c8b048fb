"""`nox -s bench`, `compare`, `tests`, `lint`; what follows `--` goes to the command.

SUMNET_TORCH names another torch requirement than the one below, and pip's own environment variables
are honoured. `nox --no-venv -s bench` installs nothing and uses the torch that is there.
"""

import os

import nox

TORCH = os.environ.get("SUMNET_TORCH", "torch==2.13.0")

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


@nox.session
def bench(session: nox.Session) -> None:
    """Measure: `nox -s bench -- --preset standard`."""
    install(session)
    session.run("python", "-m", "bench", "run", *session.posargs)


@nox.session
def compare(session: nox.Session) -> None:
    """Compare run files: `nox -s compare -- A.json B.json`."""
    install(session)
    session.run("python", "-m", "bench", "compare", *session.posargs)


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
