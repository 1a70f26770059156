"""The errors that xpnet raises for anything a user can cause.

Every message says what was needed, what came and what to do. Each class is also the built-in
error that fits it, so that `except ValueError` works where a reader expects it to.
"""


def shown(text: str) -> str:
    """Escape what is no printable character: a text of a file must not move a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class XPNetError(Exception):
    """Any error that xpnet raises on purpose; the command line turns it into one line."""

    def __str__(self) -> str:
        """The message, in which names and texts of files have no control characters."""
        return "\n".join(map(shown, super().__str__().split("\n")))


class ArgumentError(XPNetError, ValueError):
    """An argument, a shape or a dtype that the function cannot work with."""


class DeviceError(XPNetError, RuntimeError):
    """The device that was asked for cannot be used here."""


class DeviceMemoryError(DeviceError, MemoryError):
    """The device has too little free memory."""


class EngineError(XPNetError, RuntimeError):
    """An engine that was asked for cannot compute a network, or computes it wrongly."""


class DivergedError(XPNetError, ArithmeticError):
    """Training has come to numbers that are no numbers."""


class TrainingError(XPNetError, RuntimeError):
    """A training that was broken off where it cannot go on from."""


class CheckpointError(XPNetError, ValueError):
    """A checkpoint that is damaged, or of another run."""


class DataError(XPNetError, ValueError):
    """A data file or picture that is damaged, or is not what it should be."""


class DataNotFoundError(DataError, FileNotFoundError):
    """Data that was asked for and cannot be found or fetched."""


class WeightsError(XPNetError, ValueError):
    """A weight file that cannot be read, or that does not fit the network."""


class OutputError(XPNetError, OSError):
    """A file or directory that cannot be written."""


class DirectoryTakenError(OutputError):
    """A run's directory that is another run's by now."""
