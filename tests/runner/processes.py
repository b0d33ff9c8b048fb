"""Whether a process has ended."""

import time

import psutil

PATIENCE_S = 30.0


def is_gone(pid: int) -> bool:
    """Whether it has ended, or does so soon; one that only waits to be reaped has."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False
