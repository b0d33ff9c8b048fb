"""The protocol: what is said arrives as it was said, and a subject has one hash."""

import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.matrix.case import PHASES, SERIES, WHOLE, Case
from bench.matrix.support import Facts
from bench.measure.protocol import (
    KINDS,
    PHASES_KIND,
    WHOLE_KIND,
    Block,
    Hello,
    Measure,
    Prepare,
    Prepared,
    Refused,
    Reply,
    Request,
    subject_hash,
)
from tests.matrix.strategies import CASES

TEXTS = st.text()
NANOSECONDS = st.integers(0, 2**62)
REQUESTS = st.builds(Prepare, CASES) | st.builds(
    Measure, TEXTS, st.sampled_from(list(KINDS)), st.integers(1, 1000)
)
REPLIES = st.one_of(
    st.builds(
        Hello,
        facts=st.builds(Facts, devices=st.dictionaries(TEXTS, st.none() | TEXTS)),
        cores=st.lists(st.integers(0, 255)),
    ),
    st.builds(Prepared, loss_ratio=st.floats(0, 1), step_ns=NANOSECONDS),
    st.builds(Refused),
    st.builds(
        Block,
        elapsed_ns=NANOSECONDS,
        readings_ns=st.dictionaries(TEXTS, NANOSECONDS),
        quantiles_ns=st.dictionaries(TEXTS, st.lists(NANOSECONDS, min_size=4, max_size=4)),
    ),
)


def package(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


# Words


@given(REQUESTS)
def test_a_request_arrives_as_it_was_made(request: Request) -> None:
    assert msgspec.json.decode(msgspec.json.encode(request), type=Request) == request


@given(REPLIES)
def test_a_reply_arrives_as_it_was_made(reply: Reply) -> None:
    assert msgspec.json.decode(msgspec.json.encode(reply), type=Reply) == reply


@given(REQUESTS | REPLIES)
def test_everything_said_fits_on_one_line(words: Request | Reply) -> None:
    assert b"\n" not in msgspec.json.encode(words)


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"3", b"hello", b'{"type":"Hello"}', b'{"type":"Prepare","case":{}}'],
)
def test_what_is_no_reply_is_not_taken_for_one(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(line, type=Reply)


def test_a_loss_ratio_that_is_no_number_is_not_taken_for_one() -> None:
    prepared = Prepared("id", 1, 1, float("nan"), 0, ("dispatch",))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(prepared), type=Reply)


def test_the_kinds_of_block_yield_every_series_once() -> None:
    assert KINDS == {PHASES_KIND: PHASES, WHOLE_KIND: (WHOLE,)}
    assert sorted(series for kind in KINDS.values() for series in kind) == sorted(SERIES)


def test_a_case_keeps_its_id_on_its_way() -> None:
    case = Case(device="cuda:1", batch=7, compile="on")
    there = msgspec.json.decode(msgspec.json.encode(Prepare(case)), type=Request)
    assert isinstance(there, Prepare)
    assert there.case.id == case.id


# The subject's hash


def test_a_subject_has_the_same_hash_wherever_it_lies(tmp_path: Path) -> None:
    one = package(tmp_path / "one" / "sumnet", train="x = 1\n", model="y = 2\n")
    other = tmp_path / "another" / "place"
    shutil.copytree(one, other)
    assert subject_hash(one) == subject_hash(other)
    assert len(subject_hash(one)) == 16
    assert int(subject_hash(one), 16) >= 0


@pytest.mark.parametrize(
    "changed",
    [
        {"train": "x = 3\n", "model": "y = 2\n"},
        {"train": "x = 1", "model": "y = 2\n"},
        {"train": "y = 2\n", "model": "x = 1\n"},
        {"train": "x = 1\n", "models": "y = 2\n"},
        {"train": "x = 1\n", "deep__model": "y = 2\n"},
        {"train": "x = 1\n"},
        {"train": "x = 1\n", "model": "y = 2\n", "more": ""},
        {"train": "x = 1\nmodel.py", "model": "y = 2\n"},
    ],
)
def test_the_hash_changes_with_a_files_content_or_name(
    tmp_path: Path, changed: dict[str, str]
) -> None:
    before = package(tmp_path / "before", train="x = 1\n", model="y = 2\n")
    after = package(tmp_path / "after", **changed)
    assert subject_hash(before) != subject_hash(after)


def test_the_hash_does_not_change_with_what_is_not_python(tmp_path: Path) -> None:
    folder = package(tmp_path, train="x = 1\n")
    before = subject_hash(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "train.cpython-311.pyc").write_bytes(b"\0")
    (folder / "notes.txt").write_text("x = 2")
    assert subject_hash(folder) == before
