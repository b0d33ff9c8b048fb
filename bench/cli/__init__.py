"""The command line. Each verb imports what it needs when it runs, so that --help is quick."""

import argparse
import contextlib
import io
import itertools
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from .. import __version__
from ..errors import BenchError, MachineError, UnexpectedError, UsageError, for_terminal
from ..options import COMMAND, STEPS_SUFFIX, VERBS, options_of, parser_of, values_of
from ..signals import interrupted_status, interruption_behind, raise_on_signals
from .steps import RUN_SUFFIXES
from .verbs import BODIES

PIPE_CLOSED = 128 + 13
"""As of a process that SIGPIPE ends."""
OWN_AXIS = re.compile(r"--[A-Za-z]\w*")
PASSED_ON = "--benchmark-"
"""What the options begin with that `run` leaves to pytest-benchmark."""


def main() -> NoReturn:
    """The console script. Errors that a person can fix are one message, not a traceback.

    A verdict's status, 0 or 1, is only that of a command that has come to its end.
    """
    raise_on_signals()
    if sys.stderr is None:  # which was closed
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals that lack a character
    try:
        if sys.stdout is None:
            raise MachineError("standard output is closed")
        status = command(sys.argv[1:])
        sys.stdout.flush()
    except BenchError as error:
        status = _told(error)
    except KeyboardInterrupt as interruption:
        status = interrupted_status(interruption)
        with contextlib.suppress(OSError):  # where the terminal was closed
            sys.stdout.flush()
        _drop_output()
    except BrokenPipeError:  # by `| head`
        _drop_output()
        status = PIPE_CLOSED
    except OSError as error:
        if (behind := interruption_behind(error)) is not None:  # the terminal was closed
            _drop_output()
            status = interrupted_status(behind)
        elif error.filename is not None:  # what reads or writes files should have told it
            status = _told(UnexpectedError(error))
        else:  # such as a full disk below standard output
            _drop_output()
            status = _told(MachineError(str(error)))
    except Exception as error:
        status = _told(UnexpectedError(error))
    sys.exit(status)


def _drop_output() -> None:
    """Have what standard output still holds go nowhere: at exit Python would try it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(error: BenchError) -> int:
    """The exit status of an error, which is printed where standard error takes it."""
    with contextlib.suppress(OSError):
        print(f"error: {for_terminal(str(error))}", file=sys.stderr)
    return error.exit_status


def command(words: Sequence[str]) -> int:
    """Run the verb that the words begin with; its exit status."""
    if not words or words[0] not in VERBS:
        return _without_verb(words)
    verb, *rest = words
    passed_on = [word for word in rest if verb == "run" and word.startswith(PASSED_ON)]
    for option, word in itertools.pairwise(rest):
        if option in passed_on and "=" not in option and not (word[:1] == "-" or _names(word)):
            raise UsageError(
                f"{word!r} is not a case id; if it is the value of {option}, write {option}={word}"
            )
    rest = [word for word in rest if word not in passed_on]
    parser = parser_of(verb)
    takes_axes = any(option.name == "optimizer" for option in options_of(verb))
    own = _own_axes(rest, parser) if takes_axes else {}
    found, others = parser.parse_known_intermixed_args(rest)
    if others:
        axis = takes_axes and OWN_AXIS.fullmatch(others[0])
        hint = f"; if it is an axis of your steps' own, its value is missing: {others[0]} VALUE"
        raise UsageError(
            f"no such option: {others[0]}; `{verb} --help` lists them{hint if axis else ''}"
        )
    asked = values_of(verb, vars(found))
    asked.passed_on, asked.own = passed_on, own
    if own and (getattr(asked, "resume", None) is not None or _stored(asked)):
        raise UsageError(f"no such option: --{next(iter(own))}; `{verb} --help` lists them")
    return BODIES[verb](asked)


def _stored(asked: argparse.Namespace) -> bool:
    """Whether a command is about stored runs or reports, and selects no cases."""
    return any(word.endswith(RUN_SUFFIXES) for word in asked.cases)


def _names(text: str) -> bool:
    """Whether a word names a case, or a file with steps."""
    return text.count("/") > 2 or text.endswith(STEPS_SUFFIX)


def _own_axes(words: list[str], parser: argparse.ArgumentParser) -> dict[str, str]:
    """Take the axes of steps' own, which no parser knows, out of the words: name to its values."""
    known = {flag for action in parser._actions for flag in action.option_strings}
    found: dict[str, str] = {}
    place = 0
    while place < len(words) and words[place] != "--":
        name, equals, value = words[place].partition("=")
        following = words[place + 1] if place + 1 < len(words) else "-"
        if name in known or not OWN_AXIS.fullmatch(name):
            place += 1
        elif equals or following[:1] != "-" or re.match(r"-\.?\d", following):
            found[name[2:]] = value if equals else following
            del words[place : place + (1 if equals else 2)]
        else:
            place += 1
    return found


def _without_verb(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        COMMAND,
        description="Time the training step of a small net, and show how far to trust the times.",
        epilog=f"`{COMMAND} VERB --help` lists a verb's options.",
    )
    parser.add_argument("--version", action="version", version=f"sumnet-bench {__version__}")
    subparsers = parser.add_subparsers(title="verbs", metavar="VERB")
    for verb, does in VERBS.items():
        subparsers.add_parser(verb, help=does.split(". ")[0].rstrip("."))
    if words:
        parser.parse_args(words)  # which exits
    parser.print_help()
    return 2
