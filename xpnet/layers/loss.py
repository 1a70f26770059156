"""Losses as the last layer: `forward(x, t)` gives `(loss, backward)`, `backward(dout)` gives dx."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Protocol, TypeAlias

import numpy as np

from xpnet.arguments import check_number, checked, whole
from xpnet.arrays import Array, to_numpy
from xpnet.arrays.values import as_array, floating
from xpnet.described import Described, ReadOnly
from xpnet.errors import ArgumentError
from xpnet.functions import losses
from xpnet.functions.activations import sigmoid, softmax_over
from xpnet.functions.targets import class_axis

LossBackward: TypeAlias = Callable[..., Array]
"""`backward(dout=1.0)` gives dx."""


class Loss(Protocol):
    """The end of a network: scores and targets in, one number out.

    One of your own may have `probabilities(scores)`, and `ignore`, the label that it leaves out.
    """

    def forward(self, x: Array, t: Array) -> tuple[Array, LossBackward]:
        """The loss of scores `x` against targets `t`, and the function that gives dx."""


def probabilities_of(loss: Loss, what: str) -> Callable[[Array], Array]:
    """What makes probabilities of a network's scores: `probabilities` of its loss.

    Parameters
    ----------
    what : needs them, for the error

    Raises
    ------
    ArgumentError
        The loss has no such method: its scores are numbers, and a softmax of them means nothing.
    """
    loss = main_loss(loss)
    made: Callable[[Array], Array] | None = getattr(loss, "probabilities", None)
    if made is None:
        raise ArgumentError(
            f"{what} needs a loss of probabilities, SoftmaxWithLoss, SigmoidWithLoss or one of "
            f"your own with probabilities(scores), and the network has {type(loss).__name__}; "
            "its outputs are those of predict(x)"
        )
    return made


class SoftmaxWithLoss(Described):
    """Softmax and the exact cross-entropy, averaged over the batch (section 5.6.3).

        L = -1/M sum w_t ln softmax(x)_t,   dx = w_t (softmax(x) - t) / M,   M = sum w_t

    The mean is over samples or, for scores (N, K, ...), over all their places, with the classes on
    axis 1: so an image is segmented, each pixel a choice. What is left out counts nothing; where
    nothing counts, L and dx are 0. w is 1 without weights, and M then the number of places. Long et
    al. 2015, "Fully convolutional networks for semantic segmentation", arXiv:1411.4038.

    Parameters
    ----------
    smoothing : s from 0 to below 1; targets are then (1 - s) t + s / K (`losses.smoothed`)
    ignore : the label of what is of no class and left out, such as 255; None if there is none
    class_weights : how much each class counts, K numbers from 0 on, such as those of
        `report.segmentation.median_frequency_weights`; all the same if None
    """

    @checked
    def __init__(
        self,
        smoothing: float = 0.0,
        ignore: int | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        if not 0 <= smoothing < 1:
            raise ArgumentError(f"smoothing must be from 0 to below 1, got {smoothing}; try 0.1")
        if ignore is not None and not -(2**31) <= ignore < 2**31:
            raise ArgumentError(f"ignore must be a label of 32 bits, got {ignore}; try 255")
        self.smoothing, self._ignore = smoothing, None if ignore is None else int(ignore)
        self._class_weights = None if class_weights is None else _checked_weights(class_weights)

    @property
    def ignore(self) -> int | None:
        """The label that is left out, to be read; None if there is none."""
        return self._ignore

    @property
    def class_weights(self) -> tuple[float, ...] | None:
        """How much each class counts, to be read; None if all count the same."""
        return self._class_weights

    def arguments(self) -> dict[str, Any]:
        """The smoothing, the label that is left out, and the weights."""
        return {
            "smoothing": self.smoothing,
            "ignore": self.ignore,
            "class_weights": self.class_weights,
        }

    @property
    def is_mean(self) -> bool:
        """True if it is a mean over samples, or their places, each of which counts the same."""
        return self.ignore is None and self.class_weights is None

    def probabilities(self, scores: Array) -> Array:
        """Softmax of the scores over the classes: every row sums to 1."""
        return softmax_over(scores, class_axis(scores.shape))

    def weighed(self, t: Any, x: Array) -> losses.Weighed:
        """Targets as the loss of scores x takes them, with what they count."""
        return losses.weighed(t, x, self.smoothing, self.ignore, self.class_weights)

    def forward(self, x: Array, t: Array) -> tuple[Array, LossBackward]:
        """The loss of scores x, (N, K, ...) or (K,), against labels or one-hot targets."""
        x = floating(x)
        losses.check_choice(x.shape[class_axis(x.shape)])
        loss, dx = losses.softmax_loss(x, self.weighed(t, x))

        def backward(dout: float = 1.0) -> Array:
            return dx if dout == 1.0 else dout * dx

        return loss, backward


def _checked_weights(given: Any) -> tuple[float, ...]:
    """Weights of classes as floats: finite, not negative, and not all 0."""
    weights = to_numpy(as_array(given, "class_weights"))
    usable = weights.ndim == 1 and np.isfinite(weights).all() and (weights >= 0).all()
    if not (usable and weights.any()):
        raise ArgumentError(
            "class_weights must be a number from 0 on for each class, not all of them 0, got "
            f"{given!r:.200}"
        )
    return tuple(map(float, weights))


class SigmoidWithLoss(Described):
    """Sigmoid and the exact cross-entropy of each output by itself, averaged over the batch.

    L = -1/N sum (t ln y + (1 - t) ln(1 - y)),   y = sigmoid(x),   dx = (y - t) / N

    Nielsen, Neural Networks and Deep Learning, chapter 3. For outputs that may be 1 together,
    unlike those of a softmax.
    """

    def probabilities(self, scores: Array) -> Array:
        """Sigmoid of each score by itself."""
        return sigmoid(scores)

    def forward(self, x: Array, t: Array) -> tuple[Array, LossBackward]:
        """The loss of scores x, (N, ...) or (K,), against labels or a 0 or 1 for each output."""
        loss, dx = losses.sigmoid_cross_entropy(x, t)

        def backward(dout: float = 1.0) -> Array:
            return dx if dout == 1.0 else dout * dx

        return loss, backward


class IdentityWithLoss(Described):
    """Identity output and half the squared error, averaged over the batch: for regression.

    L = 1/(2N) sum (x - t)^2,   dx = (x - t) / N
    """

    def forward(self, x: Array, t: Array) -> tuple[Array, LossBackward]:
        """The loss of outputs x, (N, ...) or (K,), against targets of the same shape, or labels."""
        x = floating(x)
        target = losses.as_one_hot(t, x)
        n_samples = losses.samples_of(x)

        def backward(dout: float = 1.0) -> Array:
            return (x - target) * (dout / n_samples)

        return losses.mean_squared_error(x, target) / n_samples, backward


class HeadsWithLoss(Described):
    """The weighted sum of a loss for each output of a network that ends in `Heads`.

        L = sum over the heads of weight L_head(x_head, t_head),   dx_head = weight dL_head/dx_head

    Parameters
    ----------
    losses : name of the head -> its loss
    weights : name of the head -> its weight; 1 where none is given
    main : the head that a network with this loss predicts by, where others are there for training
        alone; all of them, by name, if None
    """

    def __init__(
        self,
        losses: Mapping[str, Loss],
        weights: Mapping[str, float] | None = None,
        main: str | None = None,
    ) -> None:
        weights = {} if weights is None else weights
        for what, given in {"losses": losses, "weights": weights}.items():
            if not isinstance(given, Mapping):
                raise ArgumentError(
                    f"{what} of HeadsWithLoss must be by the names of the heads, such as "
                    f"{{'digit': ...}}, got {type(given).__name__}"
                )
        self._losses = dict(losses)
        if not self._losses:
            raise ArgumentError("HeadsWithLoss needs a loss for each head, got none")
        for name, loss in self._losses.items():
            check_loss(f"the loss of {name}", loss)
        weights = dict(weights)
        if unknown := weights.keys() - self._losses.keys():
            raise ArgumentError(
                f"there is no head {min(unknown)!r} to weigh; the heads are {', '.join(losses)}"
            )
        for name, weight in weights.items():
            check_number(f"the weight of {name}", "HeadsWithLoss", weight)
            if not (isfinite(weight) and weight >= 0):
                raise ArgumentError(f"the weight of {name} must be a number from 0, got {weight}")
        self._weights = {name: float(weights.get(name, 1.0)) for name in self._losses}
        if main is not None and (not isinstance(main, str) or main not in self._losses):
            raise ArgumentError(
                f"main must be one of the heads, {', '.join(self._losses)}, got {main!r}"
            )
        self.main = main

    @property
    def losses(self) -> Mapping[str, Loss]:
        """The loss of each head by its name, to be read."""
        return ReadOnly(self._losses)

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of each head by its name, to be read."""
        return ReadOnly(self._weights)

    def arguments(self) -> dict[str, Any]:
        """The losses, their weights, and the main one."""
        return {"losses": dict(self.losses), "weights": dict(self.weights), "main": self.main}

    def forward(self, x: Mapping[str, Array], t: Any) -> tuple[Array, LossBackward]:
        """The loss of outputs by name, against targets by name or the same ones for every head.

        `backward` gives a gradient for each head by its name.

        Raises
        ------
        ArgumentError
            Outputs or targets have other names than the losses.
        """
        check_outputs(self, x)
        if isinstance(t, Mapping) and t.keys() != self.losses.keys():
            raise ArgumentError(
                f"targets for {', '.join(self.losses)} are needed, got {', '.join(t)}"
            )
        total, steps = None, {}
        for name, loss in self.losses.items():
            value, steps[name] = loss.forward(x[name], t[name] if isinstance(t, Mapping) else t)
            term = self.weights[name] * value
            total = term if total is None else total + term

        def backward(dout: float = 1.0) -> dict[str, Array]:
            return {name: step(dout * self.weights[name]) for name, step in steps.items()}

        return total, backward


