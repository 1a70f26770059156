"""Convolution by matrix products on images of memory order (H, W, n, C)."""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from xpnet.engine.cpu.scratch import Scratch
from xpnet.functions.im2col import shifted
from xpnet.layers import Convolution, Params, Shape


class PlanesGemm:
    """Convolution of images with one channel: a plane for each place of the window.

        Y[oy] = X[oy]^T w,   dw = sum over oy of X[oy] dY[oy]

    X[oy], (FH FW + 1, OW n), holds what each place of the window sees along row oy, then ones,
    which w meets with the bias. It is im2col with the window outside, so that filling it copies
    long runs. dX is not computed: images that enter a network need none.
    """

    method = "planes-GEMM"
    dx: np.ndarray | None = None

    @staticmethod
    def fits(layer: Convolution, shape: Shape) -> bool:
        """Whether the images have one channel."""
        return shape[0] == 1

    def __init__(
        self,
        layer: Convolution,
        shape: Shape,
        n: int,
        grads: Params,
        scratch: Scratch,
    ) -> None:
        (_, H, W), (FN, OH, OW) = shape, layer.output_shape(shape)
        FH, FW = layer.params["W"].shape[2:]
        kind, pad, stride = layer.params["W"].dtype, layer.pad, layer.stride
        places = FH * FW
        self._W, self._b = layer.params["W"].reshape(FN, places), layer.params["b"]
        self._dW, self._db = grads["W"].reshape(FN, places), grads["b"]
        self._w = np.empty((places + 1, FN), dtype=kind)
        padded = np.zeros((H + 2 * pad, W + 2 * pad, n), dtype=kind)
        self.x = padded[pad : pad + H, pad : pad + W, :, np.newaxis]
        span = (stride * (OH - 1) + 1, stride * (OW - 1) + 1)
        seen = sliding_window_view(padded, span, axis=(0, 1))
        # An uneven stride leaves room for more places than the window has.
        self._seen = seen[:FH, :FW, :, ::stride, ::stride].transpose(0, 1, 3, 4, 2)
        planes = np.ones((places + 1, OH, OW * n), dtype=kind)
        self._filled = planes[:places].reshape(FH, FW, OH, OW, n)
        self._rows, self._columns = planes.transpose(1, 0, 2), planes.transpose(1, 2, 0)
        self.y = scratch.get("images", (OH, OW, n, FN), kind)
        self.dy = scratch.get("gradient", (OH, OW, n, FN), kind)
        self._dw_rows = scratch.get("filters", (OH, places + 1, FN), kind)
        self._dw = np.empty((places + 1, FN), dtype=kind)

    def prepare(self) -> None:
        """Filters and biases as one matrix."""
        self._w[:-1] = self._W.T
        self._w[-1] = self._b

    def forward(self) -> None:
        """From x to y."""
        np.copyto(self._filled, self._seen)
        OH, OW, n, FN = self.y.shape
        np.matmul(self._columns, self._w, out=self.y.reshape(OH, OW * n, FN))

    def backward(self) -> None:
        """From dy to the gradients."""
        OH, OW, n, FN = self.y.shape
        np.matmul(self._rows, self.dy.reshape(OH, OW * n, FN), out=self._dw_rows)
        np.sum(self._dw_rows, axis=0, out=self._dw)
        self._dW[...] = self._dw[:-1].T
        self._db[...] = self._dw[-1]


class ShiftGemm:
    """Convolution as one product for each place of the window; any window, stride and padding.

        Y = sum over k of x_k W_k + b,   dW_k = x_k^T dY,   dx_k += dY W_k^T

    as in `xpnet.layers.Convolution`, where x_k is the image as place k of the window sees it: here
    always a view, into which the last formula also writes.
    """

    method = "shift-GEMM"

    def __init__(
        self,
        layer: Convolution,
        shape: Shape,
        n: int,
        grads: Params,
        scratch: Scratch,
        *,
        need_dx: bool,
    ) -> None:
        (C, H, W), (FN, OH, OW) = shape, layer.output_shape(shape)
        FH, FW = layer.params["W"].shape[2:]
        kind, pad, stride = layer.params["W"].dtype, layer.pad, layer.stride
        self._W, self._b, self._dW, self._db = (
            layer.params["W"], layer.params["b"], grads["W"], grads["b"],
        )  # fmt: skip
        self._w = np.empty((FH, FW, C, FN), dtype=kind)
        inside = (slice(pad, pad + H), slice(pad, pad + W))
        padded = np.zeros((H + 2 * pad, W + 2 * pad, n, C), dtype=kind)
        self.x = padded[inside]
        # Where the stride is 1, neighbouring columns make one matrix.
        matrices = (OH, OW * n) if stride == 1 else (OH, OW, n)

        def rows(images: np.ndarray) -> np.ndarray:
            return images.reshape(*matrices, images.shape[-1])

        def places(images: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
            return ((fy, fx, rows(view)) for fy, fx, view in shifted(images, FH, FW, stride))

        self.y = scratch.get("images", (OH, OW, n, FN), kind)
        self.dy = scratch.get("gradient", (OH, OW, n, FN), kind)
        self._y, self._dy = rows(self.y), rows(self.dy)
        self._term = scratch.get("product", self._y.shape, kind)
        self._x_places = list(places(padded))
        self._dw = np.empty((FH, FW, C, FN), dtype=kind)
        self._dw_rows = scratch.get("filters", (*matrices[:-1], C, FN), kind)
        self._ones = np.ones(OH * OW * n, dtype=kind)
        self.dx: np.ndarray | None = None
        if need_dx:
            self._dx_padded = scratch.get("images", padded.shape, kind)
            self.dx = self._dx_padded[inside]
            self._dx_term = scratch.get("product", (*matrices, C), kind)
            self._dx_places = list(places(self._dx_padded))

    def prepare(self) -> None:
        """Filters in the order of the products."""
        self._w[...] = self._W.transpose(2, 3, 1, 0)

    def forward(self) -> None:
        """From x to y."""
        (_, _, first), *others = self._x_places
        np.matmul(first, self._w[0, 0], out=self._y)
        for fy, fx, x in others:
            np.matmul(x, self._w[fy, fx], out=self._term)
            self._y += self._term
        self._y += self._b

    def backward(self) -> None:
        """From dy to the gradients and dx."""
        for fy, fx, x in self._x_places:
            np.matmul(x.swapaxes(-1, -2), self._dy, out=self._dw_rows)
            np.sum(self._dw_rows, axis=tuple(range(self._y.ndim - 2)), out=self._dw[fy, fx])
        self._dW[...] = self._dw.transpose(3, 2, 0, 1)
        np.matmul(self._ones, self._dy.reshape(len(self._ones), -1), out=self._db)
        if self.dx is not None:
            self._dx_padded[...] = 0.0
            for fy, fx, dx in self._dx_places:
                np.matmul(self._dy, self._w[fy, fx].T, out=self._dx_term)
                dx += self._dx_term
