"""The layers of Deep Learning from Scratch as the book writes them: objects that remember.

    relu = Relu()
    out = relu.forward(x)
    dx = relu.backward(dout)

A thin face over `xpnet.layers`, for following the book line by line. `forward` keeps the backward
function of that call, and `backward` calls it; networks use the functions themselves.
"""

from typing import Any

from xpnet import layers
from xpnet.backend import Array
from xpnet.errors import XPNetError


class _Remembering:
    """Turns `forward(...) -> (value, backward)` into the book's pair of methods."""

    _layer: Any

    def __init__(self) -> None:
        self._backward: Any = None

    def forward(self, *inputs: Array) -> Array:
        """The output alone; its backward is kept for the next call of `backward`."""
        value, self._backward = self._layer.forward(*inputs)
        return value

    def backward(self, dout: Array = 1.0) -> Array:
        """The gradient of the last `forward` by its input, or a tuple of them by its inputs."""
        if self._backward is None:
            raise XPNetError(f"{type(self).__name__}.backward needs a forward first; call forward")
        return self._keep(self._backward(dout))

    def _keep(self, result: Any) -> Array:
        return result[0]


class Relu(_Remembering):
    """Rectifier; see `xpnet.layers.ReLU`."""

    def __init__(self) -> None:
        super().__init__()
        self._layer = layers.ReLU()


class Sigmoid(_Remembering):
    """Sigmoid; see `xpnet.layers.Sigmoid`."""

    def __init__(self) -> None:
        super().__init__()
        self._layer = layers.Sigmoid()


class AddLayer(_Remembering):
    """Addition node: `forward(x, y)`, `backward(dout)` gives `(dx, dy)`."""

    def __init__(self) -> None:
        super().__init__()
        self._layer = layers.Add()


class MulLayer(_Remembering):
    """Multiplication node: `forward(x, y)`, `backward(dout)` gives `(dx, dy)`."""

    def __init__(self) -> None:
        super().__init__()
        self._layer = layers.Mul()


class Affine(_Remembering):
    """Fully connected layer on the arrays W (n_in, n_out) and b (n_out,); keeps `dW` and `db`."""

    def __init__(self, W: Array, b: Array) -> None:
        super().__init__()
        self.W, self.b = W, b
        self.dW: Array = None
        self.db: Array = None
        self._layer = layers.Affine(*W.shape, std=0.0)

    def forward(self, *inputs: Array) -> Array:
        """X W + b."""
        self._layer.params = {"W": self.W, "b": self.b}
        return super().forward(*inputs)

    def _keep(self, result: Any) -> Array:
        dx, grads = result
        self.dW, self.db = grads["W"], grads["b"]
        return dx


class _RememberingLoss(_Remembering):
    def _keep(self, result: Any) -> Array:
        return result


class SoftmaxWithLoss(_RememberingLoss):
    """Softmax and cross-entropy: `forward(x, t)` gives the loss, `backward()` (y - t) / N."""

    def __init__(self) -> None:
        super().__init__()
        self._layer = layers.SoftmaxWithLoss()


class IdentityWithLoss(_RememberingLoss):
    """Identity and half the squared error: `forward(x, t)` and `backward()` (y - t) / N."""

    def __init__(self) -> None:
        super().__init__()
        self._layer = layers.IdentityWithLoss()
