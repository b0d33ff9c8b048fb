"""The command line. Each verb imports what it needs when it runs, so that --help is quick."""

import sys

from bench.cli import gating as gating
from bench.cli import history as history
from bench.cli import measuring as measuring
from bench.cli import reading as reading
from bench.cli.app import app as app
from bench.errors import BenchError


def main() -> None:
    """The console script. Errors a person can mend are one message, not a traceback."""
    try:
        app()
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
