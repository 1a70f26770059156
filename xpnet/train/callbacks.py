"""Callbacks: they look on while a Trainer trains."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from xpnet.arrays import Array, Device
from xpnet.layers import Params
from xpnet.notice import on_terminal
from xpnet.report.metrics import Direction, EpochMetrics, spoken
from xpnet.train.learner import Learner


class Training(Protocol):
    """A Trainer as a callback sees it.

    Attributes
    ----------
    learner, device : what is trained, and where
    last_epoch : the number of the epoch after which `train` returns, if it is not stopped
    """

    learner: Learner
    device: Device
    last_epoch: int

    @property
    def history(self) -> list[EpochMetrics]:
        """The metrics of every epoch so far."""

    @property
    def train_loss_list(self) -> list[float]:
        """Loss of every step of these epochs."""

    @property
    def steps(self) -> int:
        """Number of updates so far."""

    @property
    def steps_of_epoch(self) -> int:
        """Number of updates so far of an epoch that is not done and measured."""

    @property
    def directions(self) -> dict[str, Direction]:
        """The names in the history of all that is measured of an epoch, and when each is best."""

    def learned(self) -> Params:
        """Parameters and states of all networks, by names that begin with the network's."""

    def say(self, line: str) -> None:
        """Show a line, if anything is to be shown."""

    def stop(self, reason: str) -> None:
        """Let training end after this epoch."""


class Callback:
    """Called by a Trainer; one of your own has this as its base, and the methods that it needs.

    All are called in the order in which the trainer has them: `EarlyStopping` first, then its own
    that show how it goes, then yours. What they take is not counted as time of training. An error
    that one raises ends the training, as it is: after the steps and epochs done so far. Whoever was
    then still to be told of the epoch is told when training goes on; who raised it is not again.
    """

    def on_begin(self, trainer: Training) -> None:
        """`Trainer.train` was called, and begins."""

    def on_step(self, trainer: Training) -> None:
        """A step is done; where steps are replayed, so many as are recorded as one."""

    def on_epoch(self, trainer: Training, metrics: EpochMetrics) -> None:
        """An epoch is done and measured; `metrics` is the last of `trainer.history`."""

    def on_end(self, trainer: Training) -> None:
        """`Trainer.train` is about to return; not after an error."""

    def state(self) -> Mapping[str, Array]:
        """Return what a checkpoint must keep of it, as arrays by name."""
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up what `state` gave, as host arrays."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Calls(Callback):
    """Functions as a callback: what a Trainer's `on_step` and `on_epoch` are."""

    def __init__(
        self,
        on_step: Callable[[], object] | None,
        on_epoch: Callable[[EpochMetrics], object] | None,
    ) -> None:
        self._step, self._epoch = on_step, on_epoch

    def on_step(self, trainer: Training) -> None:
        """Call the function of steps."""
        if self._step is not None:
            self._step()

    def on_epoch(self, trainer: Training, metrics: EpochMetrics) -> None:
        """Call the function of epochs, with what was measured."""
        if self._epoch is not None:
            self._epoch(metrics)


class Progress(Callback):
    """A bar of the epoch's steps, on a terminal, and a line after each epoch."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_step(self, trainer: Training) -> None:
        """Move the bar; it is gone when the epoch is done."""
        total = len(trainer.learner.source)
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                desc=f"epoch {len(trainer.history) + 1}/{trainer.last_epoch}",
                unit="step",
                leave=False,
                disable=not on_terminal(sys.stderr),  # so that logs stay readable
                mininterval=0.2,
            )
        self._bar.update(trainer.steps_of_epoch - self._bar.n)
        if trainer.steps_of_epoch == total:
            self.close()

    def on_epoch(self, trainer: Training, metrics: EpochMetrics) -> None:
        """Show the line."""
        trainer.say(line_of(metrics))

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def line_of(metrics: EpochMetrics) -> str:
    """Write what was measured in one line: accuracies by the names of their data alone."""
    shown = [f"epoch {metrics.epoch:3d}"]
    for name, value in metrics.values.items():
        if name == "train_loss":
            shown.append(f"loss {value:.4f}")
        elif name in ("train_accuracy", "test_accuracy"):
            shown.append(f"{name.removesuffix('_accuracy')} {value:.4f}")
        else:
            shown.append(f"{spoken(name)} {value:.4g}")
    return "   ".join(shown)
