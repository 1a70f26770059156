"""Convolution."""

from collections.abc import Iterator
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.arrays.values import floating
from xpnet.errors import ArgumentError
from xpnet.functions.im2col import Uneven, col2im, conv_output_size, im2col
from xpnet.functions.init import filled, initial_std, normal
from xpnet.layers.base import Backward, Leaf, Params, Shape, sample_shape
from xpnet.layers.numbers import height_and_width

COLUMNS = 2**26
"""Bytes of columns at most, but those of one image: larger batches are gone through in parts."""


class Convolution(Leaf):
    """Convolution as networks mean it, without turning the filter round (section 7.2).

        y[n, f, oy, ox] = b[f] + sum over c, fy, fx of W[f, c, fy, fx] x[n, c, oy s + fy, ox s + fx]

    x is padded with zeros first. With every window of x laid out as a row of X = im2col(x), and W
    as a matrix with a row for each filter, that is one product (Figure 7-19):

        Y = X W^T + b
        dW = dY^T X,   dX = dY W,   dx = col2im(dX),   db = sum of the rows of dY

    Rows of X, Y and dY run over n, oy, ox; columns of X and W over c, fy, fx.

    Parameters
    ----------
    channels, filters : channels of the input and of the output
    filter_size : height and width of the window, or one number for both
    stride, pad : steps of the window; rows and columns of zeros around the image
    std : standard deviation of the initial weights, or the name of a rule for it in
        `xpnet.functions.init`; He's, sqrt(2 / (channels FH FW)), if None. Biases start at 0.
    rng : NumPy generator or seed
    uneven : as in `conv_output_size`
    bias : whether there is a b
    """

    decays = ("W",)

    @checked
    def __init__(
        self,
        channels: int,
        filters: int,
        filter_size: int | tuple[int, int],
        *,
        stride: int = 1,
        pad: int = 0,
        std: float | str | None = None,
        rng: np.random.Generator | int | None = None,
        uneven: Uneven = "error",
        bias: bool = True,
    ) -> None:
        FH, FW = height_and_width("Convolution", "filter_size", filter_size)
        if min(channels, filters, FH, FW, stride) < 1 or pad < 0:
            raise ArgumentError(
                "Convolution needs at least one channel, filter, pixel and step, got "
                f"channels={channels}, filters={filters}, filter_size={FH, FW}, stride={stride}, "
                f"pad={pad}"
            )
        std = initial_std(std, channels * FH * FW, filters * FH * FW)
        W = normal((filters, channels, FH, FW), std, rng)
        self.params: Params = {"W": W, "b": filled(filters, 0.0)} if bias else {"W": W}
        self.stride, self.pad, self.uneven = stride, pad, uneven

    def arguments(self) -> dict[str, Any]:
        """Sizes of the filters, steps, padding, and whether there is a bias."""
        filters, channels, *window = self.params["W"].shape
        return {
            "channels": channels,
            "filters": filters,
            "filter_size": tuple(window),
            "stride": self.stride,
            "pad": self.pad,
            "uneven": self.uneven,
            "bias": "b" in self.params,
        }

    def output_shape(self, shape: Shape) -> Shape:
        """(filters, OH, OW) for images of shape (channels, H, W)."""
        filters, channels, *window = self.params["W"].shape
        if len(shape) != 3 or shape[0] != channels:
            raise ArgumentError(
                f"Convolution takes images of {channels} channels, ({channels}, H, W), got {shape}"
            )
        return filters, *(
            conv_output_size(size, filter_size, self.stride, self.pad, uneven=self.uneven)
            for size, filter_size in zip(shape[1:], window, strict=True)
        )

    def macs(self, shape: Shape) -> int:
        """Multiplications, each with an addition, for a sample of this shape: W's at each pixel."""
        _, OH, OW = self.output_shape(shape)
        return OH * OW * int(prod(self.params["W"].shape))

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The filtered images, (N, filters, OH, OW)."""
        xp, W, b = array_namespace(x), self.params["W"], self.params.get("b")
        FN, _, FH, FW = W.shape
        _, OH, OW = self.output_shape(sample_shape(x))
        x = floating(x)
        w = xp.reshape(W, (FN, -1))
        window = (FH, FW, self.stride, self.pad)
        parts = list(_parts(x.shape[0], OH * OW * w.shape[1] * _size(xp, x)))

        def columns(part: slice) -> Array:
            """X of some images."""
            return im2col(x[part, ...], *window, uneven=self.uneven)

        # Of a batch that is gone through in parts nothing is kept, and X is laid out again.
        kept = columns(parts[0]) if len(parts) == 1 else None
        y = xp.empty((x.shape[0], OH, OW, FN), dtype=x.dtype, device=x.device)
        for part in parts:
            X = columns(part) if kept is None else kept
            Y = X @ w.T if b is None else X @ w.T + b
            y[part, ...] = xp.reshape(Y, (-1, OH, OW, FN))

        def backward(
            dy: Array, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array, Params]:
            d = xp.permute_dims(dy, (0, 2, 3, 1))
            dw, db = xp.zeros_like(w), xp.zeros_like(w[:, 0])
            dx = xp.empty(x.shape, dtype=x.dtype, device=x.device) if need_dx else None
            for part in parts:
                dY = xp.reshape(d[part, ...], (-1, FN))
                if need_grads:
                    dw += dY.T @ (columns(part) if kept is None else kept)
                    # As a product with ones: libraries sum over leading axes slowly.
                    db += xp.ones((dY.shape[0],), dtype=dY.dtype, device=dY.device) @ dY
                if dx is not None:
                    shape = x[part, ...].shape
                    dx[part, ...] = col2im(dY @ w, shape, *window, uneven=self.uneven)
            grads = {"W": xp.reshape(dw, W.shape), "b": db} if need_grads else {}
            return dx, {name: grads[name] for name in self.params if name in grads}

        return xp.permute_dims(y, (0, 3, 1, 2)), backward


def _parts(n: int, size: int) -> Iterator[slice]:
    """The images in parts, whose columns take `size` bytes for each image."""
    step = max(1, COLUMNS // max(1, size))
    return (slice(a, b) for a, b in pairwise([*range(0, n, step), n]))


def _size(xp: Any, x: Array) -> int:
    """Bytes of a number."""
    return int(xp.finfo(x.dtype).bits) // 8
