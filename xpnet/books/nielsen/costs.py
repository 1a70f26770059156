"""The costs of chapters 1 and 3, and how a network ends with each."""

from typing import ClassVar, Protocol

import numpy as np

from xpnet.arrays import Array
from xpnet.arrays.values import check_same_shape, floating
from xpnet.functions.activations import sigmoid, softmax
from xpnet.functions.losses import cross_entropy_error, mean_squared_error
from xpnet.layers import IdentityWithLoss, Layer, Loss, Sigmoid, SigmoidWithLoss, SoftmaxWithLoss


def sigmoid_prime(z: Array) -> Array:
    """The slope of the sigmoid: s'(z) = s(z) (1 - s(z))."""
    s = sigmoid(z)
    return s * (1.0 - s)


def difference(a: Array, y: Array) -> Array:
    """Compute a - y of activations and targets, columns of one shape.

    Raises
    ------
    ArgumentError
        The shapes differ.
    """
    check_same_shape("a - y", a, y)
    return floating(a) - floating(y)


class Cost(Protocol):
    """A cost C, a mean of C_x over samples, and how a network ends with it.

    A class of your own will do, if it has all five.
    """

    layers: ClassVar[tuple[type[Layer], ...]]
    """The layers of the network above its last weights, before the loss."""
    loss: ClassVar[type[Loss]]
    """C, of what the layers put out."""

    @staticmethod
    def outputs(scores: Array) -> Array:
        """Compute the activations a of the last layer, from what the layers put out."""

    @staticmethod
    def fn(a: Array, y: Array) -> float:
        """Compute C_x, for activations and targets as columns."""

    @staticmethod
    def delta(z: Array, a: Array, y: Array) -> Array:
        """Compute dC_x/dz, for the weighted inputs z of the last layer."""


class QuadraticCost(Cost):
    """C_x = 1/2 |y - a|^2, with a = sigmoid(z) (eq. 6)."""

    layers = (Sigmoid,)
    loss = IdentityWithLoss

    @staticmethod
    def outputs(scores: Array) -> Array:
        """Return those of the network, which ends in a Sigmoid."""
        return scores

    @staticmethod
    def fn(a: Array, y: Array) -> float:
        """C_x = 1/2 |y - a|^2."""
        return float(mean_squared_error(a, y))

    @staticmethod
    def delta(z: Array, a: Array, y: Array) -> Array:
        """dC_x/dz = (a - y) s'(z) (eq. 30): small where the neuron is saturated, right or wrong."""
        check_same_shape("delta", z, a)
        return difference(a, y) * sigmoid_prime(z)


class CrossEntropyCost(Cost):
    """C_x = -sum (y ln a + (1 - y) ln(1 - a)), with a = sigmoid(z) (eq. 63)."""

    layers = ()
    loss = SigmoidWithLoss

    @staticmethod
    def outputs(scores: Array) -> Array:
        """Take the sigmoid of each score."""
        return sigmoid(scores)

    @staticmethod
    def fn(a: Array, y: Array) -> float:
        """C_x = -sum (y ln a + (1 - y) ln(1 - a)), with 0 ln 0 = 0; infinite where a = 1 - y."""
        check_same_shape("CrossEntropyCost.fn", a, y)
        return LogLikelihoodCost.fn(a, y) + LogLikelihoodCost.fn(1.0 - a, 1.0 - y)

    @staticmethod
    def delta(z: Array, a: Array, y: Array) -> Array:
        """dC_x/dz = a - y (eq. 66)."""
        return difference(a, y)


class LogLikelihoodCost(Cost):
    """C_x = -ln a_y, with a = softmax(z) (eq. 80)."""

    layers = ()
    loss = SoftmaxWithLoss

    @staticmethod
    def outputs(scores: Array) -> Array:
        """Take the softmax of each sample's scores."""
        return softmax(scores)

    @staticmethod
    def fn(a: Array, y: Array) -> float:
        """C_x = -sum y ln a, with 0 ln 0 = 0; infinite where a is 0 and y is not."""
        check_same_shape("LogLikelihoodCost.fn", a, y)
        with np.errstate(divide="ignore"):
            return float(cross_entropy_error(a.ravel(), y.ravel(), eps=0.0))

    @staticmethod
    def delta(z: Array, a: Array, y: Array) -> Array:
        """dC_x/dz = a - y (eq. 84)."""
        return difference(a, y)


COSTS: dict[str, type[Cost]] = {
    cost.__name__: cost for cost in (QuadraticCost, CrossEntropyCost, LogLikelihoodCost)
}
"""The costs by the names that saved networks tell."""
