"""A worker seen from outside: started, asked under a deadline, and always ended."""

import contextlib
import fcntl
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec
import psutil

from ..devices import kind_of
from ..errors import MachineError
from ..protocol import messages
from ..protocol.reasons import last_words
from ..protocol.subject import PACKAGE, ROOT
from ..protocol.validation import InvalidReply, check

WORKER = PACKAGE / "worker" / "__main__.py"
TERMINATE_S = 2.0
KILL_S = 10.0
"""One whose call into a broken driver does not return cannot even be killed."""
PLACEMENT = ("GOMP_CPU_AFFINITY", "KMP_AFFINITY", "OMP_PLACES", "OMP_PROC_BIND")
"""Variables by which OpenMP binds its threads to cores when it starts."""
UNCAUGHT = 1
"""The exit status of a Python that an exception ended."""
FAMILY = "SUMNET_BENCH_WORKER"
"""A variable of a worker, which what it starts inherits: by it children are found that left the
worker's process group."""
MAX_PRINTED = 16 * 2**20
"""Bytes of a worker's output that are kept; with more of it, all are dropped."""
WORDS_FROM = 64 * 2**10
"""The last bytes of it in which the reason of an end is looked for."""
LOOK_S = 0.25
"""How often the output's size is looked at while a reply is waited for."""


@dataclass(frozen=True)
class Side:
    """What a worker runs, and what is known of it beforehand."""

    name: str = "run"
    python: str = sys.executable
    subject: Path = ROOT
    """The folder that steps are loaded from."""
    steps: str = ""
    """The file in it that declares them; empty for the default step, whose package it holds."""
    installed: bool = False
    """Whether the interpreter has the subject installed; its folders come last on the path then."""
    checkout: Path | None = None
    """The folder that the subject is a copy of, from which nothing may be imported."""
    environment: Mapping[str, str] = field(default_factory=dict)
    what: str = ""
    """In words, and without anyone's name: "commit 1a2b3c4d5e (merge base with origin/main)"."""
    subject_hash: str | None = None
    interpreter: messages.Interpreter | None = None
    """Its Python and torch, as found beforehand; None where it is this process's own."""


