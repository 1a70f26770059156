"""Ctrl-C and SIGTERM, heard but not obeyed at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from xpnet.errors import XPNetError

HEARD = (signal.SIGINT, signal.SIGTERM)


class Interrupted(XPNetError):  # noqa: N818, which is no error
    """A run was asked to stop, and has."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class Signals:
    """Remembers whether a signal has come.

    Attributes
    ----------
    number : of the first signal, or None
    """

    def __init__(self) -> None:
        self.number: int | None = None

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Note the first signal; a second one ends the process, as it would have without this."""
        before = {number: signal.getsignal(number) for number in HEARD}

        def note(number: int, _: FrameType | None) -> None:
            self.number = number
            for other, handler in before.items():
                signal.signal(other, handler)

        for number in HEARD:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Interrupts:
    """Ctrl-C in Python, noted while steps are taken; other handlers than Python's are left alone.

    Attributes
    ----------
    came : whether it has
    """

    def __init__(self) -> None:
        self.came = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Note the first Ctrl-C; a second one raises KeyboardInterrupt, as it always does."""
        self.came = False
        usual = signal.default_int_handler
        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not usual
        ):
            yield
            return

        def note(number: int, _: FrameType | None) -> None:
            self.came = True
            signal.signal(number, usual)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, usual)
