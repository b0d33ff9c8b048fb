"""The one module that writes results: journals and run files.

A run is journalled while it is measured, an event a line, and written whole at its end. Nothing is
written in place: a file is complete under another name before it takes its own.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from bench.errors import MachineError, UsageError
from bench.records.kinds import CEILINGS, RUN, OtherKind, kind_of
from bench.records.run_file import SCHEMA, Header, RunRecord, assemble, inconsistency
from bench.runner.coordinator import ResumeState
from bench.runner.events import (
    CaseEnded,
    CasePrepared,
    CeilingReady,
    CompileMeasured,
    Event,
    ReplicateDone,
    WorkerStarted,
)

JOURNAL_SUFFIX = ".journal"
RUN_FILES = "[0-9]*Z-*.json"
"""In a machine's folder; ceilings on their own are no run, and have other names."""
SYNC_S = 2.0
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError)


class _Version(msgspec.Struct):
    """What can be read of the first line of any journal."""

    schema: int


class Journal:
    """An open journal: what is told to it survives the process within SYNC_S seconds."""

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.header = header
        self._file = path.open("ab")
        self._synced = time.monotonic()

    @classmethod
    def create(cls, results: Path, header: Header) -> Self:
        """A new journal under `results`. Raises UsageError where that cannot be written."""
        folder = results / header.machine.label
        kind = "" if header.plan.cases else "ceilings-"
        stem = f"{kind}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{header.machine.revision}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = next(p for p in _free_names(folder, stem) if _claim(p))
            journal = cls(path, header)
        except OSError as error:
            raise UsageError(
                f"cannot write results to {folder}: {error.strerror}; "
                "name another folder with --results"
            ) from None
        journal._write(msgspec.json.encode(header))
        return journal

    @classmethod
    def reopen(cls, path: Path, header: Header) -> Self:
        """The journal at `path`, to go on with; a last line that was cut off is cut away."""
        content = read_bytes(path)
        with _reporting_errors(path):
            os.truncate(path, content.rfind(b"\n") + 1)
            return cls(path, header)

    def tell(self, event: Event) -> None:
        """Append an event. Raises MachineError where the disk will not take it."""
        self._write(msgspec.json.encode(event))

    def close(self) -> None:
        with contextlib.suppress(OSError):  # told of when it was written
            self._file.close()

    def discard(self) -> None:
        """Remove it: its run was refused, or is written."""
        self.close()
        self.path.unlink()
        with contextlib.suppress(OSError):  # not empty
            self.path.parent.rmdir()

    def run_path(self) -> Path:
        """Where the finished run belongs."""
        return self.path.with_suffix(".json")

    def _write(self, line: bytes) -> None:
        try:
            self._file.write(line + b"\n")
            self._file.flush()
            if time.monotonic() - self._synced > SYNC_S:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise MachineError(f"cannot write {self.path}: {error.strerror}") from None


def read_journal(path: Path) -> tuple[Header, list[Event]]:
    """A journal's header and events; a last line that was cut off is left out.

    Raises UsageError where it is not a journal.
    """
    lines = read_bytes(path).split(b"\n")
    if len(lines) == 1:
        raise UsageError(f"{path} is not a journal of this suite: its first line is cut off")
    events: list[Event] = []
    try:
        begun = msgspec.json.decode(lines[0], type=_Version).schema
        if begun != SCHEMA:
            raise UsageError(
                f"{path} was begun by another version (schema {begun}; this one's is {SCHEMA}): "
                "finish it with that one, or start a new run"
            )
        header = msgspec.json.decode(lines[0], type=Header)
        decode = msgspec.json.Decoder(Event).decode
        for number, line in enumerate(lines[1:], start=2):
            if line and number < len(lines):  # a whole line ends in a newline
                events.append(decode(line))
    except NOT_JSON as error:
        raise UsageError(f"{path} is not a journal of this suite: {error}") from None
    return header, events


