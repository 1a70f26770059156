"""The command line, of which nothing is loaded before Ctrl-C can end that in one line."""

import os
import signal
from contextlib import suppress
from importlib import import_module
from types import FrameType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xpnet.cli.entry import USAGE_ERROR, commands

__all__ = ["USAGE_ERROR", "commands", "main"]

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def main() -> None:
    """Run the command line.

    Loading it takes a good part of a second. Ctrl-C in that time would come out of a library's
    depths, with all of Python's lines. What comes before this, Python itself, is out of reach.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with suppress(ValueError):  # of a thread that may not
        if usual:
            signal.signal(signal.SIGINT, _end)
    try:
        from xpnet.cli.entry import run
    except BaseException:
        _obey(usual)
        raise
    run(lambda: _obey(usual))


def _obey(usual: bool) -> None:
    """Let Ctrl-C be an exception again."""
    with suppress(ValueError):
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    """End the process, which has nothing to lose yet."""
    with suppress(OSError):
        os.write(2, b"xpnet: interrupted\n")
    os._exit(INTERRUPTED)


def __getattr__(name: str) -> object:
    """What `entry` has, and the commands' files."""
    if name in __all__:
        return getattr(import_module("xpnet.cli.entry"), name)
    if not name.startswith("_"):
        try:
            return import_module(f"xpnet.cli.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"xpnet.cli.{name}":
                raise
    raise AttributeError(f"module 'xpnet.cli' has no attribute {name!r}")
