"""A worker seen from outside: started, asked under a deadline, and always ended."""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

import bench
from bench.errors import MachineError
from bench.measure.protocol import OWN_THREADS, Hello, Reply, Request, Status

ROOT = Path(bench.__file__).parent.parent
TERMINATE_S = 2.0


@dataclass(frozen=True)
class Side:
    """What a worker runs: an interpreter, where the subject is found, and its environment.

    `subject` is a folder that holds `sumnet/`. It comes first on the path, so unless it is this
    instrument's own it must not hold a `bench/` beside it.
    """

    name: str = "run"
    python: str = sys.executable
    subject: Path = ROOT
    environment: Mapping[str, str] = field(default_factory=dict)


class WorkerLost(Exception):
    """The worker died, hung or answered nonsense. `status` is what that makes of its case."""

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
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        words = [OWN_THREADS] if "OMP_NUM_THREADS" in side.environment else []
        # The user's own path last: torch itself may come from there.
        folders = [str(side.subject), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        path = os.pathsep.join(dict.fromkeys(folders))
        try:
            self._process = subprocess.Popen(
                [side.python, "-P", "-m", "bench.measure.worker", device, str(threads), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={**os.environ, "PYTHONPATH": path, **side.environment, **(environment or {})},
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise MachineError(f"cannot start {side.python}: {error.strerror}") from None
        self._buffer = b""
        self._decode = msgspec.json.Decoder(Reply).decode
        self._selector = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
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
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a dead worker is noticed when its words end
            self._process.stdin.write(msgspec.json.encode(request) + b"\n")
            self._process.stdin.flush()
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
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]

    def _hello(self, deadline_s: float) -> Hello:
        reply = self._reply(deadline_s)
        if not isinstance(reply, Hello):
            raise WorkerLost("failed", "it did not say hello first")
        return reply

    def _reply(self, deadline_s: float) -> Reply:
        line = self._read_line(deadline_s)
        try:
            reply: Reply = self._decode(line)
            return reply
        except msgspec.DecodeError as error:
            text = line[:80].decode(errors="replace")
            raise WorkerLost(
                "failed", f"the worker answered nonsense: {text!r} ({error})"
            ) from None

    def _read_line(self, deadline_s: float) -> bytes:
        assert self._process.stdout is not None
        deadline = time.monotonic() + deadline_s
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                raise WorkerLost("timeout", f"no answer within {deadline_s:.0f} s")
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise self._death()
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _death(self) -> WorkerLost:
        try:
            code = self._process.wait(TERMINATE_S)
        except subprocess.TimeoutExpired:
            return WorkerLost("failed", "the worker closed its output and went on running")
        if code < 0:
            name = _signal_name(-code)
            hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
            return WorkerLost(
                "killed", f"the worker was killed by {name}{hint}{self._last_words()}"
            )
        return WorkerLost("failed", f"the worker exited with status {code}{self._last_words()}")

    def _last_words(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1].strip()}" if lines else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals
        return f"signal {number}"