def resume_state(events: list[Event], spent_s: float) -> ResumeState:
    """What these events have settled, for a further session."""
    settled = ResumeState(spent_s=spent_s)
    for event in events:
        match event:
            case CaseEnded(case_id):
                settled.ended.add(case_id)
            case ReplicateDone(replicate, group):
                settled.done.add((replicate, group))
            case CasePrepared(prepared=prepared, samples=samples):
                settled.samples[prepared.case] = samples
                if prepared.verified is not None:
                    settled.expected[prepared.case] = prepared.verified.expected
            case CeilingReady(prepared=ready, samples=samples):
                settled.samples[ready.ceiling] = samples
                settled.calls[ready.ceiling] = ready.calls
            case CompileMeasured(case_id):
                settled.compile_timed.add(case_id)
            case WorkerStarted():
                settled.workers += 1
    return settled


def write_run(path: Path, document: Mapping[str, Any]) -> None:
    """Write a run file: pytest-benchmark's document with the `sumnet` key. Atomic."""
    write_atomically(path, msgspec.json.encode(document) + b"\n")


def load_run(path: Path) -> RunRecord:
    """The run in a run file, or in the journal of one that was interrupted.

    Raises UsageError where the file is missing, cut off, not a run, or of a newer schema: OtherKind
    where it is something else of this suite's.
    """
    if path.suffix == JOURNAL_SUFFIX:
        try:
            return assemble(*read_journal(path))
        except (KeyError, IndexError) as error:
            raise UsageError(f"{path} contradicts itself: no {error} before it is used") from None
    try:
        document = msgspec.json.decode(read_bytes(path))
    except NOT_JSON as error:
        raise UsageError(f"{path} is cut off or is not JSON: {error}") from None
    kind = kind_of(document)
    if kind is None:
        raise UsageError(f"{path} is not a run file: it has no `sumnet` key")
    if kind is not RUN:
        raise OtherKind(path, kind)
    run = document["sumnet"]
    if isinstance(run, dict) and isinstance(run.get("schema"), int) and run["schema"] > SCHEMA:
        raise UsageError(
            f"{path} was written by a newer version (schema {run['schema']}; this one reads "
            f"up to {SCHEMA}): update the suite"
        )
    try:
        record = msgspec.convert(run, RunRecord)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path} is not a run file: {error}") from None
    if (wrong := inconsistency(record)) is not None:
        raise UsageError(f"{path} contradicts itself: {wrong}")
    return record


def stored_runs(folder: Path, newest: int | None = None) -> tuple[list[RunRecord], list[str]]:
    """The runs kept in a machine's folder, and the names of those that cannot be read.

    With `newest`, of the last so many files.
    """
    runs: list[RunRecord] = []
    unread: list[str] = []
    for path in sorted(folder.glob(RUN_FILES))[-(newest or 0) :]:
        try:
            runs.append(load_run(path))
        except UsageError:
            unread.append(path.name)
    return runs, unread


def load_cases(path: Path) -> RunRecord:
    """The run in such a file, which measured cases; OtherKind where it holds ceilings alone."""
    run = load_run(path)
    if not run.cases:
        raise OtherKind(path, CEILINGS)
    return run


def latest_runs(results: Path) -> list[Path]:
    """The newest run file of every machine under `results`; ceilings on their own are no run."""
    newest = {path.parent: path for path in sorted(results.glob(f"*/{RUN_FILES}"))}
    return list(newest.values())


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def write_atomically(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with _reporting_errors(path):
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _reporting_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from None


def _free_names(folder: Path, stem: str) -> Iterator[Path]:
    yield folder / (stem + JOURNAL_SUFFIX)
    for number in range(2, 1000):
        yield folder / f"{stem}-{number}{JOURNAL_SUFFIX}"


def _claim(path: Path) -> bool:
    """Create the file, unless it or its run file is there."""
    if path.with_suffix(".json").exists():
        return False
    try:
        path.open("xb").close()
    except FileExistsError:
        return False
    return True
