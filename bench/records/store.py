"""The one module that writes results: journals and run files.

A run is journalled while it is measured, an event a line, and written whole at its end. Nothing is
written in place: a file is complete under another name before it takes its own.
"""

import contextlib
import errno
import fcntl
import glob
import itertools
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import psutil

from ..devices import is_device_name
from ..errors import MachineError, UsageError, for_terminal
from ..matrix.case import Case
from ..matrix.ceiling import Ceiling
from ..options import COMMAND
from ..runner import events as happened
from ..runner.coordinator import ResumeState
from ..runner.events import Event
from . import older, run_file
from .assembly import Contradiction, assemble
from .reading import MAX_BYTES, MAX_VALUES, NOT_JSON, cleaned, read_bytes, read_json
from .run_file import SCHEMA, Header, RunRecord, WorkerRecord

JOURNAL_SUFFIX = ".journal"
RUN_FILES = "[0-9]*Z-*.json"
"""In a machine's folder; ceilings on their own are no run, and have other names."""
OF_CEILINGS = "ceilings-"
"""What the names begin with of journals and files of ceilings on their own."""
SYNC_S = 2.0
PID = re.compile("[0-9]{1,9}")
ABANDONED_S = 60.0
MAX_STEM = 200
"""Characters of a file's name that stand in that of its half-written form, which may have 255."""
ROOM = 4 * 2**20
"""Bytes that must be free before anything is measured: the journal of 46 cases has 3 MB."""


@dataclass(frozen=True)
class Kind:
    """What a file is or holds, and what to do with it; `{}` stands for its path."""

    what: str
    remedy: str


RUN = Kind("is a run file", "`compare {}` prints it")
CEILINGS = Kind("holds ceilings alone", "`ceilings {}` prints them")
REPORT = Kind("is a gate report", "`regress {}` prints it; name run files")


class OtherKind(UsageError):
    """A file that this suite wrote, of another kind than was asked for."""

    def __init__(self, path: Path, kind: Kind) -> None:
        super().__init__(f"{path} {kind.what}: {kind.remedy.format(path)}")
        self.skipped = f"skipped {path}: it {kind.what}"


def kind_of(document: object) -> Kind | None:
    """What a JSON document is; None where it is nothing that this suite writes."""
    if not isinstance(document, dict):
        return None
    if "sumnet" in document:
        return RUN
    if {"sides", "rules", "series", "pairs"} <= document.keys():
        return REPORT
    return None


class _Version(msgspec.Struct):
    """What can be read of a journal's first line, or a run file, of any version."""

    schema: int


def _check_schema(path: Path, version: _Version) -> None:
    if version.schema != SCHEMA:
        raise UsageError(
            f"{path} was written by another version (schema {version.schema}; this one's is "
            f"{SCHEMA}): use that one, or measure again"
        )


def unfinished_runs(results: Path) -> list[Path]:
    """The journals under `results` that no process writes to."""
    try:
        journals = sorted(results.glob(f"*/*{JOURNAL_SUFFIX}"))
    except OSError:
        return []
    return [path for path in journals if _is_waiting(path)]


def how_to_finish(journal: Path) -> str:
    """Where the journal of an unfinished run is, and the command that finishes it."""
    verb = "ceilings" if journal.name.startswith(OF_CEILINGS) else "run"
    words = f"{journal}; finish it with\n  {COMMAND} {verb} --resume {shlex.quote(str(journal))}"
    return for_terminal(words)


def _is_waiting(journal: Path) -> bool:
    """Whether it holds a run, and no process writes to it as far as is known."""
    try:
        with journal.open("rb") as file:
            with _without_locks():
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return bool(os.fstat(file.fileno()).st_size)
    except OSError:  # of a link to nothing, say; or it is locked
        return False


@contextlib.contextmanager
def _without_locks() -> Iterator[None]:
    """Go on where the file system has no locks; BlockingIOError passes."""
    try:
        yield
    except BlockingIOError:
        raise
    except OSError:
        pass


