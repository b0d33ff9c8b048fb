"""A worker seen from outside: started, asked under a deadline, and always ended."""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

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


def end_as_if_interrupted() -> None:
    """Have SIGTERM do from now on what Ctrl-C does, so that no worker is left behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


class WorkerLost(Exception):
    """The worker died, hung or gave no valid reply. `status` is what becomes of its case."""

    def __init__(self, status: messages.Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class WorkerProcess:
    """One worker in a process group of its own, so that ending it ends what it started too."""

    hello: messages.Hello
    startup_s: float

    def __init__(self, side: Side, device: str, threads: int) -> None:
        """Start it; `greet` has to be called before anything is asked.

        Raises MachineError where the interpreter cannot be run.
        """
        self._started = time.monotonic()
        self.setting = (device, threads)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
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
                env={**inherited, **side.environment},
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
        """Wait for its hello. Raises MachineError where none comes within `hello_s` seconds."""
        try:
            hello = self._reply(hello_s)
        except WorkerLost as lost:
            raise MachineError(f"a worker did not start: {lost.reason}") from None
        if not isinstance(hello, messages.Hello):
            raise MachineError("a worker did not start: it did not send hello first")
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
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_S)
        self._selector.close()
        self._channel.close()
        self._output.close()

    def _reply(self, deadline_s: float) -> messages.Reply:
        line = self._read_line(deadline_s)
        try:
            reply: messages.Reply = self._decode(line)
        except msgspec.DecodeError as error:
            text = line[:80].decode(errors="replace")
            why = f"the worker's reply could not be read: {text!r} ({error})"
            raise WorkerLost("failed", why) from None
        self._printed = os.fstat(self._output.fileno()).st_size
        return reply

    def _read_line(self, deadline_s: float) -> bytes:
        deadline = time.monotonic() + deadline_s
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                raise WorkerLost("timeout", f"no answer within {deadline_s:.0f} s")
            try:
                chunk = self._channel.recv(1 << 16)
            except ConnectionResetError:  # it ended with a request unread
                chunk = b""
            if not chunk:
                raise self._death()
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _death(self) -> WorkerLost:
        try:
            code = self._process.wait(TERMINATE_S)
        except subprocess.TimeoutExpired:
            return WorkerLost("failed", "the worker closed its channel and went on running")
        # What it printed before its last reply is not about its end.
        self._output.seek(self._printed)
        printed = self._output.read().decode(errors="replace")
        words = last_words(printed, raised=code == UNCAUGHT)
        words = f": {words}" if words else ""
        if code >= 0:
            return WorkerLost("failed", f"the worker exited with status {code}{words}")
        name = f"signal {-code}"
        with contextlib.suppress(ValueError):  # most real-time signals have no name
            name = signal.Signals(-code).name
        hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return WorkerLost("killed", f"the worker was killed by {name}{hint}{words}")
