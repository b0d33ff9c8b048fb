"""`nox -s bench`, `regress`, `compare`, `tests`, `lint`; what follows `--` goes to the command.

All share one environment, which the session `install` makes before them. SUMNET_TORCH names another
torch requirement than the one below, which then has an environment of its own, and pip's own
environment variables are honoured. `nox --no-venv -s bench` installs nothing: it runs on nox's own
interpreter and the torch it has.
"""

import json
import os
import re
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

LOCK = "requirements.lock"
"""All that the environment has but torch, by version and hash."""
DEFAULT_TORCH = "torch==2.13.0"
TORCH = os.environ.get("SUMNET_TORCH", DEFAULT_TORCH)
PIP_SOURCES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")
"""Variables that decide which build of a version pip takes. One that is set has to be as it was
when the environment was made; one that is not set now does not matter."""
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
interpreters: dict[str | None, str] = {}
"""The Python that nox was asked for to the interpreter of its environment, once `install` has run
and left it complete."""


@nox.session
def install(session: nox.Session) -> None:
    """Make the environment of the other sessions, where it is not as they want it already."""
    if session.venv_backend == "none":
        interpreters[session.python] = sys.executable
        return
    folder = session.env_dir.absolute()
    if TORCH != DEFAULT_TORCH:
        folder = folder.with_name(f"{folder.name}-{re.sub('[^A-Za-z0-9.]+', '-', TORCH)}")
    python = str(Path(folder, "Scripts" if os.name == "nt" else "bin", "python"))
    project = nox.project.load_toml("pyproject.toml")
    wanted = {
        "torch": TORCH,
        "lock": Path(LOCK).read_text(encoding="utf-8"),
        "project": [str(Path.cwd()), project["project"], project["build-system"]],
        "interpreter": session.python or [sys.version, sys.base_prefix],
    }
    sources = {name: os.environ[name] for name in PIP_SOURCES if name in os.environ}
    stamp = folder / "installed.json"
    if not _is_made(stamp, wanted, sources):
        # Anew, for what is there may be half an installation or another interpreter's. nox skips
        # these commands, the stamp's too, where it was asked to install nothing (-R).
        of = ["--python", session.python] if session.python else []
        new = [sys.executable, "-m", "virtualenv", "--no-periodic-update", "--clear", *of]
        pip = [python, "-m", "pip", "install"]
        made = json.dumps({"wanted": wanted, "sources": sources})
        try:
            session.run_install(*new, str(folder), external=True, silent=True)
            locked = ["--require-hashes", "--no-deps", "--requirement", LOCK]
            session.run_install(*pip, *locked, external=True, silent=True)
            # After what it needs, of which it then brings none that has no hash.
            session.run_install(*pip, TORCH, external=True, silent=True)
            editable = ["--no-deps", "--no-build-isolation", "--editable", "."]
            session.run_install(*pip, *editable, external=True, silent=True)
            session.run_install(python, "-c", WRITE, str(stamp), made, external=True, log=False)
        except CommandFailed:  # which nox has reported
            raise SystemExit(NOT_FINISHED) from None
    if stamp.exists():
        interpreters[session.python] = python


def _is_made(stamp: Path, wanted: dict[str, object], sources: dict[str, str]) -> bool:
    """Whether the environment with this stamp is what is wanted, from these sources."""
    try:
        made = json.loads(stamp.read_text(encoding="utf-8"))
        return made["wanted"] == wanted and sources.items() <= made["sources"].items()
    except (FileNotFoundError, ValueError, KeyError):  # none, or another version's
        return False


def python(session: nox.Session, *words: str) -> None:
    """Run the environment's interpreter, and end with its exit status if that is not 0.

    nox would end with 1 whatever failed, and to the gate a 1 is a regression. SystemExit it lets
    through; sessions queued behind this one are then not run.
    """
    try:
        session.run(_interpreter(session), *words, interrupt_timeout=PATIENCE_S)
    except CommandFailed as failed:
        returned = re.fullmatch(r"Returned code (-?\d+)", failed.reason or "")
        status = int(returned[1]) if returned else NOT_FINISHED
        raise SystemExit(status if status >= 0 else 128 - status) from None  # a signal, as in sh


def _interpreter(session: nox.Session) -> str:
    if session.python not in interpreters:
        session.warn(
            "There is no complete environment: let the session install run first, without -R, "
            "--no-dependencies and --parallel."
        )
        raise SystemExit(NOT_FINISHED)
    return interpreters[session.python]


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
    command = ("-m", "pytest", "-n", "2", "--dist", "loadscope", *session.posargs)
    session.run(_interpreter(session), *command)


@environment
def lint(session: nox.Session) -> None:
    """Formatting, lint and types."""
    interpreter = _interpreter(session)
    session.run(interpreter, "-m", "ruff", "format", "--check", ".")
    session.run(interpreter, "-m", "ruff", "check", ".")
    session.run(interpreter, "-m", "mypy")
