"""The suite as a command: one pytest session, and what its end means."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ..errors import UnexpectedError
from ..signals import Terminated
from .plugin import Suite

DISPLAY_OPTIONS = (
    *("--benchmark-columns", "--benchmark-sort", "--benchmark-group-by", "--benchmark-name"),
    *("--benchmark-time-unit", "--benchmark-verbose", "--benchmark-compare"),
    "--benchmark-histogram",
)
"""Asking for one of these asks for pytest-benchmark's own table beside ours."""

BENCHMARK, BENCHMARK_PLUGIN = "benchmark", "pytest_benchmark.plugin"
"""Two names of one plugin: both are an error to pytest."""
ROOT = "PYTEST_ROOT"
"""A variable for the suite's folder: pytest would expand what looks like one in the path itself."""

EXIT_STATUS = {
    int(pytest.ExitCode.INTERRUPTED): 4,  # not by a person: the suite's own files do not load
    int(pytest.ExitCode.INTERNAL_ERROR): 4,
    int(pytest.ExitCode.USAGE_ERROR): 2,
    int(pytest.ExitCode.NO_TESTS_COLLECTED): 2,
}


class Command:
    """The command as a pytest plugin; it closes `until_started` once pytest is configured."""

    def __init__(self, suite: Suite, until_started: contextlib.ExitStack) -> None:
        self.interruption: BaseException | None = None
        self._suite = suite
        self._until_started = until_started

    def pytest_configure(self, config: pytest.Config) -> None:
        """Register the suite after pytest-benchmark, so that its hooks come before those."""
        config.pluginmanager.register(self._suite)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        self._until_started.close()

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """An interruption by a person, or what pytest handles like one."""
        if excinfo.type in (KeyboardInterrupt, Terminated):
            self.interruption = excinfo.value


def run_suite(
    tests: str, suite: Suite, words: Sequence[str] = (), plugins: Sequence[str] = ()
) -> int:
    """Run one of the suite's modules, with further words for pytest; the command's exit status.

    Of pytest's plugins only pytest-benchmark, the suite and those named are loaded, and neither
    conftest.py, configuration files nor environment variables are obeyed.

    0 all measured, 1 a case failed, 2 wrong usage or nothing to run, 4 the machine would not let us
    finish, 5 a defect. Raises KeyboardInterrupt where it was interrupted, UnexpectedError for what
    pytest itself lets through, and OSError for output that is not taken.
    """
    loaded = dict.fromkeys((BENCHMARK_PLUGIN, *(name for name in plugins if name != BENCHMARK)))
    with contextlib.ExitStack() as until_started:
        until_started.enter_context(_variables_of_pytest())
        command = Command(suite, until_started)
        # Packages by name: a path with a bracket in it would be taken for a test's parameters.
        arguments = ["--pyargs", f"{__package__}.{tests}", f"--rootdir=${ROOT}"]
        arguments += [f"--config-file={os.devnull}", "--noconftest", "-pno:cacheprovider"]
        # Capturing would need a temporary folder, and nothing is shown of what it keeps.
        arguments += ["--no-header", "--capture=no", *(f"-p{n}" for n in loaded)]
        # Reasons stand in our table: neither failed tests nor their number is told beside it.
        arguments += ["--quiet"] if "--collect-only" in words else ["-qq", "--tb=no", "-rN"]
        if not any(word.startswith(DISPLAY_OPTIONS) for word in words):
            arguments.append("--benchmark-quiet")
        try:
            status = int(pytest.main([*arguments, *words], plugins=[command]))
        except Exception as error:
            lost_output = isinstance(error, OSError) and error.filename is None
            if suite.interruption is None and lost_output:
                raise
            if suite.interruption is None:
                raise UnexpectedError(error) from None
    interruption = suite.interruption or command.interruption
    if interruption is not None:
        raise interruption
    return EXIT_STATUS.get(status, status) if suite.error is None else suite.error.exit_status


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
