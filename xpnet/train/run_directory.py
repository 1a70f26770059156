"""The files that a training run leaves behind."""

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from xpnet.errors import DirectoryTakenError, OutputError
from xpnet.files.atomic import make_directory, remove_unfinished, write_text
from xpnet.models import Network
from xpnet.models.together import save_networks
from xpnet.notice import quoted
from xpnet.report import plots
from xpnet.report.metrics import EpochMetrics, columns
from xpnet.train.checkpoint import Checkpoints

CHECKPOINTS, LOCK = "checkpoints", ".lock"
METRICS, SUMMARY = "metrics.csv", "summary.json"
MODEL, PICTURE = "model.safetensors", "learning_curve.png"
EVALUATION = "evaluation.json"
"""What `xpnet evaluate` measures of a run, later."""

Identity: TypeAlias = tuple[int, int] | None
"""Device and number of a file or directory; None if there is none."""


class RunDirectory:
    """A directory with `metrics.csv`, `summary.json`, `model.safetensors`, `learning_curve.png`.

    Each file is written whole or not at all. `metrics.csv` grows by a row after each epoch; the
    others are written at the end, the picture only where matplotlib is installed. While this
    process lives no other can open the directory.

    Parameters
    ----------
    path : a directory that is empty or does not exist yet
    resume : whether it is a run's, to go on with
    begin : whether, if so, it need not be one yet

    Attributes
    ----------
    absolute : the path, for whoever may be somewhere else

    Raises
    ------
    OutputError
        The directory holds something else, or no run to go on with, is in use, or cannot be created
        or written.
    """

    def __init__(self, path: str | Path, *, resume: bool = False, begin: bool = False) -> None:
        self.path = Path(path)
        from filelock import FileLock

        self._lock = FileLock(self.path / LOCK)
        self._own: tuple[Identity, Identity] | None = None
        try:
            self.absolute = self.path.absolute()
            _check(self.path, _names(self.path), resume, begin)
            self.claim()
            _check(self.path, _names(self.path) - {LOCK}, resume, begin=True)  # nobody was faster
        except OSError as error:
            self.close()
            if isinstance(error, OutputError):
                raise
            raise _unusable(self.path, error, "--resume" if resume else "--out") from error
        if resume:
            for file in (METRICS, SUMMARY, MODEL, PICTURE):
                remove_unfinished(self.path, file)
            remove_unfinished(self.path / CHECKPOINTS, "step-*")
        else:
            self.write_metrics([])

    def claim(self) -> None:
        """Make the directory and keep others out; again, should somebody have removed it.

        It is looked at before everything that is written: what is there now may be another's, which
        came when this one had been removed, and may have ended since.

        Raises
        ------
        DirectoryTakenError
            It is another run's by now.
        OutputError
            It is in use, or cannot be created or written.
        """
        from filelock import Timeout

        again = self._own is not None
        try:
            now = _identity(self.path), _identity(self.path / LOCK)
            if now == self._own:
                return
            if self._own is not None and self._is_others(now, self._own):
                raise self._taken()
            self._lock.release()
            make_directory(self.path)
            self._lock.acquire(timeout=0)
            self._own = _identity(self.path), _identity(self.path / LOCK)
            if again and now[0] is None and _names(self.path) - {LOCK}:  # somebody was faster
                raise self._taken()
        except OutputError:
            raise
        except Timeout as error:
            if again:
                raise self._taken() from error
            raise OutputError(
                f"another process is writing to {self.path}; wait for it, or choose another --out"
            ) from error
        except (OSError, NotImplementedError) as error:  # where files cannot be locked
            raise _unusable(self.path, error) from error

    def _is_others(self, now: tuple[Identity, Identity], own: tuple[Identity, Identity]) -> bool:
        """Tell whether somebody else has been here since; only the lock's file may be gone."""
        if now[0] == own[0]:
            return now[1] is not None
        return self.path.is_dir() and bool(_names(self.path))

    def _taken(self) -> DirectoryTakenError:
        return DirectoryTakenError(f"another run has taken {self.path} since this one began")

    def elsewhere(self) -> Iterator[Path]:
        """Make directories where a run can keep what it has, should this one be another's by now.

        One beside it, named after it, and one where the system keeps temporary files.
        """
        with suppress(OSError):
            for number in count(1):
                beside = self.absolute.with_name(f"{self.absolute.name}.lost-{number}")
                if not beside.exists():
                    make_directory(beside)
                    yield beside
                    break
        with suppress(OSError):
            yield Path(tempfile.mkdtemp(prefix="xpnet-lost-"))

    def write_metrics(self, history: Sequence[EpochMetrics]) -> None:
        """Write `metrics.csv`: a header and one row an epoch."""
        table = io.StringIO()
        writer = csv.DictWriter(table, columns(history), lineterminator="\n")
        writer.writeheader()
        writer.writerows(metrics.record() for metrics in history)
        write_text(self.path / METRICS, table.getvalue())

    def finish(
        self,
        networks: Mapping[str, Network],
        history: Sequence[EpochMetrics],
        summary: Mapping[str, Any],
        about: Mapping[str, Any],
    ) -> None:
        """Write the networks, the record and the picture, and last of all the summary.

        Parameters
        ----------
        about : what the file of several networks says of what they are, as in `save_networks`

        Raises
        ------
        DirectoryTakenError
            The directory is another run's by now.
        OutputError
            They cannot be written; the checkpoints are kept.
        """
        writing: list[Callable[[], object]] = [
            lambda: self.write_metrics(history),
            lambda: save_networks(self.path / MODEL, networks, about),
            lambda: write_json(self.path / SUMMARY, summary),
        ]
        if plots.available():
            writing.insert(2, lambda: plots.learning_curve(self.path / PICTURE, history))
        try:
            for write in writing:
                self.claim()
                write()
        except DirectoryTakenError:
            raise
        except OutputError as error:
            if not Checkpoints(self.path / CHECKPOINTS).paths():
                raise
            raise OutputError(
                f"{error}, or mend this one: --resume {quoted(self.path)} then writes what is "
                "missing"
            ) from error

    def close(self) -> None:
        """Let others open the directory."""
        self._lock.release()


