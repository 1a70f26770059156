"""A new directory in which a command keeps what it makes of pictures."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from xpnet.cli.checks import check_writable
from xpnet.errors import OutputError
from xpnet.files.atomic import make_directory, write_text


class Kept:
    """Files of a command; the directory is made for the first of them.

    Parameters
    ----------
    out : the directory; runs/DATE-TIME-COMMAND if None
    command : whose files they are
    ending : of a picture's file, behind its stem; see `stem`

    Attributes
    ----------
    count : pictures that have a stem

    Raises
    ------
    OutputError
        There is something in the directory: no results are written over. Or nothing can be written.
    """

    def __init__(self, out: str | None, command: str, ending: str) -> None:
        self.directory = Path(out or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{command}")
        self.count, self._ending = 0, ending
        check_writable(self.directory, "--out")
        if self.directory.is_dir() and any(self.directory.iterdir()):
            raise OutputError(f"{self.directory} is not empty; choose another --out")

    def stem(self, stem: str) -> str:
        """How the files of a picture begin: its name, with a number if another has it, too."""
        if not self.count:
            try:
                make_directory(self.directory)
            except OSError as error:
                raise OutputError(
                    f"cannot create {self.directory}: {error.strerror}; choose another --out"
                ) from error
        self.count += 1
        found, number = stem, self.count
        while (self.directory / f"{found}{self._ending}").exists():
            found, number = f"{stem}-{number}", number + 1
        return found

    def write(self, name: str, what: Any) -> None:
        """Write something as JSON."""
        write_text(self.directory / name, json.dumps(what) + "\n")
