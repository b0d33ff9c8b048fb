"""Signals that end the command: all as Ctrl-C does, by an exception."""

import signal
from types import FrameType


class Terminated(KeyboardInterrupt):
    """Another signal than that of Ctrl-C asked the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def interruption_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """The interruption that an error is, or in whose handling it was raised, as of a terminal that
    was closed; None where there is none."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return error
        error = error.__context__
    return None


def interrupted_status(interruption: BaseException) -> int:
    """The exit status of a command that was interrupted so, as a shell has it."""
    number = interruption.number if isinstance(interruption, Terminated) else signal.SIGINT
    return 128 + number


def raise_on_signals() -> None:
    """Have SIGTERM and a closed terminal raise Terminated from now on, so that what was measured is
    kept and no worker is left behind."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, end)