class Journal:
    """An open journal. What it is given survives the process, and within SYNC_S the machine.

    One process at a time writes to it: UsageError, where another one has it open.
    """

    def __init__(self, path: Path) -> None:
        """Open the journal at `path`, which is there. Raises OSError."""
        self.path = path
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND), "ab")
        self._synced = time.monotonic()
        try:
            with _without_locks():  # where nobody is kept out
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise UsageError(
                f"another process is writing to {path}: wait until it has ended"
            ) from None

    @classmethod
    def create(cls, results: Path, header: Header) -> Self:
        """A new journal under `results`. Raises UsageError where that cannot be written."""
        folder = results / header.machine.label
        kind = "" if header.plan.cases else OF_CEILINGS
        stem = f"{kind}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{header.machine.revision}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            check_room(folder)
            _remove_abandoned(folder)
            return cls(_new_journal(folder, stem, msgspec.json.encode(header) + b"\n"))
        except OSError as error:
            raise UsageError(
                f"cannot write results to {folder}: {error.strerror}; "
                "name another folder with --results"
            ) from None

    @classmethod
    def reopen(cls, path: Path) -> tuple[Self, Header, list[Event]]:
        """The journal at `path`, to go on with, and what it holds; a last line that was cut off is
        cut away."""
        read_bytes(path, sys.maxsize)  # or it says why not
        with _reporting_errors(path):
            journal = cls(path)
        try:
            content = read_bytes(path, sys.maxsize)  # once nobody else writes to it
            header, events = _parsed(path, content, sys.maxsize)
            with _reporting_errors(path):
                os.truncate(path, content.rfind(b"\n") + 1)
        except BaseException:
            journal.close()
            raise
        return journal, header, events

    def append(self, event: Event) -> None:
        """Add an event. Raises MachineError where the disk will not take it."""
        self._write(msgspec.json.encode(event))

    def close(self) -> None:
        with contextlib.suppress(OSError):  # reported when it was written
            self._file.close()

    def discard(self) -> None:
        """Remove it: its run was refused, or is written."""
        self.path.unlink(missing_ok=True)  # before another process may have it
        self.close()
        with contextlib.suppress(OSError):  # not empty
            self.path.parent.rmdir()

    def run_path(self) -> Path:
        """Where the finished run belongs."""
        return self.path.with_suffix(".json")

    def _write(self, line: bytes) -> None:
        with _reporting_errors(self.path):
            self._file.write(line + b"\n")
            self._file.flush()
            if time.monotonic() - self._synced > SYNC_S:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()


def read_journal(path: Path, *, bounded: bool = True) -> tuple[Header, list[Event]]:
    """A journal's header and events; a last line that was cut off is left out.

    One of more than half an hour of measuring may be larger than files are that are only read; to
    resume it, it is read whole. Raises UsageError where it is not a journal.
    """
    if not bounded:
        return _parsed(path, read_bytes(path, sys.maxsize), sys.maxsize)
    return _parsed(path, read_bytes(path, MAX_BYTES), MAX_VALUES)


def _parsed(path: Path, content: bytes, most: int) -> tuple[Header, list[Event]]:
    """The header and events that a journal's content holds, of at most so many values."""
    if not (whole := content[: content.rfind(b"\n") + 1]):
        raise UsageError(f"{path} is not a journal of this suite: its first line is cut off")
    try:
        first, _, rest = cleaned(path, whole, most).partition(b"\n")
        _check_schema(path, msgspec.json.decode(first, type=_Version))
        header = msgspec.json.decode(first, type=Header)
    except NOT_JSON as error:
        raise UsageError(f"{path} is not a journal of this suite: {error}") from None
    _check_devices(path, header.plan.cases)
    _check_devices(path, header.plan.ceilings)
    try:
        return header, msgspec.json.Decoder(Event).decode_lines(rest)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{path} is not a journal of this version of the suite: {error}; go on with the "
            "version that wrote it, or measure again"
        ) from None
    except NOT_JSON as error:
        raise UsageError(f"{path} is not a journal of this suite: {error}") from None


def resume_state(events: Sequence[Event]) -> ResumeState:
    """What these events have settled, for a further session."""
    settled = ResumeState()
    for event in events:
        match event:
            case happened.CaseEnded(case_id):
                settled.ended.add(case_id)
            case happened.PhasesEnded(case_id):
                settled.without_phases.add(case_id)
            case happened.ReplicateDone(replicate, group, spent_s):
                settled.done.add((replicate, group))
                settled.spent_s = spent_s
            case happened.CasePrepared(prepared=prepared, samples=samples):
                settled.samples[prepared.case] = samples
                if prepared.verified is not None:
                    settled.expected[prepared.case] = prepared.verified.expected
            case happened.CeilingReady(prepared=ready, samples=samples):
                settled.samples[ready.ceiling] = samples
                settled.calls[ready.ceiling] = ready.calls
            case happened.BlockImpossible(case_id):
                settled.impossible[case_id] += 1
            case happened.CompileMeasured(case_id):
                settled.compile_timed.add(case_id)
            case happened.WorkerStarted():
                settled.workers += 1
    return settled


def run_so_far(path: Path, header: Header, events: Sequence[Event]) -> RunRecord:
    """The run that a journal holds. Raises UsageError where it contradicts itself."""
    try:
        return assemble(header, events)
    except (KeyError, IndexError) as error:
        raise UsageError(f"{path} contradicts itself: no {error} before it is used") from None
    except (Contradiction, msgspec.ValidationError) as error:
        raise UsageError(f"{path} contradicts itself: {error}") from None


def write_run(path: Path, run: RunRecord, summaries: Mapping[str, Any]) -> None:
    """Write a run file: pytest-benchmark's summaries, and the run. Atomic."""
    write_atomically(
        path, msgspec.json.encode({**summaries, "sumnet": run_file.encode(run)}) + b"\n"
    )


