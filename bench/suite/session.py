"""The suite as a command: one pytest session, and what its end means."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench.errors import UnexpectedError
from bench.runner.interruption import end_as_if_interrupted

DISPLAY_OPTIONS = tuple(
    f"--benchmark-{what}"
    for what in (
        "columns",
        "sort",
        "group-by",
        "name",
        "time-unit",
        "verbose",
        "compare",
        "histogram",
    )
)
"""Asking for one of these asks for pytest-benchmark's own table beside ours."""

PLUGINS = ("pytest_benchmark.plugin", "bench.suite.conftest")
"""All that is loaded unasked. The second by its name, and no conftest.py of any folder."""
BENCHMARK = "benchmark"
"""Another name of the first, and two names of one plugin are an error to pytest."""
ROOT = "PYTEST_ROOT"
"""A variable for the suite's folder: pytest would expand what looks like one in the path itself."""

EXIT_STATUS = {
    int(pytest.ExitCode.INTERRUPTED): 4,  # not by a person: the suite's own files do not load
    int(pytest.ExitCode.INTERNAL_ERROR): 4,
    int(pytest.ExitCode.USAGE_ERROR): 2,
    int(pytest.ExitCode.NO_TESTS_COLLECTED): 2,
}


class Command:
    """The command as a pytest plugin."""

    def __init__(self, until_started: contextlib.ExitStack) -> None:
        """`until_started` is closed when pytest has configured itself."""
        self.interrupted = False
        self._until_started = until_started

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        self._until_started.close()

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """An interruption by a person, or what pytest handles like one."""
        self.interrupted = excinfo.type is KeyboardInterrupt


def run_suite(
    options: Sequence[str], tests: str = "test_phases", plugins: Sequence[str] = ()
) -> int:
    """Run one of the suite's modules with these pytest options; the exit status of the command.

    Of pytest's plugins only pytest-benchmark, the suite and those named are loaded, and neither
    conftest.py, configuration files nor environment variables are obeyed.

    0 all measured, 1 a case failed, 2 wrong usage or nothing to run, 4 the machine would not let us
    finish, 130 interrupted.
    """
    end_as_if_interrupted()
    quiet = [] if any(o.startswith(DISPLAY_OPTIONS) for o in options) else ["--benchmark-quiet"]
    loaded = dict.fromkeys((*PLUGINS, *(name for name in plugins if name != BENCHMARK)))
    with contextlib.ExitStack() as until_started:
        until_started.enter_context(_variables_of_pytest())
        command = Command(until_started)
        status = _main(
            [
                "--pyargs",  # a path with a bracket in it would be taken for a test's parameters
                f"{__package__}.{tests}",
                f"--rootdir=${ROOT}",
                f"--config-file={os.devnull}",
                "--noconftest",
                "--quiet",
                "--no-header",
                "--show-capture=no",
                *(f"-p{name}" for name in ("no:cacheprovider", *loaded)),
                *quiet,
                *options,
            ],
            command,
        )
    if command.interrupted:
        return 130
    return EXIT_STATUS.get(status, status)


def _main(words: list[str], command: Command) -> int:
    """pytest's exit status. Raises UnexpectedError for what pytest itself lets through."""
    try:
        return pytest.main(words, plugins=[command])
    except Exception as error:
        raise UnexpectedError(error) from None


@contextlib.contextmanager
def _variables_of_pytest() -> Iterator[None]:
    """Leave pytest and its plugins no variable of theirs but ours."""
    hidden = {name: text for name, text in os.environ.items() if name.startswith("PYTEST_")}
    ours = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", ROOT: str(Path(__file__).parent)}
    for name in hidden:
        del os.environ[name]
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
        os.environ.update(hidden)
