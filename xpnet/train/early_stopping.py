"""When to stop: before the network learns its training data by heart."""

from collections.abc import Sequence

from xpnet.errors import ArgumentError


class EarlyStopping:
    """Stop when the accuracy on data kept aside has not risen for `patience` epochs.

    An epoch is an improvement if it is more than `min_delta` above the last improvement. Nothing is
    remembered between calls, so that the answer depends on the record of a run alone.

    What decides when to stop has had a part in training. For an honest test, hand a validation set
    to `Trainer` as its test set (section 6.5.1), and keep the test images out.
    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        if patience < 1 or not min_delta >= 0:
            raise ArgumentError(
                "early stopping needs a patience of at least 1 epoch and a min_delta of 0 or more, "
                f"got patience={patience}, min_delta={min_delta}"
            )
        self.patience, self.min_delta = patience, min_delta

    def best_epoch(self, accuracies: Sequence[float]) -> int:
        """The epoch of the last improvement, from 1; 0 before the first epoch."""
        best, best_epoch = float("-inf"), 0
        for epoch, accuracy in enumerate(accuracies, start=1):
            if accuracy > best + self.min_delta:
                best, best_epoch = accuracy, epoch
        return best_epoch

    def is_over(self, accuracies: Sequence[float]) -> bool:
        """Whether training should end, from the accuracies after every epoch so far."""
        return len(accuracies) - self.best_epoch(accuracies) >= self.patience