def _identity(path: Path) -> Identity:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def check_new(path: Path) -> None:
    """Refuse a directory that holds something, before there is work for it; make nothing.

    Raises
    ------
    OutputError
        It is not empty, or cannot be looked at.
    """
    try:
        _check(path, _names(path), resume=False, begin=False)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise _unusable(path, error) from error


def _names(path: Path) -> set[str]:
    try:
        return {entry.name for entry in path.iterdir()}
    except FileNotFoundError:
        return set()


def _check(path: Path, names: set[str], resume: bool, begin: bool) -> None:
    """Refuse a directory that holds something else, or no run where one is needed."""
    if resume and Checkpoints(path / CHECKPOINTS).paths():
        return
    if resume:  # a run that was killed before its first checkpoint
        begun = (LOCK, METRICS, f".{METRICS}.", CHECKPOINTS)
        names = {name for name in names if not name.startswith(begun)}
    if names:
        telling = min(names, key=lambda name: (name.startswith("."), name))
        raise OutputError(
            f"{path} is not empty ({telling}) and holds no checkpoint to go on from; "
            + run_within(path, "choose another directory")
            if resume
            else f"{path} is not empty ({telling}), and no run is overwritten; choose "
            f"another --out, or go on with a run by --resume {quoted(path)}"
        )
    if resume and not begin:
        raise OutputError(
            f"{path} holds no run to go on with; give the directory of one, or --begin as "
            "well, to begin one there"
        )


def run_within(path: Path, otherwise: str) -> str:
    """Say which is the newest of the runs in a directory; where there is none, what to do."""
    runs = [Checkpoints(path / name / CHECKPOINTS).paths()[-1:] for name in _names(path)]
    newest = max((each[0] for each in runs if each), key=_when, default=None)
    if newest is None:
        return otherwise
    return f"give one of the runs in it, of which {newest.parent.parent} is the newest"


def _when(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _unusable(path: Path, error: Exception, option: str = "--out") -> OutputError:
    reason = getattr(error, "strerror", None) or error
    return OutputError(f"cannot create {path}: {reason}; choose another {option}")


def write_json(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, atomically."""
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
