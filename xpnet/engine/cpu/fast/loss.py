"""Softmax with cross-entropy, row by row."""

from math import nan

import numpy as np

from xpnet.arrays import Array
from xpnet.compiled import loop
from xpnet.engine.cpu.loss import COMPILED, SoftmaxLoss
from xpnet.functions.losses import as_one_hot, smoothed


@loop
def shift(scores: Array, shifted: Array) -> None:
    """Each row without its largest number."""
    for n in range(scores.shape[0]):
        largest = scores[n, 0]
        for k in range(1, scores.shape[1]):
            if scores[n, k] > largest:
                largest = scores[n, k]
        for k in range(scores.shape[1]):
            shifted[n, k] = scores[n, k] - largest


@loop
def by_labels(
    shifted: Array, e: Array, t: Array, one: float, scale: float, dscores: Array
) -> float:
    """The sum of all samples' losses, NaN if a label is no class; leaves the gradient, scaled.

    Parameters
    ----------
    shifted, e : what `shift` leaves, and its exponentials
    one : 1 in their precision: a whole number would have the difference rounded otherwise
    """
    loss = 0.0
    for n in range(e.shape[0]):
        label = np.int64(t[n])
        if label < 0 or label >= e.shape[1]:
            return nan
        total = e[n, 0]
        for k in range(1, e.shape[1]):
            total += e[n, k]
        for k in range(e.shape[1]):
            dscores[n, k] = e[n, k] / total * scale
        dscores[n, label] = (e[n, label] / total - one) * scale
        loss += np.log(total) - shifted[n, label]
    return loss


@loop
def by_rows(shifted: Array, e: Array, target: Array, scale: float, dscores: Array) -> float:
    """The same for a row of probabilities a sample."""
    loss = 0.0
    for n in range(e.shape[0]):
        total = e[n, 0]
        for k in range(1, e.shape[1]):
            total += e[n, k]
        log = np.log(total)
        for k in range(e.shape[1]):
            dscores[n, k] = (e[n, k] / total - target[n, k]) * scale
            loss += target[n, k] * (log - shifted[n, k])
    return loss


class SoftmaxLossByRows(SoftmaxLoss):
    """The same in two loops, around NumPy's exponential function."""

    def __call__(self, t: np.ndarray, share: float) -> float:
        """`share` times the mean over these samples; leaves its gradient by the scores."""
        if not t.dtype.isnative:  # such as those of an IDX file, which loops cannot read
            t = t.astype(t.dtype.newbyteorder("="))
        shift(self.scores, self._log)
        np.exp(self._log, out=self._exp)
        smoothing, scale, kind = self._layer.smoothing, share / len(t), self.scores.dtype.type
        if not smoothing and t.ndim == 1 and t.dtype.kind in "iu":
            total = by_labels(self._log, self._exp, t, kind(1), kind(scale), self._dscores)
        else:
            np.copyto(self._target, as_one_hot(t, self.scores))
            target = smoothed(self._target, smoothing) if smoothing else self._target
            total = by_rows(self._log, self._exp, target, kind(scale), self._dscores)
        loss = scale * total
        return loss if loss >= 0 else self._as_written(t, share)


COMPILED[SoftmaxLoss] = SoftmaxLossByRows
