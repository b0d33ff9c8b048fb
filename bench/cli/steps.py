"""Which steps a command is about: those of a file that is named, of the project's own, or the
default one."""

from argparse import Namespace
from pathlib import Path

from ..errors import UsageError
from ..options import STEPS_SUFFIX
from ..project import configured_steps

RUN_SUFFIXES = (".json", ".journal")
"""Of stored runs."""


def with_steps(asked: Namespace) -> None:
    """Find the steps that are asked for. A file is loaded by a process of its own.

    Raises UsageError where it cannot be.
    """
    path = steps_file(asked)
    if path is None:
        return
    from ..runner.discovery import catalogue_in

    devices = asked.device or ["cpu"]
    asked.catalogue = catalogue_in(path, str(devices[0]), getattr(asked, "budget", None))


def steps_file(asked: Namespace) -> Path | None:
    """The file that declares the steps that are asked for; None for the default step.

    It is named among the cases, where the other words are left, or in the project's pyproject.toml.
    Raises UsageError where several are.
    """
    files = [word for word in asked.cases if word.endswith(STEPS_SUFFIX)]
    asked.cases = [word for word in asked.cases if word not in files]
    if len(files) > 1:
        raise UsageError(f"{files[0]} and {files[1]}: name one file of steps")
    return Path(files[0]) if files else configured_steps(Path())
