"""The layers of Deep Learning from Scratch as the book writes them: objects that remember.

Also its optimizers, which take Python's numbers for parameters, too, and its trainer.

    relu = Relu()
    out = relu.forward(x)
    dx = relu.backward(dout)

A thin face over `xpnet.layers`, for following the book line by line. `forward` keeps the backward
function of that call, and `backward` calls it; networks use the functions themselves.
"""

from collections.abc import Mapping, MutableMapping
from numbers import Real
from typing import Any

import numpy as np

from xpnet import layers, optim, train
from xpnet.arrays import Array, array_namespace, device_of, to_numpy
from xpnet.arrays.values import floating
from xpnet.errors import XPNetError
from xpnet.models import Network


class _Remembering:
    """A layer that turns `forward(...) -> (value, backward)` into the book's pair of methods."""

    _layer: Any

    def __init__(self) -> None:
        self._backward: Any = None

    def forward(self, *inputs: Array) -> Array:
        """Return the output alone; its backward is kept for the next call of `backward`."""
        value, self._backward = self._layer.forward(*inputs)
        return value

    def backward(self, dout: Array = 1.0) -> Array:
        """Return the gradient of the last `forward` by its input, or a tuple by its inputs."""
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


class _WithWeights(_Remembering):
    """A layer on the arrays W and b, which it reads anew in each forward; keeps `dW` and `db`."""

    def __init__(self, W: Array, b: Array) -> None:
        super().__init__()
        self.W, self.b = W, b
        self.dW: Array = None
        self.db: Array = None

    def forward(self, *inputs: Array) -> Array:
        """Return the output alone; its backward is kept for the next call of `backward`."""
        self._layer.params = {"W": floating(self.W), "b": floating(self.b)}
        return super().forward(*inputs)

    def _keep(self, result: Any) -> Array:
        dx, grads = result
        self.dW, self.db = grads["W"], grads["b"]
        return dx


class Affine(_WithWeights):
    """Fully connected layer on W (n_in, n_out) and b (n_out,); see `xpnet.layers.Affine`."""

    def __init__(self, W: Array, b: Array) -> None:
        super().__init__(W, b)
        self._layer = layers.Affine(*W.shape, std=0.0)


class Convolution(_WithWeights):
    """Convolution with W (FN, C, FH, FW) and b (FN,); see `xpnet.layers.Convolution`."""

    def __init__(self, W: Array, b: Array, stride: int = 1, pad: int = 0) -> None:
        super().__init__(W, b)
        FN, C, FH, FW = W.shape
        self._layer = layers.Convolution(C, FN, (FH, FW), stride=stride, pad=pad, std=0.0)


class Pooling(_Remembering):
    """Max pooling; see `xpnet.layers.MaxPool`."""

    def __init__(self, pool_h: int, pool_w: int, stride: int = 1, pad: int = 0) -> None:
        super().__init__()
        self._layer = layers.MaxPool((pool_h, pool_w), stride=stride, pad=pad)


class Dropout(_Remembering):
    """Dropout: `forward(x, train_flg=True)`; see `xpnet.layers.Dropout`."""

    def __init__(
        self, dropout_ratio: float = 0.5, *, rng: np.random.Generator | int | None = None
    ) -> None:
        super().__init__()
        self._layer = layers.Dropout(dropout_ratio, rng=rng)

    def forward(self, x: Array, train_flg: bool = True) -> Array:
        """Return x with units left out while training, scaled by 1 - ratio otherwise."""
        device, state = device_of(x), self._layer.state
        self._layer.state = {"calls": device.asarray(to_numpy(state["calls"]))}
        value, self._backward = self._layer.forward(x, train=train_flg)
        return value


