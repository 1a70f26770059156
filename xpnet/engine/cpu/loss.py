"""Losses of a part of a batch."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from xpnet.functions.losses import as_one_hot, smoothed
from xpnet.layers import HeadsWithLoss, IdentityWithLoss, Loss, SigmoidWithLoss, SoftmaxWithLoss

SEPARABLE = {SoftmaxWithLoss, SigmoidWithLoss, IdentityWithLoss}
"""Losses that are means over samples. A batch that meets any other must stay whole."""


def separable(loss: Loss) -> bool:
    """Tell whether the parts of a batch may be computed one by one."""
    if isinstance(loss, HeadsWithLoss):
        return type(loss) is HeadsWithLoss and all(map(separable, loss.losses.values()))
    return type(loss) in SEPARABLE


class PartLoss(Protocol):
    """The loss of some samples of a batch, by scores that stay where they are."""

    def __call__(self, t: Any, share: float) -> float:
        """`share` times the mean over these samples; leaves its gradient by the scores."""


def part_loss(loss: Loss, scores: Any, dscores: Any, *, compiled: bool = False) -> PartLoss:
    """Make what computes a loss of the samples of a part.

    Parameters
    ----------
    loss : the layer
    scores, dscores : arrays in the book's order, or by name
    compiled : whether loops compiled by numba are used
    """
    if isinstance(scores, Mapping):
        if type(loss) is HeadsWithLoss and loss.losses.keys() == scores.keys():
            return HeadsLoss(loss, scores, dscores, compiled=compiled)
    elif type(loss) is SoftmaxWithLoss and scores.ndim == 2 and scores.shape[1] > 1:
        kind = COMPILED.get(SoftmaxLoss, SoftmaxLoss) if compiled else SoftmaxLoss
        return kind(loss, scores, dscores)
    return LossAsWritten(loss, scores, dscores)


class SoftmaxLoss:
    """Softmax with cross-entropy, as `SoftmaxWithLoss` has it, without allocating matrices."""

    def __init__(self, layer: SoftmaxWithLoss, scores: np.ndarray, dscores: np.ndarray) -> None:
        self._layer, self.scores, self._dscores = layer, scores, dscores
        n, classes = scores.shape
        # One row for each label, and on either side one of NaN, as the loss then is, for no class.
        no_class = ((1, 1), (0, 0))
        self._rows = np.pad(np.eye(classes, dtype=scores.dtype), no_class, constant_values=np.nan)
        self._as_written = LossAsWritten(layer, scores, dscores)
        self._row = np.empty(n, dtype=np.intp)
        self._exp, self._log, self._target = (np.empty_like(scores) for _ in range(3))
        self._one = np.empty((n, 1), dtype=scores.dtype)

    def __call__(self, t: np.ndarray, share: float) -> float:
        """`share` times the mean over these samples; leaves its gradient by the scores."""
        one, target = self._one, self._target
        if t.ndim == 1 and t.dtype.kind in "iu":
            np.add(t, 1, out=self._row, casting="unsafe")
            self._rows.take(self._row, axis=0, out=target, mode="clip")
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
        loss = -scale * float(np.vdot(target, self._log))
        # The layer refuses labels that are no class and targets that are no probabilities, and
        # takes 0 times minus infinity for 0.
        return loss if loss >= 0 else self._as_written(t, share)


COMPILED: dict[type[SoftmaxLoss], type[SoftmaxLoss]] = {}
"""By class, the one with compiled loops that does the same in its place."""


class LossAsWritten:
    """Any loss, as it is written in `xpnet.layers`."""

    def __init__(self, layer: Loss, scores: Any, dscores: Any) -> None:
        self._layer, self.scores, self._dscores = layer, scores, dscores

    def __call__(self, t: Any, share: float) -> float:
        """`share` times the loss of these samples; leaves its gradient by the scores."""
        loss, backward = self._layer.forward(self.scores, t)
        found, left = backward(), self._dscores
        if not isinstance(found, Mapping):
            found, left = {"": found}, {"": left}
        for name, dscores in left.items():
            np.multiply(found[name], share, out=dscores)
        return share * float(loss)


class HeadsLoss:
    """The weighted sum of a loss for each output."""

    def __init__(
        self,
        layer: HeadsWithLoss,
        scores: Mapping[str, np.ndarray],
        dscores: Mapping[str, np.ndarray],
        *,
        compiled: bool,
    ) -> None:
        self._weights = layer.weights
        self._losses = {
            name: part_loss(loss, scores[name], dscores[name], compiled=compiled)
            for name, loss in layer.losses.items()
        }

    def __call__(self, t: Any, share: float) -> float:
        """`share` times the mean over these samples; leaves its gradient by the scores."""
        return sum(
            loss(t[name] if isinstance(t, Mapping) else t, share * self._weights[name])
            for name, loss in self._losses.items()
        )
