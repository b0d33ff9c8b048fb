"""What went wrong in one line: from an exception, or from what a process printed before it died."""

import itertools
import re
import traceback
from collections.abc import Sequence
from pathlib import Path

MAX_LINE = 300
"""Characters of a line that are kept: commands of a compiler go on for thousands."""
COMPILERS = re.compile(r"\b(?:error|fatal)\s*: |undefined reference to|\bld: cannot find ")
"""What marks the line of a compiler or linker with the cause, g++'s and ptxas's alike."""
LINKERS_LAST = "ld returned"
TRACEBACK = "Traceback (most recent call last):"
OTHERS = ("Exception ignored", "Exception in thread", "Error in ")
"""How the line before a traceback begins where that exception ended no process."""
FRAME = re.compile(r'\s+File "(.+)", line (\d+)')
"""A traceback's line of a frame, or of what could not be parsed."""
FATAL = ("Fatal Python error: ", "what(): ")
"""How the line of what ended a process at once begins: Python's own, and a C++ exception's, which
torch writes a stack of frames below."""


def reason_of(error: BaseException) -> str:
    """The exception's type and first line, then what caused it where that is another line."""
    first = _headline(error)
    deepest = error
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    cause = _compilers_line(str(error)) or _compilers_line(str(deepest))
    # An exception that wraps another one often quotes it.
    if cause is None and _first_line(deepest) not in first:
        cause = _headline(deepest)
    return _cut(first) if cause is None else f"{_cut(first)}: {_cut(cause)}"


def reason_in(folder: Path, error: BaseException) -> str:
    """The reason of an exception, and where it left the code in a folder."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).is_relative_to(folder)]
    if not inside or isinstance(error, SyntaxError):  # which tells its place itself
        return reason_of(error)
    file = Path(inside[-1].filename).relative_to(folder)
    return f"{reason_of(error)} ({file}, line {inside[-1].lineno})"


def last_words(text: str, *, raised: bool) -> str:
    """The line with the reason why a process died, of what it printed; "" where it printed nothing.

    That is the fatal error or, where it was `raised`, the exception and its place, because what
    runs at exit may print after it. Else it is the last line.
    """
    lines = text.strip().splitlines()
    for place in range(len(lines) - 1, -1, -1):
        if lines[place].lstrip().startswith(FATAL):
            return _cut(lines[place])
        before = lines[place - 1] if place else ""
        if raised and lines[place] == TRACEBACK and not before.startswith(OTHERS):
            frames = list(
                itertools.takewhile(lambda line: not line[:1].strip(), lines[place + 1 :])
            )
            exception = next(iter(lines[place + 1 + len(frames) :]), lines[-1])
            return _cut(exception) + _place(frames)
    return _cut(lines[-1]) if lines else ""


def _place(frames: Sequence[str]) -> str:
    """Where the innermost of a traceback's frames is."""
    places = [found for line in frames if (found := FRAME.match(line))]
    return f" ({places[-1][1]}, line {places[-1][2]})" if places else ""


def _headline(error: BaseException) -> str:
    return f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    if isinstance(error, StopIteration):  # which never says anything
        return "an iterator ended: begin it anew in the step, for example by itertools.cycle"
    return next(iter(str(error).strip().splitlines()), "no message")


def _compilers_line(text: str) -> str | None:
    """The first line below the first that a compiler would have written with the cause."""
    lines = [line for line in text.strip().splitlines()[1:] if COMPILERS.search(line)]
    causes = [line for line in lines if LINKERS_LAST not in line]
    return next(iter(causes or lines), None)


def _cut(line: str) -> str:
    line = line.strip()
    return line if len(line) <= MAX_LINE else f"{line[: MAX_LINE - 3]}..."
