"""Text without its author: a run file is shared, and names no one."""

import getpass
import os
import re
from pathlib import Path

from ..devices.readings import reading


def redacted(text: str) -> str:
    """The text with `~` for the home folder, and USER for the user's name in other paths.

    Paths hide in environment variables and in error messages; `/tmp/torchinductor_alice` is one.
    """
    home = os.environ.get("HOME", "")
    if len(home) > 1:
        text = re.sub(rf"{re.escape(home)}(?![\w-])", "~", text)
    for name in {Path(home).name, os.environ.get("USER"), os.environ.get("LOGNAME"), _account()}:
        if name:
            pattern = rf"(?<=/)(\w+_)?{re.escape(name)}(?![A-Za-z0-9])"
            text = re.sub(pattern, r"\1USER", text)
    return text


def _account() -> str | None:
    """The name of the account, where the system has one for it: a container may not."""
    return reading(getpass.getuser)
