"""Files that a stranger wrote: refused by name within bounds, or made harmless."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.records.reading import MAX_BYTES, MAX_VALUES, REPLACEMENT, printable, read_json
from tests.suite.driving import ROOT

MEMORY_BYTES = 200 * 2**20
SECONDS = 4
"""Twice what is promised: tests run beside others."""
READ = """
import json, resource, sys, time
from pathlib import Path

from bench.errors import UsageError
from bench.records.gate_report import load_report
from bench.records.store import load_run


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


before = peak()
for path in sorted(Path(sys.argv[1]).iterdir()):
    for load in (load_run, load_report):
        began = time.monotonic()
        try:
            load(path)
            told = ""
        except UsageError as error:
            told = str(error)
        print(json.dumps([path.name, told, peak() - before, time.monotonic() - began]))
"""


def pipe(path: Path) -> None:
    os.mkfifo(path)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**31)


def text(content: bytes) -> object:
    return lambda path: path.write_bytes(content)


HOSTILE = {
    "a folder": Path.mkdir,
    "a pipe": pipe,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "2 GiB of zeros": sparse,
    "brackets": text(b"[" * 1_000_000),
    "deeply nested": text(b'{"sumnet":' * 100_000 + b"1" + b"}" * 100_000),
    "deeply nested report": text(b'{"sides":1,"rules":1,"series":1,"pairs":' + b"[" * 100_000),
    "many empty lists": text(b"[" + b"[]," * (MAX_BYTES // 3 - 3) + b"[]]"),
    "many numbers": text(b'{"sumnet":[' + b"0," * (MAX_VALUES - 3) + b"0]}"),
    "one long string": text(
        b'{"sumnet":"' + "\N{GRINNING FACE}".encode() * (MAX_BYTES // 4 - 5) + b'"}'
    ),
    "a number of many digits": text(b'{"sumnet":' + b"9" * 5_000 + b"}"),
    "half of a character": text(b'{"sumnet":"\\ud800"}'),
    "not a number": text(b'{"sumnet":NaN}'),
    "infinite": text(b'{"sumnet":1e999}'),
    "a pickle": text(b"\x80\x04\x95\x1a\x00"),
    "gzip": text(b"\x1f\x8b\x08\x00\x00"),
    "zip": text(b"PK\x03\x04"),
}


def test_hostile_files_are_refused_by_name_in_little_memory_and_time(tmp_path: Path) -> None:
    for name, make in HOSTILE.items():
        make(tmp_path / name)  # type: ignore[operator]
    words = [sys.executable, "-c", READ, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, *_ in found] == sorted([*HOSTILE, *HOSTILE])
    for name, told, grown, seconds in found:
        assert str(tmp_path / name) in told
        assert grown < MEMORY_BYTES, name
        assert seconds < SECONDS, name
    assert {entry.name for entry in tmp_path.iterdir()} == {*HOSTILE}


MARKS = ("\x1b[31m", "\x07", "\n", "\t", "\x9b", "\u202e", "\u2066", "\u2028", "\x7f", "\U000e0041")


@pytest.mark.parametrize("mark", MARKS, ids=ascii)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_a_terminal_obeys_is_replaced(tmp_path: Path, mark: str, ascii_only: bool) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"a": f"x{mark}y", "b\\n": "\\\\u001b"}, ensure_ascii=ascii_only))
    found = msgspec.json.decode(read_json(path))
    assert found == {"a": f"x{REPLACEMENT}{mark[1:]}y", "b\\n": "\\\\u001b"}


@given(st.dictionaries(st.text(), st.text()))
def test_printable_text_stays_and_the_rest_is_replaced_however_it_is_written(
    value: dict[str, str],
) -> None:
    found = [
        msgspec.json.decode(printable(json.dumps(value, ensure_ascii=ascii_only)))
        for ascii_only in (True, False)
    ]
    assert found[0] == found[1]
    texts = [text for each in (value, found[0]) for text in ("".join(each), "".join(each.values()))]
    hidden = [{*map(unicodedata.category, text)} & {"Cc", "Cf", "Zl", "Zp"} for text in texts]
    assert not any(hidden[2:])
    if all(text.isprintable() for text in texts[:2]):
        assert found[0] == value


def test_spaces_of_all_widths_stay() -> None:
    assert printable(text := '{"a":"b\u00a0c\u3000d"}') == text


def test_number_of_values_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"[" + b"0," * MAX_VALUES + b"0]")
    with pytest.raises(UsageError, match=str(MAX_VALUES)):
        read_json(path)
