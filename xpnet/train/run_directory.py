"""What a training run leaves behind."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from xpnet import plots
from xpnet.errors import OutputError
from xpnet.files import write_text
from xpnet.models import Network, save_network
from xpnet.train.trainer import EpochMetrics

CHECKPOINTS, LOCK = "checkpoints", ".lock"


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
        The directory holds something, is in use, or cannot be created or written.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        self._lock = FileLock(self.path / LOCK)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            occupied = [] if resume else [entry.name for entry in self.path.iterdir()]
            if not occupied:
                self._lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError(
                f"another process is writing to {self.path}; wait for it, or choose another --out"
            ) from error
        except OSError as error:
            raise OutputError(
                f"cannot create {self.path}: {error.strerror or error}; choose another --out"
            ) from error
        if resume:
            self._remove_unfinished()
        elif occupied:
            raise OutputError(
                f"{self.path} is not empty ({occupied[0]}), and no run is overwritten; "
                f"choose another --out, or go on with a run by --resume {self.path}"
            )
        else:
            self.write_metrics([])

    def _remove_unfinished(self) -> None:
        """Files that a killed process was writing."""
        for directory in (self.path, self.path / CHECKPOINTS):
            for file in directory.glob(".*"):
                if file.name != LOCK:
                    file.unlink()

    def write_metrics(self, history: Sequence[EpochMetrics]) -> None:
        """Write `metrics.csv`: a header and one row an epoch."""
        table = io.StringIO()
        writer = csv.DictWriter(
            table, [field.name for field in fields(EpochMetrics)], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(asdict(metrics) for metrics in history)
        write_text(self.path / "metrics.csv", table.getvalue())

    def finish(
        self,
        network: Network,
        model: str,
        arguments: Mapping[str, Any],
        history: Sequence[EpochMetrics],
        summary: Mapping[str, Any],
    ) -> None:
        """Write the network, the picture and, last of all, the summary."""
        save_network(self.path / "model.safetensors", network, model, arguments)
        if plots.available():
            plots.learning_curve(self.path / "learning_curve.png", history)
        write_json(self.path / "summary.json", summary)

    def close(self) -> None:
        """Let others open the directory."""
        self._lock.release()


def write_json(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, atomically."""
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
