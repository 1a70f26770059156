"""Layers of numbers of one bit (section 8.3.4): -1 and 1 forward, real numbers to learn by.

Hubara, Courbariaux, Soudry, El-Yaniv, Bengio 2016, "Binarized neural networks", arXiv:1602.02830.
A block is a weight layer of this file, a `BatchNorm` and a `Sign`; the last block has no `Sign`.
What such a network computes is computed with bits by `xpnet.models.packed`.
"""

from typing import Any, TypeVar

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.functions.activations import binarized
from xpnet.functions.im2col import Pad, Stride, Uneven
from xpnet.layers.activation import Elementwise
from xpnet.layers.base import Backward, Params
from xpnet.layers.conv import Convolution
from xpnet.layers.dense import Affine

BOUNDED = {"W": (-1.0, 1.0)}
"""Where the real weights stay: farther out they would change nothing, and find no way back."""

L = TypeVar("L", Affine, Convolution)


class Sign(Elementwise):
    """y = 1 where x >= 0, else -1. Its derivative is 0, and so another one goes back:

        dx = dy where |x| <= 1, else 0,

    which is that of the identity, cut off where x is far from changing its sign ("straight-through
    estimator"; section 1.3 of the paper). What is 0 up to rounding may have the other sign where an
    engine, or another library, rounds otherwise.
    """

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The signs of x, of any shape; NaN stays NaN."""

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            xp = array_namespace(dy)
            return dy * xp.astype(xp.abs(x) <= 1, dy.dtype), {}

        return binarized(x), backward


class BinaryAffine(Affine):
    """Fully connected layer of the weights' signs, Y = X sign(W), without a bias.

        dX = dY sign(W)^T,   dW = X^T dY

    The gradient of the signs goes to the real W unchanged; each update of the network brings W
    back into -1 ... 1. X may be real, as that of a first layer is.

    Parameters
    ----------
    n_in, n_out : number of inputs and outputs of a sample
    std : standard deviation of the initial weights, which are cut off at -1 and 1, or the name of a
        rule for it; sqrt(1 / n_in) if None
    rng : NumPy generator or seed
    """

    # Towards 0, where a sign changes, is nowhere for a weight to go.
    decays = ()  # type: ignore[assignment]
    bounds = BOUNDED

    @checked
    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        std: float | str | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        std = "xavier" if std is None else std
        super().__init__(n_in, n_out, std=std, rng=rng, bias=False)
        self.params = {"W": np.clip(self.params["W"], *BOUNDED["W"])}

    def arguments(self) -> dict[str, Any]:
        """Sizes; there is no bias."""
        return {key: value for key, value in super().arguments().items() if key != "bias"}

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """X sign(W), of shape (N, n_out)."""
        return Affine.forward(_with_signs(self), x, train=train)


class BinaryConvolution(Convolution):
    """Convolution with the filters' signs, without a bias; what is said of `BinaryAffine` holds.

    Padding is with zeros, which are neither of the two numbers and add nothing.

    Parameters
    ----------
    channels, filters, filter_size, stride, pad, uneven, groups : as for `Convolution`
    std, rng : of the initial weights, as for `BinaryAffine`; sqrt(1 / (channels FH FW)) if None
    """

    decays = ()  # type: ignore[assignment]
    bounds = BOUNDED

    @checked
    def __init__(
        self,
        channels: int,
        filters: int,
        filter_size: int | tuple[int, int],
        *,
        stride: Stride = 1,
        pad: Pad = 0,
        std: float | str | None = None,
        rng: np.random.Generator | int | None = None,
        uneven: Uneven = "error",
        groups: int = 1,
    ) -> None:
        super().__init__(
            channels,
            filters,
            filter_size,
            stride=stride,
            pad=pad,
            std="xavier" if std is None else std,
            rng=rng,
            uneven=uneven,
            bias=False,
            groups=groups,
        )
        self.params = {"W": np.clip(self.params["W"], *BOUNDED["W"])}

    def arguments(self) -> dict[str, Any]:
        """Sizes of the filters, steps and padding; there is no bias."""
        return {key: value for key, value in super().arguments().items() if key != "bias"}

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The filtered images, (N, filters, OH, OW)."""
        return Convolution.forward(_with_signs(self), x, train=train)


def _with_signs(layer: L) -> L:
    """The same layer with the signs as its weights."""
    twin = object.__new__(type(layer))
    twin.__dict__ |= layer.__dict__ | {"params": {"W": binarized(layer.params["W"])}}
    return twin
