"""Ends that are asked for: all of them do what Ctrl-C does, so that nothing is left behind."""

import signal
from types import FrameType


def end_as_if_interrupted() -> None:
    """Have SIGTERM raise KeyboardInterrupt in the main thread, from now on."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
