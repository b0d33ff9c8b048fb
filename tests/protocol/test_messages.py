"""The protocol: what is said arrives as it was said, and a subject has one hash."""

import shutil
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.inspect import FloatType, IntType, StructType, type_info

from bench.devices.facts import DeviceFacts, Facts
from bench.figures import LARGEST, MOST
from bench.matrix.case import (
    Case,
)
from bench.matrix.ceiling import Ceiling
from bench.matrix.step import PHASES
from bench.protocol.messages import (
    CEILING,
    KINDS,
    PHASES_KIND,
    Block,
    CaseVerified,
    CeilingPrepared,
    CompileTimed,
    Describe,
    Described,
    EnergyMeasured,
    Hello,
    Measure,
    MeasureEnergy,
    MeasureMemory,
    MemoryMeasured,
    PhasesRefused,
    Prepare,
    PrepareCeiling,
    Prepared,
    Profile,
    Profiled,
    Refused,
    Reply,
    Request,
    TimeCompile,
    Verify,
    kinds_of,
    series_of,
)
from bench.protocol.profile import PhaseProfile, StepProfile, Work
from bench.protocol.subject import subject_hash
from bench.protocol.verified import Expected, Graphs, Verified
from tests.cases import SERIES, sumnet
from tests.matrix.strategies import CASES, DESCRIPTIONS

T = TypeVar("T")

TEXTS = st.text()


def _fields(kind: type) -> tuple[Any, ...]:
    found = type_info(kind)
    assert isinstance(found, StructType)
    return found.fields


