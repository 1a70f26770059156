"""Hints that an epoch gives of a training that goes wrong."""

from collections.abc import Sequence

from xpnet.report.metrics import EpochMetrics
from xpnet.train.adversarial import Adversarial
from xpnet.train.callbacks import Callback, Training
from xpnet.train.inputs import dark_pixels, too_large
from xpnet.train.supervised import Supervised, classes_of

ENOUGH = 500
"""Steps: before, a network that will learn may still guess."""
RISEN = 1.1
"""Times the first step's loss; the batches of a loss that falls slowly differ by less."""
SURE = 0.01
"""Mean probability below which a discriminator takes nothing that is made for real."""
FAR = 2.0
"""The same after fewer steps than are enough, of a network that guesses, or does worse."""


class Hints(Callback):
    """Tells the hints of each epoch, where a network learns from targets."""

    def on_begin(self, trainer: Training) -> None:
        """Tell, before the first step, of inputs that it will not get far with."""
        source = trainer.learner.source
        if not trainer.steps and (hint := too_large(source) or dark_pixels(source)):
            trainer.say(f"hint: {hint}")

    def on_epoch(self, trainer: Training, metrics: EpochMetrics) -> None:
        """Tell those of this epoch."""
        learner = trainer.learner
        if isinstance(learner, Supervised):
            classes, lr = classes_of(learner.network), learner.optimizer.lr
            history, losses = trainer.history, trainer.train_loss_list
            for hint in hints(history, losses, classes, lr, too_large(learner.source)):
                trainer.say(f"hint: {hint}")
        if isinstance(learner, Adversarial) and (hint := collapsed(trainer.history)):
            trainer.say(f"hint: {hint}")


def hints(
    history: Sequence[EpochMetrics],
    losses: Sequence[float],
    classes: int,
    lr: float,
    inputs: str = "",
) -> list[str]:
    """Lines on the last epoch; each kind comes once in a run.

    Parameters
    ----------
    history : of all epochs so far
    losses : of all steps so far
    classes : that there are to choose from; of one alone there is no accuracy to speak of
    inputs : what is wrong with the inputs, which then is to be mended first
    """
    *before, last = history
    steps = len(losses) // len(history)
    judged = [metrics for metrics in before if metrics.epoch * steps >= ENOUGH]
    enough, found = last.epoch * steps >= ENOUGH, []
    accuracy = last.test_accuracy
    if enough and not judged and _guesses(accuracy, classes):
        found.append(
            f"after {len(losses)} steps the test accuracy is {accuracy:.4f}, hardly "
            f"more than guessing among {classes} classes gives; "
            + (inputs or f"try a learning rate other than {lr:g}, or other initial weights")
        )
    *risen, rises = (_risen(metrics, losses[0], steps, classes) for metrics in history)
    if rises and not any(risen):
        found.append(
            f"the mean loss of epoch {last.epoch}, {last.train_loss:.4g}, is above that of the "
            f"first step, {losses[0]:.4g}; "
            + (inputs or f"try a smaller learning rate than {lr:g}")
        )
    return found


def collapsed(history: Sequence[EpochMetrics]) -> str:
    """Say that a generator has lost to its discriminator in the last epoch, once in a run."""
    *before, now = (metrics["train_d_fake"] < SURE for metrics in history)
    if not now or any(before):
        return ""
    last = history[-1]
    return (
        f"in epoch {last.epoch} the discriminator took what was made for real with a probability "
        f"of {last['train_d_fake']:.2g}: the generator has collapsed, or will; try smaller "
        "learning rates, or real_label=0.9"
    )


def at_chance(classes: int) -> float:
    """The highest accuracy that hints at guessing: half as much again, but not much more."""
    return min(1.5 / classes, 1 / classes + 0.05)


def _guesses(accuracy: float | None, classes: int) -> bool:
    return classes > 1 and accuracy is not None and accuracy <= at_chance(classes)


def _risen(metrics: EpochMetrics, first: float, steps: int, classes: int) -> bool:
    """Tell whether an epoch's loss is above the first step's, and not on its way down again."""
    if metrics.epoch * steps >= ENOUGH:
        return metrics.train_loss > RISEN * first
    lost = _guesses(metrics.train_accuracy, classes) or metrics.others.get("train_r2", 0.0) < -1.0
    return lost and metrics.train_loss > FAR * first