class BatchNormalization(_Remembering):
    """Batch normalization: `forward(x, train_flg=True)`; see `xpnet.layers.BatchNorm`.

    As the book has it, every pixel of images (N, C, H, W) is a feature by itself, so that gamma and
    beta are (C H W,); in `layers.BatchNorm` a channel is one. Keeps `dgamma` and `dbeta`.
    """

    def __init__(
        self,
        gamma: Array,
        beta: Array,
        momentum: float = 0.9,
        running_mean: Array = None,
        running_var: Array = None,
    ) -> None:
        super().__init__()
        self.gamma, self.beta = gamma, beta
        self.dgamma: Array = None
        self.dbeta: Array = None
        xp, gamma = array_namespace(gamma), floating(gamma)
        mean = xp.zeros_like(gamma) if running_mean is None else xp.asarray(running_mean, copy=True)
        var = xp.ones_like(gamma) if running_var is None else xp.asarray(running_var, copy=True)
        self._layer = layers.BatchNorm(gamma.shape[0], momentum=momentum)
        self._layer.state = {"running_mean": mean, "running_var": var}

    @property
    def running_mean(self) -> Array:
        """The mean that inference takes."""
        return self._layer.state["running_mean"]

    @property
    def running_var(self) -> Array:
        """The variance that inference takes."""
        return self._layer.state["running_var"]

    def forward(self, x: Array, train_flg: bool = True) -> Array:
        """Return the normalized x, by the statistics of the batch while training."""
        reshape = array_namespace(x).reshape
        self._layer.params = {"gamma": floating(self.gamma), "beta": floating(self.beta)}
        rows, backward = self._layer.forward(reshape(x, (x.shape[0], -1)), train=train_flg)

        def shaped(dout: Array) -> tuple[Array, layers.Params]:
            dx, grads = backward(reshape(dout, rows.shape))
            return reshape(dx, x.shape), grads

        self._backward = shaped
        return reshape(rows, x.shape)

    def _keep(self, result: Any) -> Array:
        dx, grads = result
        self.dgamma, self.dbeta = grads["gamma"], grads["beta"]
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


class _OfNumbers(optim.Optimizer):
    """An optimizer for which parameters may be Python's numbers, which it replaces by others."""

    def __init__(self, *arguments: float, **named: float) -> None:
        super().__init__(*arguments, **named)
        self._numbers: dict[str, np.ndarray] = {}

    def update(self, params: Mapping[str, Any], grads: Mapping[str, Any]) -> None:
        """Take one step: change arrays in place, and put new numbers into `params`."""
        numbers = {name: p for name, p in params.items() if isinstance(p, Real)}
        for name, p in numbers.items():
            self._numbers.setdefault(name, np.empty(()))[...] = p
        arrays = {name: self._numbers.get(name, p) for name, p in params.items()}
        super().update(arrays if numbers else params, grads)
        if isinstance(params, MutableMapping):
            params.update({name: float(self._numbers[name]) for name in numbers})


class SGD(_OfNumbers, optim.SGD):
    """See `xpnet.optim.SGD`."""


class Momentum(_OfNumbers, optim.Momentum):
    """See `xpnet.optim.Momentum`."""


class Nesterov(_OfNumbers, optim.Nesterov):
    """See `xpnet.optim.Nesterov`."""


class AdaGrad(_OfNumbers, optim.AdaGrad):
    """See `xpnet.optim.AdaGrad`."""


class RMSprop(_OfNumbers, optim.RMSprop):
    """See `xpnet.optim.RMSprop`."""


class Adam(_OfNumbers, optim.Adam):
    """See `xpnet.optim.Adam`."""


class Trainer(train.Trainer):
    """The book's trainer, whose optimizers by name have a rate of 0.01 if none is given."""

    def __init__(
        self,
        network: Network,
        x_train: np.ndarray,
        t_train: np.ndarray,
        x_test: np.ndarray,
        t_test: np.ndarray,
        epochs: int = 20,
        mini_batch_size: int = 100,
        optimizer: str | optim.Optimizer = "SGD",
        optimizer_param: Mapping[str, float] | None = None,
        *arguments: Any,
        **options: Any,
    ) -> None:
        if optimizer_param is None and isinstance(optimizer, str):
            optimizer_param = {"lr": 0.01}
        data = (x_train, t_train, x_test, t_test)
        how = (epochs, mini_batch_size, optimizer, optimizer_param)
        super().__init__(network, *data, *how, *arguments, **options)
