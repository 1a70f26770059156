"""Pictures of results. Needs matplotlib, the `plot` extra."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from xpnet.files import atomic_write
from xpnet.train.trainer import EpochMetrics

INSTALL = "pip install matplotlib"


def available() -> bool:
    """True if matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def learning_curve(path: str | Path, history: Sequence[EpochMetrics]) -> None:
    """Write a picture of loss and accuracies against epochs."""
    from matplotlib.figure import Figure

    epochs = [metrics.epoch for metrics in history]
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    train = [metrics.train_accuracy for metrics in history]
    test = [metrics.test_accuracy for metrics in history]
    left.plot(epochs, [metrics.train_loss for metrics in history], marker=".")
    left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    right.plot(epochs, train, marker=".", label="train")
    right.plot(epochs, test, "--", marker=".", label="test")
    right.set(xlabel="epoch", ylabel="accuracy")
    right.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