def main_loss(loss: Loss) -> Loss:
    """The loss of the main head, by which a network is judged; a loss without one is itself."""
    if isinstance(loss, HeadsWithLoss) and loss.main is not None:
        return loss.losses[loss.main]
    return loss


def predicted(loss: Loss, outputs: Any) -> Any:
    """What a network with this loss predicts, of its outputs by name: that of the main head.

    All of them where there is none, or one output alone.
    """
    main = loss.main if isinstance(loss, HeadsWithLoss) else None
    return outputs[main] if main is not None and isinstance(outputs, Mapping) else outputs


def ignored_by(loss: Loss) -> Any:
    """The label that a loss leaves out, or None; those of several heads by their names."""
    if isinstance(loss, HeadsWithLoss):
        return {name: ignored_by(each) for name, each in loss.losses.items()}
    found: Any = getattr(loss, "ignore", None)
    return int(found) if whole(found) else None


def check_loss(what: str, loss: Any) -> None:
    """Refuse what is no loss."""
    if isinstance(loss, type) or not callable(getattr(loss, "forward", None)):
        raise ArgumentError(
            f"{what} must have forward(x, t), as SoftmaxWithLoss() has, got {loss!r}"
        )


def check_outputs(loss: Loss, outputs: Any) -> None:
    """Refuse a loss of the library's that is for other outputs than these.

    Parameters
    ----------
    outputs : anything by the names of several outputs; anything else stands for one

    Raises
    ------
    ArgumentError
        The loss is of one output, and there are several, or of heads with other names.
    """
    several = isinstance(outputs, Mapping)
    got = ", ".join(outputs) if several else "one output"
    if isinstance(loss, HeadsWithLoss) and (not several or outputs.keys() != loss.losses.keys()):
        raise ArgumentError(
            f"HeadsWithLoss has losses for {', '.join(loss.losses)}, got {got}; "
            "a network with these heads is needed"
        )
    if several and type(loss) in (IdentityWithLoss, SigmoidWithLoss, SoftmaxWithLoss):
        raise ArgumentError(
            f"{type(loss).__name__} is the loss of one output, and the network ends in {got}; give "
            "it a HeadsWithLoss"
        )
