"""The suite as a command: one pytest session, and what its end means."""

import os
from pathlib import Path

import pytest

from bench.measure.interruption import end_as_if_interrupted

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

EXIT_STATUS = {
    int(pytest.ExitCode.INTERNAL_ERROR): 4,
    int(pytest.ExitCode.USAGE_ERROR): 2,
    int(pytest.ExitCode.NO_TESTS_COLLECTED): 2,
}


class Interruptions:
    """A pytest plugin that knows an interruption from an error that ended the session."""

    seen = False

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.seen = isinstance(excinfo.value, KeyboardInterrupt)


def run_suite(options: list[str], tests: str = "test_phases.py") -> int:
    """Run one of the suite's files with these pytest options; the exit status of the command.

    0 all measured, 1 a case failed, 2 wrong usage or nothing to run, 4 the machine would not let us
    finish, 130 interrupted.
    """
    end_as_if_interrupted()
    interruptions = Interruptions()
    quiet = [] if any(o.startswith(DISPLAY_OPTIONS) for o in options) else ["--benchmark-quiet"]
    status = pytest.main(
        [
            str(Path(__file__).with_name(tests)),
            f"--rootdir={Path(__file__).parent}",
            f"--config-file={os.devnull}",
            "--quiet",
            "--no-header",
            "--show-capture=no",
            "-p",
            "no:cacheprovider",
            *quiet,
            *options,
        ],
        plugins=[interruptions],
    )
    if interruptions.seen:
        return 130
    return EXIT_STATUS.get(int(status), int(status))
