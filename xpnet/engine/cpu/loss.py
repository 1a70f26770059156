"""Losses of a part of a batch."""

from collections.abc import Mapping
from math import prod
from typing import Any, Protocol

import numpy as np

from xpnet.functions.losses import as_one_hot, check_weights, smoothed
from xpnet.functions.targets import as_labels, values_of
from xpnet.layers import HeadsWithLoss, IdentityWithLoss, Loss, SigmoidWithLoss, SoftmaxWithLoss

SEPARABLE = {SoftmaxWithLoss, SigmoidWithLoss, IdentityWithLoss}
"""Losses that are means over samples. A batch that meets any other must stay whole."""


def separable(loss: Loss) -> bool:
    """Tell whether the parts of a batch may be computed one by one."""
    if isinstance(loss, HeadsWithLoss):
        return type(loss) is HeadsWithLoss and all(map(separable, loss.losses.values()))
    return type(loss) in SEPARABLE


def counted(loss: Loss, t: Any, outputs: Any) -> Any:
    """What the losses of samples are divided by, M; by name if there are several outputs.

    The number of samples; with weights of classes, or labels that are left out, the sum of what the
    labels of all their places count.

    Parameters
    ----------
    t : targets that fit
    outputs : the shape of a sample's output, or shapes by name
    """
    if type(outputs) is dict:
        if type(loss) is not HeadsWithLoss or loss.losses.keys() != outputs.keys():
            return len(values_of(t)[0])
        return {
            name: counted(each, t[name] if isinstance(t, Mapping) else t, outputs[name])
            for name, each in loss.losses.items()
        }
    if type(loss) is not SoftmaxWithLoss or loss.is_mean:
        return len(t)
    t = as_labels(t, shape := (len(t), *outputs))
    weights = None if loss.class_weights is None else np.asarray(loss.class_weights)
    if t.shape == shape:  # rows, of which none is left out
        if weights is None:
            return len(t) * prod(outputs[1:])
        return float(np.moveaxis(t, 1, -1).dot(weights).sum())
    labels = t.astype(np.int64, copy=False)
    if loss.ignore is not None:
        labels = labels[labels != loss.ignore]
    return labels.size if weights is None else float(weights.take(labels, mode="clip").sum())


def share_of(own: Any, total: Any) -> Any:
    """The share of a batch that a part has, of what is counted in both; by name if these are."""
    if type(own) is dict:
        return {name: share_of(each, total[name]) for name, each in own.items()}
    return own / total if total else 0.0


class PartLoss(Protocol):
    """The loss of some samples of a batch, by scores that stay where they are."""

    def __call__(self, t: Any, share: Any) -> float:
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
    elif type(loss) is SoftmaxWithLoss and scores.ndim > 1 and scores.shape[1] > 1:
        kind = COMPILED.get(SoftmaxLoss, SoftmaxLoss) if compiled else SoftmaxLoss
        return kind(loss, scores, dscores)
    return LossAsWritten(loss, scores, dscores)