def load_run(path: Path) -> RunRecord:
    """The run in a run file, or in the journal of one that was interrupted.

    Raises UsageError where the file is missing, cut off, not a run, or of another schema; OtherKind
    where it is another kind of this suite's files.
    """
    if path.suffix == JOURNAL_SUFFIX:
        return _checked(path, run_so_far(path, *read_journal(path)))
    try:
        document = msgspec.json.decode(read_json(path))
    except NOT_JSON as error:
        raise UsageError(f"{path} is cut off or is not JSON: {error}") from None
    kind = kind_of(document)
    if kind is None:
        raise UsageError(f"{path} is not a run file: it has no `sumnet` key")
    if kind is not RUN:
        raise OtherKind(path, kind)
    try:
        version = msgspec.convert(document["sumnet"], _Version)
        if version.schema == older.RUN_SCHEMA:
            older.upgrade_run(document["sumnet"])
        else:
            _check_schema(path, version)
        record = run_file.decode(document["sumnet"])
    except (msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not a run file: {error}") from None
    return _checked(path, record)


def _checked(path: Path, record: RunRecord) -> RunRecord:
    _check_devices(path, [case.case for case in record.cases])
    _check_devices(path, [ceiling.ceiling for ceiling in record.ceilings])
    _check_devices(path, record.workers)
    if (wrong := run_file.inconsistency(record)) is not None:
        raise UsageError(f"{path} contradicts itself: {wrong}")
    return record


def _check_devices(path: Path, named: Sequence[Case | Ceiling | WorkerRecord]) -> None:
    for each in named:
        if not is_device_name(each.device):
            raise UsageError(
                f"{path} names the device {each.device!r}, which this version of the suite does "
                "not know: use the version that wrote it, or measure again"
            )


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


def latest_runs(results: Path, wanted: Sequence[Callable[[RunRecord], bool]] = ()) -> list[Path]:
    """The newest run file of every machine under `results`; ceilings on their own are no run.

    Where something is `wanted` of runs, the newest of which any of that holds, of those that can be
    read.
    """
    newest: dict[Path, Path] = {}
    for path in sorted(results.glob(f"*/{RUN_FILES}"), reverse=True):
        if path.parent in newest:
            continue
        if wanted:
            try:
                run = load_run(path)
            except UsageError:
                continue
            if not any(holds(run) for holds in wanted):
                continue
        newest[path.parent] = path
    return sorted(newest.values())


def check_target(path: Path, option: str) -> Path:
    """The path that an option names for a file, whose folder is made.

    Raises UsageError where no file can be written there: a device that stands there, say, would be
    replaced.
    """
    try:
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "a pipe or a device"
            raise UsageError(f"cannot write {path}: it is {what}; name a file with {option}")
        path.parent.mkdir(parents=True, exist_ok=True)
        check_room(path.parent)
    except OSError as error:
        raise UsageError(
            f"cannot write to {path.parent}: {error.strerror}; name another file with {option}"
        ) from None
    return path


def write_atomically(path: Path, content: bytes) -> None:
    """Have the file at `path` hold this, or what it held before, whatever happens meanwhile.

    Where a link stands, the file that it names. Only a file that is mounted there is written in
    place, for nothing can take its name. Raises MachineError.
    """
    with _reporting_errors(path):
        path = path.resolve()
        part = path.with_name(f".{path.name[:MAX_STEM]}.{os.getpid()}")
        _remove_parts(path.parent, glob.escape(path.name[:MAX_STEM]))
        try:
            _write_synced(part, content)
            part.replace(path)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _write_synced(path, content)
        finally:
            part.unlink(missing_ok=True)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _remove_parts(folder: Path, pattern: str) -> None:
    """Remove what processes that are gone left half-written of files with such names."""
    for part in folder.glob(f".{pattern}.*"):
        pid = part.suffix[1:]
        if PID.fullmatch(pid) and not psutil.pid_exists(int(pid)):
            _remove_old(part)


def _remove_abandoned(folder: Path) -> None:
    """Remove journals that never got their first line."""
    _remove_parts(folder, f"*{JOURNAL_SUFFIX}")
    for journal in folder.glob(f"*{JOURNAL_SUFFIX}"):
        if not journal.stat().st_size:
            _remove_old(journal)


def _remove_old(path: Path) -> None:
    """Remove a file that nobody is writing any more, as far as its age shows: a process in another
    container cannot be seen."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime > ABANDONED_S:
            path.unlink()


def check_room(folder: Path) -> None:
    """Raise OSError where ROOM bytes cannot be written there: full, read-only, or over a quota."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(ROOM))
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _reporting_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from None


def _new_journal(folder: Path, stem: str, header: bytes) -> Path:
    """A journal that holds its header, under a name that neither a journal nor a run file had."""
    for number in itertools.count(1):
        path = folder / f"{stem}{f'-{number}' if number > 1 else ''}{JOURNAL_SUFFIX}"
        if path.with_suffix(".json").exists():
            continue
        with contextlib.suppress(FileExistsError):
            path.open("xb").close()
            write_atomically(path, header)
            return path
    raise AssertionError
