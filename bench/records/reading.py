"""Files that a stranger may have written: read within bounds, and without what a terminal obeys."""

import re
import stat
import unicodedata
from pathlib import Path

import msgspec

from ..errors import UsageError

MAX_BYTES = 32 * 2**20
"""A run of 46 cases has 0.7 MB."""
MAX_VALUES = 2_500_000
"""Values of a JSON document, which take up to 64 bytes each in memory: 160 MB. A run of 46 cases
has 80,000."""
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for text that is none, or is nested too deeply."""
ESCAPE = re.compile(r"\\(?:u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|u([0-9a-f]{4})|(.))", re.I)
"""In a JSON string: two halves of one character, a character, or a short form of one."""
BREAKS = "bfnrt"
"""Short forms that stand for control characters."""
DELETE = "\x7f"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def read_bytes(path: Path, most: int = MAX_BYTES) -> bytes:
    """The content of a file. Raises UsageError where it is none, or is larger than `most`."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
            raise UsageError(f"cannot read {path}: it is {what}, not a file")
        if found.st_size > most:
            raise UsageError(
                f"cannot read {path}: it has {found.st_size / 2**20:.0f} MiB, and files of more "
                f"than {most / 2**20:.0f} MiB are not read"
            )
        with path.open("rb") as file:
            return file.read(found.st_size)  # though it grows
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def read_json(path: Path) -> bytes:
    """The JSON in a file: see `read_bytes` and `cleaned`."""
    return cleaned(path, read_bytes(path))


def cleaned(path: Path, content: bytes, most: int = MAX_VALUES) -> bytes:
    """JSON that was read of a file, with REPLACEMENT in strings for what is not printed.

    That is control characters, line ends, and marks that turn the direction of text: strings are
    shown in terminals and pages. Raises UsageError for more values than `most`,
    UnicodeDecodeError where it is not UTF-8.
    """
    if sum(map(content.count, (b",", b"[", b"{"))) > most:
        raise UsageError(f"cannot read {path}: it holds more than {most} values")
    return printable(content.decode()).encode()


def printable(text: str) -> str:
    """A JSON text with REPLACEMENT for characters of strings that are not printed."""
    # Below a space there are only line ends and the like, which JSON has between strings alone.
    if not text.isascii() or DELETE in text:
        marks = {mark for mark in set(text) if mark > " " and not _is_shown(mark)}
        if marks:
            text = text.translate({ord(mark): REPLACEMENT for mark in marks})
    return ESCAPE.sub(_printable_escape, text) if "\\" in text else text


def _printable_escape(found: re.Match[str]) -> str:
    high, low, alone, short = found.groups()
    if short is not None:
        return REPLACEMENT if short in BREAKS else found[0]
    if alone is not None:
        code = int(alone, 16)  # half of a character alone is refused where it is decoded
        shown = 0xD800 <= code <= 0xDFFF or _is_shown(chr(code))
    else:
        code = 0x10000 + (int(high, 16) - 0xD800) * 0x400 + int(low, 16) - 0xDC00
        shown = _is_shown(chr(code))
    return found[0] if shown else REPLACEMENT


def _is_shown(character: str) -> bool:
    """Whether it shows as what it is; spaces of all widths do."""
    return character.isprintable() or unicodedata.category(character) == "Zs"