class WorkerLost(Exception):
    """The worker died, hung or gave no valid reply. `status` is what becomes of its case."""

    def __init__(self, status: messages.Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class WorkerProcess:
    """One worker, in a process group of its own; ending it ends what it started too."""

    hello: messages.Hello
    startup_s: float

    def __init__(self, side: Side, device: str, threads: int) -> None:
        """Start it; `greet` has to be called before anything is asked.

        Raises MachineError where the interpreter cannot be run, or there is no temporary folder.
        """
        self._started = time.monotonic()
        self.setting = (device, threads)
        self._family = uuid.uuid4().hex
        self._output = _temporary_file()
        words = [messages.OWN_THREADS] if "OMP_NUM_THREADS" in side.environment else []
        words += [messages.INSTALLED] if side.installed else []
        words += [f"{messages.CHECKOUT}{side.checkout}"] if side.checkout is not None else []
        # Replies have a socket: anything in the worker may print to standard output.
        self._channel, theirs = socket.socketpair()
        # Of one length for both sides of a pair, as the stack begins below a process's arguments.
        where = [f"{theirs.fileno():05}", str(side.subject)]
        # A pinned worker is bound to cores of its own, whatever OpenMP's placement; a side may set
        # the variables all the same.
        unset = PLACEMENT if kind_of(device).pinned else ()
        inherited = {name: value for name, value in os.environ.items() if name not in unset}
        try:
            self._process = subprocess.Popen(
                [side.python, "-P", str(WORKER), *where, side.steps, device, str(threads), *words],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env={**inherited, FAMILY: self._family, **side.environment},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            self._channel.close()
            self._output.close()
            raise MachineError(f"cannot start {side.python}: {error.strerror}") from None
        finally:
            theirs.close()
        self._printed = 0
        self._buffer = b""
        self._decode = msgspec.json.Decoder(messages.Reply).decode
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._channel, selectors.EVENT_READ)

    def greet(self, hello_s: float) -> None:
        """Wait for its hello. Raises WorkerLost where none comes within `hello_s` seconds."""
        hello = self._reply(hello_s)
        if not isinstance(hello, messages.Hello):
            raise WorkerLost("failed", "it did not send hello first")
        self.hello = hello
        self.startup_s = time.monotonic() - self._started

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: messages.Request, deadline_s: float) -> messages.Reply:
        """The reply to a request. Raises WorkerLost where there is no valid one in time."""
        # A dead worker is noticed when its replies end, one that reads nothing by its deadline.
        self._channel.settimeout(deadline_s)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
            self._channel.sendall(msgspec.json.encode(request) + b"\n")
        reply = self._reply(deadline_s)
        try:
            check(messages.id_of(request), self.setting[0], request, reply)
        except InvalidReply as invalid:
            raise WorkerLost(invalid.status, invalid.reason) from None
        return reply

    def close(self) -> None:
        """End the worker and its children: asked, then killed."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(TERMINATE_S)
        # Also where the worker itself has ended: a child of its own may hold out.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in self._relatives():
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_S)
        self._selector.close()
        self._channel.close()
        self._output.close()

    def _relatives(self) -> Iterator[psutil.Process]:
        """The worker, where it is left, and what it started, in whatever process group."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(FAMILY) == self._family:
                    yield process

    def _reply(self, deadline_s: float) -> messages.Reply:
        line = self._read_line(deadline_s)
        try:
            reply: messages.Reply = self._decode(line)
        except msgspec.DecodeError as error:
            text = line[:80].decode(errors="replace")
            why = f"the worker's reply could not be read: {text!r} ({error})"
            raise WorkerLost("failed", why) from None
        self._printed = self._bound_output()
        return reply

    def _read_line(self, deadline_s: float) -> bytes:
        deadline = time.monotonic() + deadline_s
        while b"\n" not in self._buffer:
            if (left := deadline - time.monotonic()) <= 0:
                raise WorkerLost("timeout", f"no answer within {deadline_s:.0f} s")
            if not self._selector.select(min(left, LOOK_S)):
                self._bound_output()
                continue
            try:
                chunk = self._channel.recv(1 << 16)
            except ConnectionResetError:  # it ended with a request unread
                chunk = b""
            if not chunk:
                raise self._death()
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _bound_output(self) -> int:
        """Let a worker that goes on printing not fill the disk; the size of its output.

        It appends, so that what it prints next stands at the beginning.
        """
        size = os.fstat(self._output.fileno()).st_size
        if size > MAX_PRINTED:
            os.ftruncate(self._output.fileno(), 0)
            size = self._printed = 0
        return size

    def _death(self) -> WorkerLost:
        try:
            code = self._process.wait(TERMINATE_S)
        except subprocess.TimeoutExpired:
            return WorkerLost("failed", "the worker closed its channel and went on running")
        # What it printed before its last reply is not about its end.
        size = os.fstat(self._output.fileno()).st_size
        self._output.seek(max(self._printed, size - WORDS_FROM))
        printed = self._output.read(WORDS_FROM).decode(errors="replace")
        words = last_words(printed, raised=code == UNCAUGHT)
        words = f": {words}" if words else ""
        if code >= 0:
            return WorkerLost("failed", f"the worker exited with status {code}{words}")
        name = f"signal {-code}"
        with contextlib.suppress(ValueError):  # most real-time signals have no name
            name = signal.Signals(-code).name
        hint = ", perhaps out of memory" if name == "SIGKILL" else ""
        return WorkerLost("killed", f"the worker was killed by {name}{hint}{words}")


def _temporary_file() -> IO[bytes]:
    """A file without a name, which a process that is given it appends to. Raises MachineError."""
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by WorkerProcess.close()
        fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
        return file
    except OSError as error:
        raise MachineError(
            f"cannot make a temporary file: {error.strerror}; have TMPDIR name a folder that can "
            "be written to and has room"
        ) from None
