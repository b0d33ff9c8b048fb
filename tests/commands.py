"""The command line, run in this process."""

import contextlib
import io
from dataclasses import dataclass
from unittest import mock

from bench.cli import main


@dataclass(frozen=True)
class Done:
    """A command that came to its end."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The message that it ended with."""
        return self.stderr.removeprefix("error: ").removesuffix("\n")


def invoke(*words: object) -> Done:
    """What `python -m bench WORDS...` does."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        mock.patch("sys.argv", ["bench", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int)
    return Done(code, out.getvalue(), err.getvalue())
