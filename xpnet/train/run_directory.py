"""The files that a training run leaves behind."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from xpnet.errors import OutputError
from xpnet.files.atomic import remove_unfinished, write_text
from xpnet.models import Network
from xpnet.report import plots
from xpnet.report.metrics import EpochMetrics, columns

CHECKPOINTS, LOCK = "checkpoints", ".lock"
METRICS, SUMMARY = "metrics.csv", "summary.json"
MODEL, PICTURE = "model.safetensors", "learning_curve.png"


class RunDirectory:
    """A directory with `metrics.csv`, `summary.json`, `model.safetensors`, `learning_curve.png`.

    Each file is written whole or not at all. `metrics.csv` grows by a row after each epoch; the
    others are written at the end, the picture only where matplotlib is installed. While this
    process lives no other can open the directory.

    Parameters
    ----------
    path : a directory that is empty or does not exist yet
    resume : whether it may hold a run, to go on with

    Raises
    ------
    OutputError
        The directory holds something else, is in use, or cannot be created or written.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        self._lock = FileLock(self.path / LOCK)
        try:
            names = sorted(entry.name for entry in self.path.iterdir())
        except FileNotFoundError:
            names = []
        except OSError as error:
            raise self._unusable(error) from error
        if resume and any((self.path / CHECKPOINTS).glob("step-*")):
            names = []
        elif resume:  # a run that was killed before its first checkpoint
            begun = (LOCK, METRICS, f".{METRICS}.", CHECKPOINTS)
            names = [name for name in names if not name.startswith(begun)]
        if names:
            raise OutputError(
                f"{self.path} is not empty ({names[0]}) and holds no checkpoint to go on from; "
                "choose another directory"
                if resume
                else f"{self.path} is not empty ({names[0]}), and no run is overwritten; "
                f"choose another --out, or go on with a run by --resume {self.path}"
            )
        self.claim()
        if resume:
            for file in (METRICS, SUMMARY, MODEL, PICTURE):
                remove_unfinished(self.path, file)
            remove_unfinished(self.path / CHECKPOINTS, "step-*")
        else:
            self.write_metrics([])

    def claim(self) -> None:
        """Make the directory and keep others out; again, should somebody have removed it.

        Raises
        ------
        OutputError
            It is in use, or cannot be created or written.
        """
        if self._lock.is_locked and (self.path / LOCK).exists():
            return
        self._lock.release()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError(
                f"another process is writing to {self.path}; wait for it, or choose another --out"
            ) from error
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot create {self.path}: {error.strerror or error}; choose another --out"
        )

    def write_metrics(self, history: Sequence[EpochMetrics]) -> None:
        """Write `metrics.csv`: a header and one row an epoch."""
        table = io.StringIO()
        writer = csv.DictWriter(table, columns(history), lineterminator="\n")
        writer.writeheader()
        writer.writerows(metrics.record() for metrics in history)
        write_text(self.path / METRICS, table.getvalue())

    def finish(
        self,
        network: Network,
        history: Sequence[EpochMetrics],
        summary: Mapping[str, Any],
    ) -> None:
        """Write the network, the record and the picture, and last of all the summary.

        Raises
        ------
        OutputError
            They cannot be written; the checkpoints are kept.
        """
        try:
            self.claim()
            self.write_metrics(history)
            network.save_params(self.path / MODEL)
            if plots.available():
                plots.learning_curve(self.path / PICTURE, history)
            write_json(self.path / SUMMARY, summary)
        except OutputError as error:
            raise OutputError(
                f"{error}, or mend this one: --resume {self.path} then writes what is missing"
            ) from error

    def close(self) -> None:
        """Let others open the directory."""
        self._lock.release()


def write_json(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, atomically."""
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