def built(kind: type[T], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[T]:
    """Messages of a kind whose numbers are in the ranges of their fields."""
    for field in _fields(kind):
        if field.required and isinstance(field.type, IntType | FloatType):
            draw = st.integers if isinstance(field.type, IntType) else st.floats
            given.setdefault(field.name, draw(field.type.ge, field.type.le))
    return st.builds(kind, **given)


NANOSECONDS = st.integers(0, MOST)
AMOUNTS = st.floats(0, LARGEST[float])
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
RATES = st.none() | NUMBERS
EXPECTED = st.builds(Expected, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
VERIFIED = st.builds(
    Verified, EXPECTED, NUMBERS, TEXTS, TEXTS, built(Graphs), st.none() | NANOSECONDS
)
DEVICES = st.builds(DeviceFacts, unavailable=st.none() | TEXTS, memory_bytes=NANOSECONDS)
CEILINGS = st.builds(
    Ceiling,
    TEXTS,
    threads=st.integers(1, 64),
    dtype=st.none() | TEXTS,
    size=st.none() | st.integers(1, MOST),
)
PHASE_PROFILES = built(PhaseProfile)
PROFILES = built(
    StepProfile,
    phases=st.dictionaries(TEXTS, PHASE_PROFILES, max_size=3),
    work=st.dictionaries(TEXTS, built(Work), max_size=3),
)

REQUESTS = {
    Prepare: st.builds(Prepare, CASES, RATES, st.none() | EXPECTED),
    Verify: st.builds(Verify, CASES, RATES),
    TimeCompile: st.builds(TimeCompile, CASES, RATES),
    PrepareCeiling: st.builds(PrepareCeiling, CEILINGS, st.none() | NANOSECONDS),
    Measure: st.builds(
        Measure,
        TEXTS,
        st.sampled_from(list(KINDS)),
        st.integers(1, 1000),
        st.lists(TEXTS).map(tuple),
    ),
    MeasureEnergy: st.builds(MeasureEnergy, TEXTS, NUMBERS),
    MeasureMemory: st.builds(MeasureMemory, TEXTS),
    Profile: st.builds(Profile, TEXTS, st.none() | TEXTS),
    Describe: st.builds(Describe, TEXTS),
}
REPLIES = {
    Hello: built(
        Hello,
        facts=built(Facts, devices=st.dictionaries(TEXTS, st.tuples(DEVICES))),
        cores=st.lists(st.integers(0, 255)),
        sync_ns=NANOSECONDS,
        bus_id=st.none() | TEXTS,
    ),
    Prepared: built(
        Prepared,
        step_ns=NANOSECONDS,
        reference_loops=st.lists(TEXTS).map(tuple),
        verified=st.none() | VERIFIED,
    ),
    CaseVerified: st.builds(CaseVerified, TEXTS, VERIFIED),
    CompileTimed: built(CompileTimed, first_step_ns=NANOSECONDS),
    Refused: st.builds(Refused),
    PhasesRefused: st.builds(PhasesRefused),
    Block: built(
        Block,
        elapsed_ns=NANOSECONDS,
        readings_ns=st.dictionaries(TEXTS, NANOSECONDS),
        quantiles_ns=st.dictionaries(TEXTS, st.lists(NANOSECONDS, min_size=4, max_size=4)),
    ),
    CeilingPrepared: st.builds(
        CeilingPrepared, TEXTS, sample_ns=NANOSECONDS, calls=NANOSECONDS, work=AMOUNTS
    ),
    EnergyMeasured: st.builds(EnergyMeasured, TEXTS, NANOSECONDS, NANOSECONDS, AMOUNTS),
    MemoryMeasured: st.builds(MemoryMeasured, TEXTS, NANOSECONDS),
    Profiled: st.builds(Profiled, TEXTS, PROFILES),
    Described: st.builds(Described, st.lists(DESCRIPTIONS).map(tuple)),
}


def package(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


# Words


def test_these_are_all_the_words_there_are() -> None:
    assert set(REQUESTS) == set(Request.__args__)
    assert set(REPLIES) == set(Reply.__args__)


@pytest.mark.parametrize("words", REQUESTS.values(), ids=lambda _: "")
@given(data=st.data())
def test_a_request_arrives_as_it_was_made(
    words: st.SearchStrategy[Request], data: st.DataObject
) -> None:
    request = data.draw(words)
    assert msgspec.json.decode(msgspec.json.encode(request), type=Request) == request


@pytest.mark.parametrize("words", REPLIES.values(), ids=lambda _: "")
@given(data=st.data())
def test_a_reply_arrives_as_it_was_made(
    words: st.SearchStrategy[Reply], data: st.DataObject
) -> None:
    reply = data.draw(words)
    assert msgspec.json.decode(msgspec.json.encode(reply), type=Reply) == reply


@given(st.one_of(*REQUESTS.values(), *REPLIES.values()))
def test_everything_said_fits_on_one_line(words: Request | Reply) -> None:
    assert b"\n" not in msgspec.json.encode(words)


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"3", b"hello", b'{"type":"Hello"}', b'{"type":"Prepare","case":{}}'],
)
def test_what_is_no_reply_is_not_taken_for_one(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(line, type=Reply)


# Kinds of block


def test_the_kinds_of_block_yield_every_series_once_and_a_ceilings_own() -> None:
    yielded = [name for kind in (PHASES_KIND, *KINDS) for name in series_of(kind, PHASES)]
    assert sorted(yielded) == sorted([*SERIES, CEILING])


@given(CASES)
def test_the_kinds_of_a_case_yield_its_series_and_no_other(case: Case) -> None:
    found = [s for kind in kinds_of(case) for s in series_of(kind, case.phases)]
    assert sorted(found) == sorted(case.series)


@pytest.mark.parametrize(
    ("case", "kinds"),
    [
        (sumnet(), {"phases", "train_step"}),
        (sumnet(compile="on"), {"phases", "train_step"}),
        (sumnet(optimizer="lbfgs"), {"train_step"}),
        (sumnet(device="cuda:1"), {"phases", "train_step", "latency", "throughput"}),
        (sumnet(device="mps"), {"phases", "train_step", "latency", "throughput"}),
        (sumnet(device="mps", optimizer="lbfgs"), {"train_step", "latency", "throughput"}),
        (sumnet(device="cuda", compile="graph"), {"train_step", "latency", "throughput"}),
    ],
    ids=lambda value: value.id if isinstance(value, Case) else "",
)
def test_the_kinds_of_a_case_are_what_can_be_timed_of_it(case: Case, kinds: set[str]) -> None:
    assert set(kinds_of(case)) == kinds


# Cases


def test_a_case_keeps_its_id_on_its_way() -> None:
    case = sumnet(device="cuda:1", batch=7, compile="on")
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
