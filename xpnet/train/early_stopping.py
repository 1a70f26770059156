"""Early stopping: the end of training before the network learns its data by heart."""

import gc
from collections.abc import Mapping, Sequence
from functools import partial
from math import inf, nan
from typing import Any
from weakref import ReferenceType, ref

import numpy as np

from xpnet.arguments import checked, real, whole
from xpnet.arrays import Array, array_namespace
from xpnet.errors import ArgumentError, CheckpointError
from xpnet.report.metrics import DIRECTIONS, Direction, EpochMetrics
from xpnet.train.callbacks import Callback, Training


class EarlyStopping(Callback):
    """Stop when what is measured, such as the test accuracy, has not improved for some epochs.

    An epoch is an improvement if it is more than `min_delta` better than the last improvement; NaN
    is none. Nothing but the best parameters, where they are asked for, is remembered between calls,
    so that the answer depends on the record of a run alone.

    What decides when to stop has had a part in training. For an honest test, hand a validation set
    to `Trainer` as its test set (section 6.5.1), and keep the test images out.

    Parameters
    ----------
    patience : epochs without an improvement, after which training stops
    min_delta : what an improvement must be more than
    metric : any name in the trainer's history; "train_loss" where there is nothing to test with
    direction : "max" or "min", for which the best value is the largest or the smallest; known of
        what the trainer's learner measures
    restore_best : put parameters and state of the best epoch's networks back when training ends,
        stopped or not; what optimizers keep stays as it is. It takes room for a copy of them, in
        memory and in checkpoints.

    Attributes
    ----------
    restored : the epoch that was put back, from 1; None before

    Raises
    ------
    ArgumentError
        A number or a direction is none, or the trainer measures nothing of that name.
    """

    @partial(checked, but=("patience", "min_delta"))
    def __init__(
        self,
        patience: int,
        min_delta: float = 0.0,
        *,
        metric: str = "test_accuracy",
        direction: Direction | None = None,
        restore_best: bool = False,
    ) -> None:
        numbers = whole(patience) and real(min_delta)
        if not numbers or not patience >= 1 or not 0 <= min_delta < inf:
            raise ArgumentError(
                "early stopping needs a patience of at least 1 epoch and a min_delta of 0 or more, "
                f"got patience={patience!r}, min_delta={min_delta!r}"
            )
        self.patience, self.min_delta, self.metric = patience, min_delta, metric
        self.direction, self.restore_best = direction, restore_best
        self.restored: int | None = None
        self._found: Direction | None = None  # by the trainer that it serves
        # The best parameters, and of which epoch; None where an old checkpoint does not say
        self._kept: tuple[int | None, dict[str, Array]] = (0, {})
        self._serves: ReferenceType[Training] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has; it is another trainer's."""
        return {**self.__dict__, "_serves": None}

    def __repr__(self) -> str:
        return (
            f"EarlyStopping({self.patience}, {self.min_delta}, metric={self.metric!r}, "
            f"direction={self.direction!r}, restore_best={self.restore_best})"
        )

    def best_epoch(self, values: Sequence[float]) -> int:
        """The epoch of the last improvement, from 1; 0 before the first epoch."""
        sign = 1 if self._direction() == "max" else -1
        best, best_epoch = -inf, 0
        for epoch, value in enumerate(values, start=1):
            if sign * value > best + self.min_delta:
                best, best_epoch = sign * value, epoch
        return best_epoch

    def is_over(self, values: Sequence[float]) -> bool:
        """Tell whether training should end, from what was measured after every epoch so far."""
        return len(values) - self.best_epoch(values) >= self.patience

    def check(self, trainer: Training) -> None:
        """Find out what the trainer's metric is, and serve it; one that begins anew takes over.

        Raises
        ------
        ArgumentError
            It has no metric of that name, or has epochs behind it and another trainer is served.
        """
        known = trainer.directions
        if self.metric not in known:
            raise ArgumentError(
                f"early stopping watches {self.metric}, and there is none; there are "
                f"{', '.join(known)}: give one of them, as metric={next(iter(known))!r}"
            )
        if self._serves is not None and self._serves() is not trainer:
            if trainer.history and self._serves() is not None:
                gc.collect()  # of what is garbage, only a circle of references may be left
            if trainer.history and self._serves() is not None:
                raise ArgumentError(
                    f"{self!r} serves another trainer by now, whose best parameters it may keep; "
                    "give each trainer one of its own"
                )
            self._kept, self.restored = (0, {}), None
        self._serves = ref(trainer)
        self._found = known[self.metric]

    def on_begin(self, trainer: Training) -> None:
        """Stop at once what is already over, such as a run that went on."""
        self.check(trainer)
        if not trainer.history:
            self._kept, self.restored = (0, {}), None
        self._check_kept(trainer)
        self._look(trainer)

    def on_epoch(self, trainer: Training, metrics: EpochMetrics) -> None:
        """Keep what is the best so far, and stop what is over."""
        self.check(trainer)
        values = self._values(trainer)
        if self.restore_best and self.best_epoch(values) == len(values):
            best = {name: _copy(array) for name, array in trainer.learned().items()}
            self._kept = len(values), best
        self._look(trainer)

    def on_end(self, trainer: Training) -> None:
        """Put the best back, if that was asked for."""
        values = self._values(trainer)
        epoch = self.best_epoch(values)
        if not (self.restore_best and epoch):
            return
        self._check_kept(trainer)
        for name, array in trainer.learned().items():
            array[...] = trainer.device.asarray(self._kept[1][name])
        self.restored = epoch
        trainer.say(
            f"the parameters are those of epoch {epoch} again, with a {self._metric_in_words} of "
            f"{values[epoch - 1]:.4f}"
        )

    def state(self) -> Mapping[str, Array]:
        """The best parameters and state so far, if they are to be put back."""
        epoch, best = self._kept
        return {**best, "epoch": np.asarray(epoch)} if best and epoch is not None else best

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take them up.

        Raises
        ------
        CheckpointError
            They are not of the trainer that it serves.
        """
        best = dict(state)
        epoch = best.pop("epoch", None)
        if epoch is not None and (epoch.shape or epoch.dtype.kind not in "iu" or epoch < 1):
            raise CheckpointError(
                f"the epoch that early stopping keeps must be a number from 1, got {epoch!r}; take "
                "another checkpoint"
            )
        trainer = None if self._serves is None else self._serves()
        if best and trainer is not None and _kinds(best) != _kinds(trainer.learned()):
            raise CheckpointError(
                "what early stopping keeps is of other networks; take another checkpoint, or build "
                "them as they were"
            )
        self._kept = (None if best else 0) if epoch is None else int(epoch), best

    def _check_kept(self, trainer: Training) -> None:
        """Refuse to put back what is not of the best epoch."""
        best = self.best_epoch(self._values(trainer))
        if self.restore_best and self._kept[0] is None:
            self._kept = best, self._kept[1]
        if self.restore_best and best and self._kept[0] != best:
            raise ArgumentError(
                f"early stopping is to put the best epoch back, and what epoch {best} learned was "
                "not kept; leave restore_best out, or begin anew"
            )

    def _look(self, trainer: Training) -> None:
        values = self._values(trainer)
        if values and self.is_over(values):
            best = self.best_epoch(values)
            moved = "risen" if self._direction() == "max" else "fallen"
            reached = f", {values[best - 1]:.4f}" if best else ""
            trainer.stop(f"the {self._metric_in_words} has not {moved} since epoch {best}{reached}")

    def _values(self, trainer: Training) -> list[float]:
        return [metrics.values.get(self.metric, nan) for metrics in trainer.history]

    def _direction(self) -> Direction:
        """Its own direction, or else the learner's metric's, or the library's by that name."""
        found = self.direction or self._found or DIRECTIONS.get(self.metric.partition("_")[2])
        if found is None:
            raise ArgumentError(
                f"whether the best {self.metric} is the largest or the smallest is not known; give "
                "direction='max' or 'min'"
            )
        return found

    @property
    def _metric_in_words(self) -> str:
        return self.metric.replace("_", " ")


def _kinds(arrays: Mapping[str, Array]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtypes and shapes."""
    return {k: (str(a.dtype).rpartition(".")[2], tuple(a.shape)) for k, a in arrays.items()}


def _copy(array: Array) -> Array:
    return array_namespace(array).asarray(array, copy=True)
