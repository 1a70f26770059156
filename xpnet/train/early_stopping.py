"""Early stopping: the end of training before the network learns its data by heart."""

from collections.abc import Mapping, Sequence
from math import inf, nan

import numpy as np

from xpnet.arrays import Array, array_namespace
from xpnet.errors import ArgumentError
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

    def __init__(
        self,
        patience: int,
        min_delta: float = 0.0,
        *,
        metric: str = "test_accuracy",
        direction: Direction | None = None,
        restore_best: bool = False,
    ) -> None:
        if patience < 1 or not min_delta >= 0:
            raise ArgumentError(
                "early stopping needs a patience of at least 1 epoch and a min_delta of 0 or more, "
                f"got patience={patience}, min_delta={min_delta}"
            )
        if direction not in ("max", "min", None):
            raise ArgumentError(f"direction must be 'max' or 'min', got {direction!r}")
        self.patience, self.min_delta, self.metric = patience, min_delta, metric
        self.direction, self.restore_best = direction, restore_best
        self.restored: int | None = None
        self._found: Direction | None = None  # by the trainer that it serves
        self._best: dict[str, Array] = {}

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
        """Find out what the trainer's metric is, or say that it has none of that name."""
        known = trainer.directions
        if self.metric not in known:
            raise ArgumentError(
                f"early stopping watches {self.metric}, and there is none; there are "
                f"{', '.join(known)}: give one of them, as metric={next(iter(known))!r}"
            )
        self._found = known[self.metric]

    def on_begin(self, trainer: Training) -> None:
        """Stop at once what is already over, such as a run that went on."""
        self.check(trainer)
        if not trainer.history:  # and not another one's that this has served before
            self._best, self.restored = {}, None
        elif self.restore_best and not self._best:
            raise ArgumentError(
                f"early stopping is to put the best epoch back, and what epoch "
                f"{self.best_epoch(self._values(trainer))} learned was not kept; leave "
                "restore_best out, or begin anew"
            )
        self._look(trainer)

    def on_epoch(self, trainer: Training, metrics: EpochMetrics) -> None:
        """Keep what is the best so far, and stop what is over."""
        values = self._values(trainer)
        if self.restore_best and self.best_epoch(values) == len(values):
            self._best = {name: _copy(array) for name, array in trainer.learned().items()}
        self._look(trainer)

    def on_end(self, trainer: Training) -> None:
        """Put the best back, if that was asked for."""
        values = self._values(trainer)
        epoch = self.best_epoch(values)
        if not (self.restore_best and self._best and epoch):
            return
        for name, array in trainer.learned().items():
            array[...] = trainer.device.asarray(self._best[name])
        self.restored = epoch
        trainer.say(
            f"the parameters are those of epoch {epoch} again, with a {self._metric_in_words} of "
            f"{values[epoch - 1]:.4f}"
        )

    def state(self) -> Mapping[str, Array]:
        """The best parameters and state so far, if they are to be put back."""
        return self._best

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take them up."""
        self._best = dict(state)

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


def _copy(array: Array) -> Array:
    return array_namespace(array).asarray(array, copy=True)