class Rows:
    """An array (n, K, ...) as rows of K numbers, in the order of memory: (H, W, n) for images.

    Attributes
    ----------
    rows : (n H W, K)
    is_copy : whether they have memory of their own, since they cannot be seen in the array
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = array.transpose(*range(2, array.ndim), 0, 1)
        self.rows = self._array.reshape(-1, array.shape[1])
        self.is_copy = not np.shares_memory(self.rows, array)

    def fetch(self) -> None:
        """Have the rows be the array as it is now."""
        np.copyto(self.rows.reshape(self._array.shape), self._array)

    def put_back(self) -> None:
        """Have the array be what the rows are now."""
        np.copyto(self._array, self.rows.reshape(self._array.shape))


class SoftmaxLoss:
    """Softmax with cross-entropy, as `SoftmaxWithLoss` has it, without allocating matrices."""

    def __init__(self, layer: SoftmaxWithLoss, scores: np.ndarray, dscores: np.ndarray) -> None:
        self._layer, self.scores = layer, scores
        self._z, self._dz = Rows(scores), Rows(dscores)
        self._as_written = LossAsWritten(layer, scores, dscores)
        n, classes = self._z.rows.shape
        self._row = np.empty(n, dtype=np.intp)
        self._exp, self._log, self._target = (np.empty((n, classes), scores.dtype) for _ in "123")
        self._one = np.empty((n, 1), dtype=scores.dtype)
        self._prepare()

    def _begin(self) -> None:
        """Take up the scores, and the smoothing, which may have changed."""
        if self._layer.smoothing != self._smoothing:
            self._prepare()
        if self._z.is_copy:
            self._z.fetch()

    def _prepare(self) -> None:
        """Make a row of targets for each label."""
        layer, classes, dtype = self._layer, self.scores.shape[1], self.scores.dtype
        check_weights(layer.class_weights, classes)
        self._is_mean, self._smoothing = layer.is_mean, layer.smoothing
        self._weights = np.ones(classes, dtype=dtype)
        if layer.class_weights is not None:
            self._weights[...] = layer.class_weights
        # On either side one of NaN, as the loss then is, for no class.
        table = self._weights * smoothed(np.eye(classes, dtype=dtype), layer.smoothing)
        table = np.pad(table, ((1, 1), (0, 0)), constant_values=np.nan)
        # Behind them one of 0, for what is left out.
        self._table = table if layer.ignore is None else np.pad(table, ((0, 1), (0, 0)))

    def __call__(self, t: np.ndarray, share: float) -> float:
        """`share` times the mean over these samples; leaves its gradient by the scores."""
        self._begin()
        z, dz, one = self._z.rows, self._dz.rows, self._one
        target = self._targets(t)
        np.maximum.reduce(z, axis=1, keepdims=True, out=one)
        np.subtract(z, one, out=self._log)
        np.exp(self._log, out=self._exp)
        np.add.reduce(self._exp, axis=1, keepdims=True, out=one)
        scale = self._scale(t, share)
        np.divide(self._exp, one, out=dz)
        if not self._is_mean:
            dz *= target.sum(axis=1, keepdims=True)
        dz -= target
        dz *= scale
        np.log(one, out=one)
        self._log -= one
        return self._checked(-scale * float(np.vdot(target, self._log)), t, share)

    def _scale(self, t: np.ndarray, share: float) -> float:
        """What a loss is multiplied by that counts 1."""
        if self._is_mean:
            return share / len(self._row)
        own = counted(self._layer, t, self.scores.shape[1:])
        return share / own if own else 0.0

    def _checked(self, loss: float, t: np.ndarray, share: float) -> float:
        """A loss that is one; the layer sees to any other, and to its gradient.

        It refuses labels that are no class and targets that are no probabilities, takes 0 times
        minus infinity for 0, and does not look at the scores of what is left out.
        """
        if not loss >= 0:
            return self._as_written(t, share)
        if self._dz.is_copy:
            self._dz.put_back()
        return loss + 0.0  # which is no -0.0

    def _labels(self, t: np.ndarray) -> np.ndarray | None:
        """Labels in the order of the rows; None if targets are something else."""
        if t.ndim == self.scores.ndim:
            t = as_labels(t, self.scores.shape)
        if t.ndim != self.scores.ndim - 1 or t.dtype.kind not in "iu":
            return None
        return t if t.ndim == 1 else t.transpose(*range(1, t.ndim), 0).reshape(-1)

    def _targets(self, t: np.ndarray) -> np.ndarray:
        """Weights of the classes times their targets, smoothed, in rows."""
        target, layer = self._target, self._layer
        if (labels := self._labels(t)) is not None:
            np.add(labels, 1, out=self._row, casting="unsafe")
            if layer.ignore is not None:
                np.clip(self._row, 0, len(self._table) - 2, out=self._row)
                left = labels.astype(np.int64, copy=False) == layer.ignore
                np.copyto(self._row, len(self._table) - 1, where=left)
            self._table.take(self._row, axis=0, out=target, mode="clip")
        else:
            rows = Rows(smoothed(as_one_hot(t, self.scores), layer.smoothing)).rows
            np.copyto(target, rows)
            if layer.class_weights is not None:
                target *= self._weights
        return target


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

    def __call__(self, t: Any, share: Mapping[str, float]) -> float:
        """`share` of each times the mean over these samples; leaves its gradient by the scores."""
        return sum(
            loss(t[name] if isinstance(t, Mapping) else t, share[name] * self._weights[name])
            for name, loss in self._losses.items()
        )
