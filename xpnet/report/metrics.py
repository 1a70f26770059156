"""What is measured of a training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochMetrics:
    """What is known after an epoch."""

    epoch: int
    """Epochs done, from 1."""
    train_loss: float
    """Mean loss of the epoch's batches, each taken just before its update."""
    train_accuracy: float
    test_accuracy: float
    seconds: float
    """Time spent training, from the start of the run, evaluations left out."""
