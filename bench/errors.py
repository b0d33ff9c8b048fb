"""Errors a person can act on. The command line prints their text and exits with their status."""

import traceback


class BenchError(Exception):
    """What was wrong, where, and what to do."""

    exit_status = 1


class UsageError(BenchError):
    """Wrong usage, or input that cannot be read."""

    exit_status = 2


class MachineError(BenchError):
    """The machine would not let us finish: disk, permissions, workers that do not start."""

    exit_status = 4


class UnexpectedError(BenchError):
    """A defect, perhaps of this suite; its text ends with the traceback."""

    exit_status = 5

    def __init__(self, cause: BaseException) -> None:
        super().__init__(
            "unexpected error\n\n" + "".join(traceback.format_exception(cause)).rstrip()
        )


def for_terminal(text: str) -> str:
    """A message without what a terminal obeys: names of files may hold such characters."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
