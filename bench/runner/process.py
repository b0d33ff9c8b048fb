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

from bench.errors import MachineError
from bench.protocol.messages import OWN_THREADS, Hello, Reply, Request, Status
from bench.protocol.reasons import last_words
from bench.protocol.subject import ROOT

WORKER = ROOT / "bench" / "worker" / "__main__.py"
TERMINATE_S = 2.0
PLACEMENT = ("GOMP_CPU_AFFINITY", "KMP_AFFINITY", "OMP_PLACES", "OMP_PROC_BIND")
"""Variables by which OpenMP binds its threads to cores when it starts: a CPU's worker is bound to
cores of its own, on which all its threads have to be. A side may set them all the same."""
UNCAUGHT = 1
"""The exit status of a Python that an exception ended."""


@dataclass(frozen=True)
class Side:
    """What a worker runs: an interpreter, where the subject is found, and its environment.

    `subject` is a folder that holds `sumnet/`; nothing else is imported from it.
    """

    name: str = "run"
    python: str = sys.executable
    subject: Path = ROOT
    environment: Mapping[str, str] = field(default_factory=dict)


class WorkerLost(Exception):
    """The worker died, hung or gave no valid reply. `status` is what that makes of its case."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class WorkerProcess:
    """One worker in a process group of its own, so that ending it ends what it started too."""

    def __init__(
        self,
        side: Side,
        device: str,
        threads: int,
        hello_s: float | None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`environment` is added to the side's own.

        With `hello_s` None it is only started: `greet` has to be called before anything is asked.
        Raises MachineError where it does not start, or says no hello within `hello_s` seconds.
        """
        self._started = time.monotonic()
        self.setting = (device, threads)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        words = [OWN_THREADS] if "OMP_NUM_THREADS" in side.environment else []
        # A socket of its own: standard output is open to whatever prints in the worker.
        self._channel, theirs = socket.socketpair()
        # Of one length for both sides of a pair, as the stack begins below a process's arguments.
        where = [f"{theirs.fileno():05}", str(side.subject)]
        try:
            self._process = subprocess.Popen(
                [side.python, "-P", str(WORKER), *where, device, str(threads), *words],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env={**_inherited(device), **side.environment, **(environment or {})},
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
        self._decode = msgspec.json.Decoder(Reply).decode
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._channel, selectors.EVENT_READ)
        if hello_s is not None:
            self.greet(hello_s)

    def greet(self, hello_s: float) -> None:
        """Wait for its hello. Raises MachineError, and ends it, where there is none."""
        try:
            self.hello = self._hello(hello_s)
        except WorkerLost as lost:
            self.close()
            raise MachineError(f"a worker did not start: {lost.reason}") from None
        except BaseException:
            self.close()
            raise
        self.startup_s = time.monotonic() - self._started

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: Request, deadline_s: float) -> Reply:
        """The reply to a request. Raises WorkerLost."""
        # A dead worker is noticed when its replies end, one that reads nothing by its deadline.
        self._channel.settimeout(deadline_s)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
            self._channel.sendall(msgspec.json.encode(request) + b"\n")
        return self._reply(deadline_s)

    def close(self) -> None:
        """End the worker and its children: asked, then killed."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(TERMINATE_S)
        # Also where the worker itself has ended: a child of its own may hold out.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        self._channel.close()
        self._output.close()

    def _hello(self, deadline_s: float) -> Hello:
        reply = self._reply(deadline_s)
        if not isinstance(reply, Hello):
            raise WorkerLost("failed", "it did not say hello first")
        return reply

    def _reply(self, deadline_s: float) -> Reply:
        line = self._read_line(deadline_s)
        try:
            reply: Reply = self._decode(line)
        except msgspec.DecodeError as error:
            text = line[:80].decode(errors="replace")
            raise WorkerLost(
                "failed", f"the worker's reply could not be read: {text!r} ({error})"
            ) from None
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
        if code < 0:
            name = _signal_name(-code)
            hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
            return WorkerLost(
                "killed", f"the worker was killed by {name}{hint}{self._last_words(raised=False)}"
            )
        words = self._last_words(raised=code == UNCAUGHT)
        return WorkerLost("failed", f"the worker exited with status {code}{words}")

    def _last_words(self, *, raised: bool) -> str:
        """Of what it printed since its last reply: what it printed before is not about its end."""
        self._output.seek(self._printed)
        words = last_words(self._output.read().decode(errors="replace"), raised=raised)
        return f": {words}" if words else ""


def _inherited(device: str) -> dict[str, str]:
    """This process's environment, as a worker on the device is given it."""
    bound = PLACEMENT if device == "cpu" else ()
    return {name: value for name, value in os.environ.items() if name not in bound}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals
        return f"signal {number}"
