"""Losses as the last layer: `forward(x, t)` gives `(loss, backward)`, `backward(dout)` gives dx."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from xpnet.arrays import Array
from xpnet.errors import ArgumentError
from xpnet.functions import losses

LossBackward: TypeAlias = Callable[..., Array]
"""`backward(dout=1.0)` gives dx."""


class Loss(Protocol):
    """What a network ends in: scores and targets in, one number out."""

    def forward(self, x: Array, t: Array) -> tuple[Array, LossBackward]:
        """The loss of scores `x` against targets `t`, and the function that gives dx."""


class SoftmaxWithLoss:
    """Softmax and the exact cross-entropy, averaged over the batch (section 5.6.3).

    L = -1/N sum t ln softmax(x),   dx = (softmax(x) - t) / N

    Parameters
    ----------
    smoothing : s from 0 to below 1; targets are then (1 - s) t + s / K (`losses.smoothed`)
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        if not 0 <= smoothing < 1:
            raise ArgumentError(f"smoothing must be from 0 to below 1, got {smoothing}; try 0.1")
        self.smoothing = smoothing

    def forward(self, x: Array, t: Array) -> tuple[Array, LossBackward]:
        """The loss of scores x, (N, K) or (K,), against labels or one-hot targets."""
        target = losses.smoothed(losses.as_one_hot(t, x), self.smoothing)
        loss, dx = losses.softmax_cross_entropy(x, target)

        def backward(dout: float = 1.0) -> Array:
            return dx if dout == 1.0 else dout * dx

        return loss, backward


class SigmoidWithLoss:
    """Sigmoid and the exact cross-entropy of each output by itself, averaged over the batch.

    L = -1/N sum (t ln y + (1 - t) ln(1 - y)),   y = sigmoid(x),   dx = (y - t) / N

    Nielsen, Neural Networks and Deep Learning, chapter 3. For outputs that may be 1 together,
    unlike those of a softmax.
    """

    def forward(self, x: Array, t: Array) -> tuple[Array, LossBackward]:
        """The loss of scores x, (N, K) or (K,), against labels or a 0 or 1 for each output."""
        loss, dx = losses.sigmoid_cross_entropy(x, t)

        def backward(dout: float = 1.0) -> Array:
            return dx if dout == 1.0 else dout * dx

        return loss, backward


class IdentityWithLoss:
    """Identity output and half the squared error, averaged over the batch: for regression.

    L = 1/(2N) sum (x - t)^2,   dx = (x - t) / N
    """

    def forward(self, x: Array, t: Array) -> tuple[Array, LossBackward]:
        """The loss of outputs x, (N, K) or (K,), against targets of the same shape."""
        target = losses.as_one_hot(t, x)
        n_samples = x.shape[0] if x.ndim > 1 else 1

        def backward(dout: float = 1.0) -> Array:
            return (x - target) * (dout / n_samples)

        return losses.mean_squared_error(x, target) / n_samples, backward
