"""Writing files so that a reader never meets half of one."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, ENOSYS, ENOTSUP, EOPNOTSUPP
from pathlib import Path
from tempfile import TemporaryDirectory

from xpnet.errors import OutputError

NAME = 100
"""Bytes of a name that are in a temporary one; a whole one could be too long with more to it."""
NO_SYNC = {EINVAL, ENOSYS, ENOTSUP, EOPNOTSUPP}
"""Errors of systems that have no way to tell that something is on the disk."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the directory of `path`; move it into place on success.

    On any error `path` is left as it was and the temporary file is removed. Where `path` is a link,
    the file that it leads to is written. What is no file, such as /dev/null or a pipe, is written
    into at the end: it must not be replaced by a file.

    Raises
    ------
    OutputError
        The directory does not exist, cannot be written, or the disk is full or fails.
    """
    path = Path(path)
    try:
        place = Path(os.path.realpath(path))
        if place.exists() and not (place.is_file() or place.is_dir()):
            with TemporaryDirectory() as elsewhere:
                temporary = Path(elsewhere, path.name)
                temporary.touch()
                yield temporary
                place.write_bytes(temporary.read_bytes())
            return
        name = os.fsencode(path.name)[:NAME].decode(errors="ignore")
        suffix = path.suffix if len(path.suffix) < 20 else ""  # by which libraries know a format
        temporary = place.parent / f".{name}.{secrets.token_hex(4)}{suffix}"
        # The usual permissions, less what the system takes by the umask. To ask for that is to
        # change it, for the files of all threads.
        temporary.touch(0o666, exist_ok=False)
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(place)
            sync_directory(place.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; "
            "choose a directory that exists, can be written and has room left"
        ) from error


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, so that they outlive a power cut.

    Raises
    ------
    OSError
        As `Path.mkdir`; it may be there already.
    """
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_directory(each.parent)


def sync_directory(path: Path) -> None:
    """Have new names in a directory outlive a power cut, as what they name does.

    Raises
    ------
    OSError
        The disk fails. Some systems cannot do it, such as Windows, and directories that may only be
        written into cannot be opened for it: then nothing is done.
    """
    with suppress(PermissionError):
        _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(handle)


def remove_unfinished(directory: Path, pattern: str) -> None:
    """Remove what `atomic_write` left of files of these names when its process was killed."""
    for file in directory.glob(f".{pattern}.*"):
        file.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    r"""Write `text` as UTF-8, atomically.

    Names of files that are not UTF-8 have half characters in them; these are written as escapes,
    \udcff for instance, which JSON reads as what they were.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
