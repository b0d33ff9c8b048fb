"""One measurement at a time on a machine: a second one would disturb the times of both."""

import contextlib
from collections.abc import Callable, Iterator

from filelock import FileLock, Timeout

from ..errors import MachineError
from ..machine.fingerprint import Machine
from ..options import MEASURE, REFUSE, WAIT
from .state import state_folder


@contextlib.contextmanager
def exclusive(machine: Machine, if_busy: str, say: Callable[[str], None]) -> Iterator[bool]:
    """Hold the machine while measuring; the value is whether another command measures meanwhile.

    That is known of this user's commands, in this container. Raises MachineError where another one
    is measuring and `if_busy` is to refuse.
    """
    path = state_folder() / "measuring" / f"{machine.identity or machine.name}.lock"
    lock = FileLock(path)
    busy = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if if_busy == REFUSE:
                raise MachineError(
                    "another measurement is running on this machine: wait until it has ended"
                ) from None
            if if_busy == WAIT:
                say(
                    "another measurement is running on this machine: waiting until it has ended "
                    f"(--if-busy {REFUSE} ends, {MEASURE} goes on beside it)"
                )
                lock.acquire(poll_interval=1)
            busy = if_busy == MEASURE
    except (OSError, NotImplementedError) as error:  # the latter of a file system without locks
        say(f"measuring without the lock that keeps others out: cannot lock {path}: {error}")
    try:
        yield busy
    finally:
        lock.release()
