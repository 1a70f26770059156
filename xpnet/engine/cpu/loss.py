"""Losses of a part of a batch."""

import numpy as np

from xpnet.functions.losses import as_one_hot, smoothed
from xpnet.layers import Loss, SoftmaxWithLoss


class SoftmaxLoss:
    """Softmax with cross-entropy, as `SoftmaxWithLoss` has it, without allocating matrices."""

    method = "softmax with loss"

    def __init__(self, layer: SoftmaxWithLoss, scores: np.ndarray, dscores: np.ndarray) -> None:
        self._layer, self.scores, self._dscores = layer, scores, dscores
        n, classes = scores.shape
        self._classes = np.arange(classes)
        self._exp, self._log, self._target = (np.empty_like(scores) for _ in range(3))
        self._one = np.empty((n, 1), dtype=scores.dtype)

    def __call__(self, t: np.ndarray, share: float) -> float:
        """`share` times the mean over these samples; leaves its gradient by the scores."""
        one, target = self._one, self._target
        if t.ndim == 1 and t.dtype.kind in "iu":
            np.equal(t[:, np.newaxis], self._classes, out=target)
        else:
            np.copyto(target, as_one_hot(t, self.scores))
        if self._layer.smoothing:
            target = smoothed(target, self._layer.smoothing)
        np.maximum.reduce(self.scores, axis=1, keepdims=True, out=one)
        np.subtract(self.scores, one, out=self._log)
        np.exp(self._log, out=self._exp)
        np.add.reduce(self._exp, axis=1, keepdims=True, out=one)
        scale = share / len(t)
        np.divide(self._exp, one, out=self._dscores)
        self._dscores -= target
        self._dscores *= scale
        np.log(one, out=one)
        self._log -= one
        return -scale * float(np.vdot(target, self._log))


class MeanLoss:
    """Any loss that is a mean over samples, as it is written in `xpnet.layers`."""

    method = "reference"

    def __init__(self, layer: Loss, scores: np.ndarray, dscores: np.ndarray) -> None:
        self._layer, self.scores, self._dscores = layer, scores, dscores

    def __call__(self, t: np.ndarray, share: float) -> float:
        """`share` times the mean over these samples; leaves its gradient by the scores."""
        loss, backward = self._layer.forward(self.scores, t)
        np.multiply(backward(), share, out=self._dscores)
        return share * float(loss)
