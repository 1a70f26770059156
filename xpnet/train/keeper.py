"""A run that can be stopped at any time, and goes on."""

import time
from collections.abc import Callable
from typing import Any

from xpnet.errors import OutputError
from xpnet.train.checkpoint import Checkpoints
from xpnet.train.signals import Interrupted, Signals
from xpnet.train.trainer import EpochMetrics, Trainer


class Keeper:
    """Saves a trainer's state after every epoch, and more often if wanted, and when it is stopped.

    A checkpoint that cannot be written, because the disk is full for instance, does not end the
    training: `tell` says so, and the next one is tried.

    Parameters
    ----------
    trainer : whose `on_epoch` and `on_step` this takes
    checkpoints : where they are kept
    run : what a checkpoint has to hold besides, to be known again
    every_steps, every_minutes : in an epoch, too
    after_epoch : called after every epoch before its state is saved
    tell : shows a line
    """

    def __init__(
        self,
        trainer: Trainer,
        checkpoints: Checkpoints,
        run: dict[str, Any],
        *,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        after_epoch: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        self.trainer, self.checkpoints, self.run = trainer, checkpoints, run
        self.every_steps, self.every_minutes = every_steps, every_minutes
        self._after_epoch, self._tell = after_epoch, tell
        self._signals = Signals()
        self._saved_steps, self._saved_at = trainer.steps, time.monotonic()
        trainer.on_epoch, trainer.on_step = self._epoch, self._step

    def train(self) -> list[EpochMetrics]:
        """Train to the end.

        Raises
        ------
        Interrupted
            SIGINT or SIGTERM came; the step it came in was finished and its state saved.
        """
        if not self.checkpoints.paths():
            self.save()
        with self._signals.heard():
            return self.trainer.train()

    def save(self) -> None:
        """Write a checkpoint now, or tell why not."""
        arrays, record = self.trainer.state()
        try:
            self.checkpoints.save(arrays, {**record, "run": self.run})
        except OutputError as error:
            self._tell(f"no checkpoint was written, and training goes on: {error}")
        self._saved_steps, self._saved_at = self.trainer.steps, time.monotonic()

    def _step(self) -> None:
        steps = self.trainer.steps - self._saved_steps
        minutes = (time.monotonic() - self._saved_at) / 60
        stopped = self._signals.number is not None
        due = self.every_steps is not None and steps >= self.every_steps
        late = self.every_minutes is not None and minutes >= self.every_minutes
        if stopped or due or late:
            self.save()
        self._stop_if_asked()

    def _epoch(self, _: EpochMetrics) -> None:
        self._after_epoch()
        self.save()
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self._signals.number is not None:
            directory = self.checkpoints.directory.parent
            raise Interrupted(
                f"interrupted after {self.trainer.steps} steps; go on with: "
                f"xpnet train --resume {directory}",
                self._signals.number,
            )
