"""What a run has come to, kept in files from which it goes on."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet.errors import CheckpointError, OutputError, WeightsError
from xpnet.weights import load_weights, save_weights

FORMAT = 1
"""Of the files; another one is refused."""

NAME = re.compile(r"step-(\d{8,})\.safetensors")


class Checkpoint(NamedTuple):
    """Arrays and record of `Trainer.state`, and what else its run has to know."""

    arrays: dict[str, np.ndarray]
    record: dict[str, Any]
    path: Path


class Checkpoints:
    """The checkpoints of a run, `step-N.safetensors` for N steps.

    A file is written whole or not at all, and holds a checksum of all that is in it. The newest
    ones stay, and of those after an epoch the one with the best test accuracy.

    Parameters
    ----------
    directory : made when the first is saved
    keep : how many of the newest stay
    """

    def __init__(self, directory: Path, *, keep: int = 3) -> None:
        self.directory, self.keep = directory, keep
        self._best: tuple[float, Path] | None = None

    def paths(self) -> list[Path]:
        """All there are, the newest last."""
        try:
            found = [path for path in self.directory.iterdir() if NAME.fullmatch(path.name)]
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda path: int(path.stem.partition("-")[2]))

    def save(self, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> Path:
        """Write a checkpoint, then remove what need not be kept.

        Raises
        ------
        OutputError
            It cannot be written; the older ones are left as they were.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot create {self.directory}: {error.strerror or error}; choose another --out"
            ) from error
        path = self.directory / f"step-{record['steps']:08d}.safetensors"
        text = json.dumps({"format": FORMAT, **record}, sort_keys=True)
        save_weights(path, arrays, {"record": text, "sha256": _digest(arrays, text)})
        accuracies = [metrics["test_accuracy"] for metrics in record["history"]]
        if accuracies and not len(arrays["epoch_losses"]):
            best = self._best or (-1.0, path)
            if accuracies[-1] > best[0]:
                self._best = accuracies[-1], path
        for old in self.paths()[: -self.keep]:
            if self._best is None or old != self._best[1]:
                old.unlink(missing_ok=True)
        return path

    def newest(self) -> Checkpoint | None:
        """The last one, or None if there is none.

        Raises
        ------
        CheckpointError
            It is damaged; the message names the one before it that is not.
        """
        if not (paths := self.paths()):
            return None
        *older, path = paths
        try:
            found = load_checkpoint(path)
        except CheckpointError as error:
            sound = next((old for old in reversed(older) if _is_sound(old)), None)
            remedy = f"go on from the one before it: --resume {sound}" if sound else "begin anew"
            raise CheckpointError(f"{error}; {remedy}") from error
        self._remember_best()
        return found

    def _remember_best(self) -> None:
        """Find the best one again."""
        for path in self.paths():
            if not _is_sound(path):
                continue
            arrays, record, _ = load_checkpoint(path)
            if record["history"] and not len(arrays["epoch_losses"]):
                accuracy = record["history"][-1]["test_accuracy"]
                if self._best is None or accuracy > self._best[0]:
                    self._best = accuracy, path


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint and check that it is what was written.

    Raises
    ------
    CheckpointError
        There is no such file, or it is damaged, or no checkpoint, or of another format.
    """
    path = Path(path)
    try:
        weights = load_weights(path)
    except WeightsError as error:
        raise CheckpointError(f"{path} cannot be used as a checkpoint: {error}") from error
    text = weights.metadata.get("record", "")
    if weights.metadata.get("sha256") != _digest(weights.params, text):
        raise CheckpointError(f"{path} is damaged, or no checkpoint: its checksum does not fit")
    record = json.loads(text)
    if record["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has format {record['format']}, and this version of xpnet reads {FORMAT}"
        )
    return Checkpoint(weights.params, record, path)


def _is_sound(path: Path) -> bool:
    try:
        load_checkpoint(path)
    except CheckpointError:
        return False
    return True


def _digest(arrays: Mapping[str, np.ndarray], text: str) -> str:
    """SHA-256 of everything, in the order of names."""
    found = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {arrays[name].shape}".encode())
        found.update(array.data)
    return found.hexdigest()
