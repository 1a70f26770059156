"""Checkpoints: files from which a run goes on."""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet.errors import CheckpointError, OutputError, WeightsError
from xpnet.files.atomic import make_directory, sync_directory
from xpnet.files.weights import load_safetensors, save_weights
from xpnet.train.record import check_record, told

FORMAT = 2
"""Number of the files' format. 0.1.0 wrote the first, which is read as well; others are refused.

1: one network, whose arrays are "params.W1", "state.*" and "optimizer.*", and one learning rate.
2: these names begin with the network's, "network.params.W1", and there is a rate for each
   optimizer. What decides which is the best stands in the record.
"""

NAME = re.compile(r"step-(\d{8,})\.safetensors")
BEST = ("test_accuracy", "max")
"""Name and direction of what decides which is the best, where the record does not say."""
SET_ASIDE = ".set-aside"
"""Ending of checkpoints that are newer than the one a run went on from; ".set-aside.1" and so on
where there is one of that name."""


class Checkpoint(NamedTuple):
    """Arrays and record of `Trainer.state`, and what else its run has to know."""

    arrays: dict[str, np.ndarray]
    record: dict[str, Any]
    path: Path

    def __repr__(self) -> str:
        steps = self.record.get("steps")
        return f"Checkpoint({str(self.path)!r}, {steps} steps, {len(self.arrays)} arrays)"

    @property
    def test_accuracy(self) -> float | None:
        """After the epoch that it was written after; None within an epoch, or if not measured."""
        return _measured(self.arrays, self.record).get("test_accuracy")


class Checkpoints:
    """The checkpoints of a run, `step-N.safetensors` for N steps.

    A file is written whole or not at all, and holds a checksum of all that is in it. The newest
    ones stay, and of those after an epoch the best one, by what the record says decides that.

    Parameters
    ----------
    directory : made when the first is saved
    keep : how many of the newest stay
    """

    def __init__(self, directory: Path, *, keep: int = 3) -> None:
        self.directory, self.keep = directory, keep
        self._best: tuple[float, Path] | None = None

    def __repr__(self) -> str:
        return f"Checkpoints({str(self.directory)!r}, keep={self.keep})"

    def paths(self) -> list[Path]:
        """All there are, the newest last."""
        found = (path for path in self.directory.glob("*") if NAME.fullmatch(path.name))
        return sorted(found, key=_steps)

    def save(self, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> Path:
        """Write a checkpoint, then remove what need not be kept.

        Raises
        ------
        OutputError
            It cannot be written; the older ones are left as they were.
        """
        path = self.directory / f"step-{record['steps']:08d}.safetensors"
        text = json.dumps({"format": FORMAT, **record}, sort_keys=True)
        try:
            make_directory(self.directory)
            save_weights(path, arrays, {"record": text, "sha256": _digest(arrays, text)})
            self._note(_score(arrays, record), path)
            for old in self.paths()[: -self.keep]:
                if self._best is None or old != self._best[1]:
                    old.unlink()
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(
                f"cannot write in {self.directory}: {error.strerror or error}; "
                "a directory that can be written is needed"
            ) from error
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
            return load_checkpoint(path)
        except CheckpointError as error:
            sound = next((old for old in reversed(older) if _loaded(old)), None)
            remedy = f"go on from the one before it: --resume {sound}" if sound else "begin anew"
            raise CheckpointError(f"{error}; {remedy}") from error

    def go_on_from(self, path: Path) -> None:
        """Let no newer one be taken for the newest, and find the best one again.

        Raises
        ------
        OutputError
            A newer one cannot be renamed.
        """
        self._best = None
        for other in self.paths():
            if _steps(other) > _steps(path):
                _set_aside(other)
            elif (found := _loaded(other)) is not None:
                self._note(_score(found.arrays, found.record), other)

    def _note(self, score: float | None, path: Path) -> None:
        if score is not None and (self._best is None or score > self._best[0]):
            self._best = score, path


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint and check that it is what was written.

    Raises
    ------
    CheckpointError
        There is no such file, or it is damaged, or no checkpoint, or of another format, or a field
        of its record is not what it must be.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        weights = load_safetensors(path)
    except WeightsError as error:
        raise CheckpointError(f"{path} is damaged, or no checkpoint: it cannot be read") from error
    text = weights.metadata.get("record", "")
    if weights.metadata.get("sha256") != _digest(weights.params, text):
        raise CheckpointError(f"{path} is damaged, or no checkpoint: its checksum does not fit")
    try:
        record = json.loads(text)
        form = record["format"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no checkpoint: its record cannot be read") from error
    if form not in (1, FORMAT):
        raise CheckpointError(
            f"{path} has format {told(form)}, and this version of xpnet reads 1 and {FORMAT}"
        )
    arrays = weights.params
    if form == 1:
        arrays, record = _of_format_1(arrays, record)
    check_record(path, record)
    if arrays.get("epoch_losses", np.zeros(())).ndim != 1:
        raise CheckpointError(f"{path} is no checkpoint: it has no row of epoch_losses")
    return Checkpoint(arrays, record, path)


def _of_format_1(
    arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Rename what 0.1.0 wrote as it is written now."""
    renamed = {f"network.{name}" if "." in name else name: a for name, a in arrays.items()}
    rates = {"lr": {"network": record["lr"]}} if "lr" in record else {}
    return renamed, {**record, **rates, "format": FORMAT, "best": list(BEST)}


def _steps(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _set_aside(path: Path) -> None:
    """Give it a name that no other file has."""
    aside = path.with_suffix(SET_ASIDE)
    for number in count(1):
        if not aside.exists():
            break
        aside = path.with_suffix(f"{SET_ASIDE}.{number}")
    try:
        path.rename(aside)
        sync_directory(path.parent)
    except OSError as error:
        raise OutputError(
            f"cannot rename {path} to {aside.name}: {error.strerror or error}; a directory that "
            "can be written is needed"
        ) from error


def _loaded(path: Path) -> Checkpoint | None:
    """A checkpoint, or None where it is damaged."""
    with suppress(CheckpointError):
        return load_checkpoint(path)
    return None


def _measured(arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> Mapping[str, Any]:
    """After the epoch that it was written after; nothing within an epoch."""
    within = not record["history"] or len(arrays["epoch_losses"])
    return {} if within else record["history"][-1]


def _score(arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> float | None:
    """The more the better; None where there is nothing to go by, of which NaN is none."""
    name, direction = record.get("best", BEST)
    value = _measured(arrays, record).get(name)
    if value is None or value != value:
        return None
    return float(value if direction == "max" else -value)


def _digest(arrays: Mapping[str, np.ndarray], text: str) -> str:
    """SHA-256 of everything, in the order of names."""
    found = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {arrays[name].shape}".encode())
        found.update(array.data)
    return found.hexdigest()
