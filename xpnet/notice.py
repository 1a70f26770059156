"""Lines for the user; what cannot be written, or not be shown as it is, ends no work."""

import io
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import TextIO

from xpnet.errors import shown


def notice(line: str) -> None:
    """Tell the user something on standard error; where nobody reads that, nothing is lost."""
    with suppress(OSError):
        _put(f"xpnet: {' '.join(part.strip() for part in line.splitlines())}", sys.stderr)


def show(line: str) -> None:
    """Show a line on standard output; that it cannot be written is told once, if it is read."""
    try:
        _put(line, sys.stdout)
    except BrokenPipeError:
        pass
    except OSError as error:
        _warn(f"warning: standard output cannot be written: {error.strerror or error}")


def quoted(path: str | Path) -> str:
    """Write a path so that a shell takes it as it is, whatever bytes are in its name."""
    text = str(path)
    if text.isprintable():
        return shlex.quote(text)
    plain = set(range(32, 127)) - set(b"'\\")
    each = (chr(byte) if byte in plain else f"\\{byte:03o}" for byte in os.fsencode(text))
    return f"$'{''.join(each)}'"


def on_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal, which one that is closed or None is not."""
    with suppress(OSError, ValueError):
        return stream is not None and stream.isatty()
    return False


@cache
def _warn(line: str) -> None:
    notice(line)


def _put(line: str, stream: TextIO | None) -> None:
    with suppress(ValueError):  # a stream that is closed
        if stream is not None:
            print(_fitting(line, stream), file=stream, flush=True)


def _fitting(text: str, stream: TextIO) -> str:
    """Escape what is not printable, and what the stream's encoding lacks."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    lines = "\n".join(map(shown, text.split("\n")))
    return lines.encode(encoding, "backslashreplace").decode(encoding)


class Output(io.TextIOBase):
    """Standard output that raises no error: a command ends its work, and looks at `error` then.

    Parameters
    ----------
    stream : what is written to; nothing if None

    Attributes
    ----------
    error : of the first write that failed; nothing is written after it
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.error: OSError | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """UTF-8: any text can be written, if need be by escapes."""
        return "utf-8"

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return on_terminal(self._stream)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Write a text."""
        if (stream := self._stream) is not None:
            fitting = _fitting(text, stream)
            self._tried(lambda: stream.write(fitting))
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        if self._stream is not None:
            self._tried(self._stream.flush)

    def _tried(self, act: Callable[[], object]) -> None:
        try:
            if self.error is None:
                act()
        except OSError as error:
            self.error = error
            with suppress(OSError, ValueError):  # or Python would try it again at its end
                _lead_nowhere(self._stream.fileno() if self._stream else None)
        except ValueError:  # it is closed
            self._stream = None


@contextmanager
def standard_output() -> Iterator[Output]:
    """Let standard output be an `Output`.

    Descriptors 0 to 2 that are closed are opened: a file would be taken for one of them otherwise.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _lead_nowhere(number)
    output = Output(sys.stdout)
    with redirect_stdout(None if sys.stdout is None else output):
        try:
            yield output
        finally:
            output.flush()


def _lead_nowhere(number: int | None) -> None:
    if number is None:
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != number:
        os.dup2(nothing, number)
        os.close(nothing)
    else:
        os.set_inheritable(number, True)
