"""A run that can be stopped at any time, and goes on."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from xpnet.errors import DirectoryTakenError, DivergedError, OutputError
from xpnet.notice import quoted
from xpnet.report.metrics import EpochMetrics
from xpnet.train.callbacks import Callback, Training
from xpnet.train.checkpoint import Checkpoints
from xpnet.train.run_directory import CHECKPOINTS, RunDirectory
from xpnet.train.signals import Interrupted, Signals
from xpnet.train.trainer import Trainer


class Keeper(Callback):
    """Saves a trainer's state after every epoch, and more often if wanted, and when it is stopped.

    What cannot be written, because the disk is full for instance, does not end the training: `tell`
    says so, and the next time it is tried again. But a directory that is another run's by now does.

    Parameters
    ----------
    trainer : whose callback this becomes
    directory : where `metrics.csv` is kept
    checkpoints : where checkpoints are
    run : what a checkpoint has to hold besides, to be known again
    every_steps, every_minutes : in an epoch, too
    tell : shows a line
    """

    def __init__(
        self,
        trainer: Trainer,
        directory: RunDirectory,
        checkpoints: Checkpoints,
        run: dict[str, Any],
        *,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        tell: Callable[[str], None],
    ) -> None:
        self.trainer, self.directory, self.checkpoints = trainer, directory, checkpoints
        self.run, self.every_steps, self.every_minutes = run, every_steps, every_minutes
        self._tell = tell
        self._signals = Signals()
        self._saved_steps, self._saved_at = trainer.steps, time.monotonic()
        trainer.callbacks.append(self)

    def train(self) -> list[EpochMetrics]:
        """Train to the end.

        Raises
        ------
        Interrupted
            SIGINT or SIGTERM came; the step it came in was finished and its state saved.
        DirectoryTakenError
            Another run has taken the directory; this one's state is saved elsewhere.
        DivergedError
            As `Trainer`; the message names the last checkpoint, which is from before that.
        """
        if not self.checkpoints.paths():
            self.save()
        try:
            with self._signals.heard():
                return self.trainer.train()
        except DivergedError as error:
            kept = "; ".join(f"{path} is from before" for path in self.checkpoints.paths()[-1:])
            raise DivergedError(f"{error}; {kept or 'no checkpoint was kept'}") from error

    def save(self) -> None:
        """Write a checkpoint now, or tell why not."""
        arrays, record = self.trainer.state()
        self._saved_steps, self._saved_at = self.trainer.steps, time.monotonic()
        self._tried(lambda: self.checkpoints.save(arrays, {**record, "run": self.run}))

    def _tried(self, write: Callable[[], object]) -> None:
        try:
            self.directory.claim()
            write()
        except DirectoryTakenError as error:
            raise self.saved_elsewhere(error) from error
        except OutputError as error:
            self._tell(f"warning: {error}")

    def saved_elsewhere(self, error: OutputError) -> OutputError:
        """Save the state where nobody else is, and say where that is."""
        if (place := self._elsewhere()) is None:
            return type(error)(f"{error}, and what this one has learned can be kept nowhere")
        return type(error)(
            f"{error}; this one stops after {self.trainer.steps} steps, and goes on with: "
            f"xpnet train --resume {quoted(place)}"
        )

    def _elsewhere(self) -> Path | None:
        """Save the state in a directory of its own; None where that cannot be."""
        arrays, record = self.trainer.state()
        for place in self.directory.elsewhere():
            with suppress(OutputError):
                Checkpoints(place / CHECKPOINTS).save(arrays, {**record, "run": self.run})
                return place
        return None

    def on_step(self, trainer: Training) -> None:
        """Save if it is time, or if this is where the run ends."""
        steps = self.trainer.steps - self._saved_steps
        minutes = (time.monotonic() - self._saved_at) / 60
        due = self.every_steps is not None and steps >= self.every_steps
        late = self.every_minutes is not None and minutes >= self.every_minutes
        if due or late or self._signals.number is not None:
            self.save()
        self._stop_if_asked()

    def on_epoch(self, trainer: Training, metrics: EpochMetrics) -> None:
        """Save the state and the table of what was measured."""
        self.save()
        self._tried(lambda: self.directory.write_metrics(self.trainer.history))
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self._signals.number is None:
            return
        remedy = "no checkpoint could be written"
        if paths := self.checkpoints.paths():
            directory = quoted(self.directory.absolute)
            remedy = f"go on from {paths[-1].stem} with: xpnet train --resume {directory}"
        elif (place := self._elsewhere()) is not None:
            remedy = f"go on with: xpnet train --resume {quoted(place)}"
        steps = self.trainer.steps
        raise Interrupted(f"interrupted after {steps} steps; {remedy}", self._signals.number)
