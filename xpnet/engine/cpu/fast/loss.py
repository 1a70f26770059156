"""Softmax with cross-entropy, row by row."""

from math import nan

import numpy as np

from xpnet.arrays import Array
from xpnet.compiled import loop
from xpnet.engine.cpu.loss import COMPILED, SoftmaxLoss


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


@loop
def by_weighed_labels(
    shifted: Array,
    e: Array,
    t: Array,
    ignores: bool,
    ignore: int,
    weights: Array,
    scale: float,
    dscores: Array,
) -> float:
    """As `by_labels`, where a label counts by its class's weight, or nothing if it is ignored.

    Parameters
    ----------
    ignores, ignore : whether a label is left out, and which
    weights : of the classes, 1 is no weight
    """
    loss = 0.0
    for n in range(e.shape[0]):
        label = np.int64(t[n])
        if ignores and label == ignore:
            dscores[n, :] = 0
            continue
        if label < 0 or label >= e.shape[1]:
            return nan
        total = e[n, 0]
        for k in range(1, e.shape[1]):
            total += e[n, k]
        weight = weights[label]
        own = weight * scale
        for k in range(e.shape[1]):
            dscores[n, k] = e[n, k] / total * own
        dscores[n, label] = (e[n, label] - total) / total * own
        loss += weight * (np.log(total) - shifted[n, label])
    return loss


@loop
def by_weighed_rows(shifted: Array, e: Array, target: Array, scale: float, dscores: Array) -> float:
    """As `by_rows`, where targets have been multiplied by weights, and add up to anything."""
    loss = 0.0
    for n in range(e.shape[0]):
        total, share = e[n, 0], target[n, 0]
        for k in range(1, e.shape[1]):
            total += e[n, k]
            share += target[n, k]
        log = np.log(total)
        for k in range(e.shape[1]):
            dscores[n, k] = (e[n, k] / total * share - target[n, k]) * scale
            loss += target[n, k] * (log - shifted[n, k])
    return loss


class SoftmaxLossByRows(SoftmaxLoss):
    """The same in two loops, around NumPy's exponential function."""

    def __call__(self, t: np.ndarray, share: float) -> float:
        """`share` times the mean over these samples; leaves its gradient by the scores."""
        if not t.dtype.isnative:  # such as those of an IDX file, which loops cannot read
            t = t.astype(t.dtype.newbyteorder("="))
        self._begin()
        z, dz, layer = self._z.rows, self._dz.rows, self._layer
        log, exp, kind = self._log, self._exp, self.scores.dtype.type
        shift(z, log)
        np.exp(log, out=exp)
        factor = self._scale(t, share)
        scale = kind(factor)
        labels = None if layer.smoothing else self._labels(t)
        if labels is None:
            over = by_rows if self._is_mean else by_weighed_rows
            found = over(log, exp, self._targets(t), scale, dz)
        elif self._is_mean:
            found = by_labels(log, exp, labels, kind(1), scale, dz)
        else:
            ignores, ignore = layer.ignore is not None, layer.ignore or 0
            found = by_weighed_labels(log, exp, labels, ignores, ignore, self._weights, scale, dz)
        return self._checked(factor * found, t, share)


COMPILED[SoftmaxLoss] = SoftmaxLossByRows
