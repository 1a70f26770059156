"""Convolution."""

import numpy as np

from xpnet.arrays import Array, array_namespace
from xpnet.errors import ArgumentError
from xpnet.functions.im2col import (
    contiguous,
    conv_output_size,
    cropped,
    gather,
    inner,
    outer,
    padded,
    scatter,
    shifted,
)
from xpnet.functions.init import initial_std, normal
from xpnet.layers.base import Backward, Params, Shape

GATHER_BELOW = 8
"""Channels. With fewer, a product for each place of the window is all overhead: the windows are
laid out first, which makes the convolution one with a 1 x 1 window and C FH FW channels. With more,
nothing is copied. For 1 channel that is 10 times faster, for 16 channels 2 times slower."""


class Convolution:
    """Convolution as networks mean it, without turning the filter round (section 7.2).

        y[n, f, oy, ox] = b[f] + sum over c, fy, fx of W[f, c, fy, fx] x[n, c, oy s + fy, ox s + fx]

    x is padded with zeros first. With x_k the image as place k of the window sees it, as rows over
    n, oy, ox (see `xpnet.functions.im2col`), that is

        Y = sum over k of x_k W_k + b
        dW_k = x_k^T dY,   dx_k += dY W_k^T,   db = sum of the rows of dY

    Parameters
    ----------
    channels, filters : channels of the input and of the output
    filter_size : height and width of the window, or one number for both
    stride, pad : steps of the window; rows and columns of zeros around the image
    std : standard deviation of the initial weights, or the name of a rule for it in
        `xpnet.functions.init`; He's, sqrt(2 / (channels FH FW)), if None. Biases start at 0.
    rng : NumPy generator or seed
    uneven : as in `conv_output_size`
    """

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
        uneven: str = "error",
    ) -> None:
        FH, FW = (filter_size, filter_size) if isinstance(filter_size, int) else filter_size
        if min(channels, filters, FH, FW, stride) < 1 or pad < 0:
            raise ArgumentError(
                "Convolution needs at least one channel, filter, pixel and step, got "
                f"channels={channels}, filters={filters}, filter_size={FH, FW}, stride={stride}, "
                f"pad={pad}"
            )
        std = initial_std(std, channels * FH * FW, filters * FH * FW)
        W = normal((filters, channels, FH, FW), std, rng)
        self.params: Params = {"W": W, "b": np.zeros(filters)}
        self.stride, self.pad, self.uneven = stride, pad, uneven

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

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The filtered images, (N, filters, OH, OW)."""
        xp, W, stride = array_namespace(x), self.params["W"], self.stride
        FN, C, FH, FW = W.shape
        _, OH, OW = self.output_shape(tuple(x.shape[1:]))
        N = x.shape[0]
        image = padded(outer(x), self.pad)
        image_shape = image.shape
        w = contiguous(xp.permute_dims(W, (2, 3, 1, 0)))  # W_k, (C, FN), is w[fy, fx]
        gathered = C < GATHER_BELOW
        if gathered:
            image = xp.reshape(gather(image, FH, FW, stride), (OH, OW, N, FH * FW * C))
            w, FH, FW, stride = xp.reshape(w, (1, 1, FH * FW * C, FN)), 1, 1, 1

        def rows(view: Array) -> Array:
            """x_k: one matrix for each oy, which are views where the stride is 1."""
            return xp.reshape(view, (OH, OW * N, -1))

        y = None
        for fy, fx, view in shifted(image, FH, FW, stride):
            term = rows(view) @ w[fy, fx, ...]
            if y is None:
                y = term
            else:
                y += term
        y += self.params["b"]

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            d = xp.reshape(outer(dy), (OH, OW * N, FN))
            dw = xp.empty(w.shape, dtype=w.dtype, device=w.device)
            for fy, fx, view in shifted(image, FH, FW, stride):
                dw[fy, fx, ...] = xp.sum(xp.matrix_transpose(rows(view)) @ d, axis=0)
            # As a product with ones: libraries sum over leading axes slowly.
            ones = xp.ones((1, OH * OW * N), dtype=d.dtype, device=d.device)
            db = xp.reshape(ones @ xp.reshape(d, (-1, FN)), (FN,))
            dw = xp.reshape(dw, (*W.shape[2:], C, FN))
            grads = {"W": xp.permute_dims(dw, (3, 2, 0, 1)), "b": db}
            if not need_dx:
                return None, grads

            dx = xp.zeros(image.shape, dtype=d.dtype, device=d.device)
            for fy, fx, view in shifted(dx, FH, FW, stride):
                view += xp.reshape(d @ w[fy, fx, ...].T, view.shape)
            if gathered:
                windows = xp.reshape(dx, (OH, OW, N, *W.shape[2:], C))
                dx = scatter(windows, image_shape, self.stride)
            return inner(cropped(dx, self.pad)), grads

        return inner(xp.reshape(y, (OH, OW, N, FN))), backward
