"""Writing files so that a reader never meets half of one."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xpnet.errors import OutputError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the directory of `path`; move it into place on success.

    On any error `path` is left as it was and the temporary file is removed.

    Raises
    ------
    OutputError
        The directory does not exist, cannot be written, or the disk is full.
    """
    path = Path(path)
    try:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{path.suffix}")
        # The usual permissions, less what the system takes by the umask. To ask for that is to
        # change it, for the files of all threads.
        temporary.touch(0o666, exist_ok=False)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
            _sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; "
            "choose a directory that exists, can be written and has room left"
        ) from error


def _sync_directory(path: Path) -> None:
    """Have a new name outlive a power cut, as what it names does.

    Some systems cannot, such as Windows; the file is in place all the same.
    """
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_unfinished(directory: Path, pattern: str) -> None:
    """Remove what `atomic_write` left of files of these names when its process was killed."""
    for file in directory.glob(f".{pattern}.*"):
        file.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
