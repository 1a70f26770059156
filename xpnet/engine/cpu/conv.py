"""Convolution by matrix products on images of memory order (H, W, n, C)."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from xpnet.arrays import Array
from xpnet.engine.cpu.kernel import AsWritten, Kernel, computes
from xpnet.engine.cpu.winograd import Winograd
from xpnet.engine.lower import Op
from xpnet.functions.im2col import shifted
from xpnet.layers import Convolution, Shape


class PlanesGemm(Kernel):
    """Convolution of images with one channel: a plane for each place of the window.

        Y[oy] = X[oy]^T w,   dw = sum over oy of X[oy] dY[oy]

    X[oy], (FH FW + 1, OW n), holds what each place of the window sees along row oy, then ones,
    which w meets with the bias; both only if there is one. It is im2col with the window outside, so
    that filling it copies long runs. dX is not computed: images that enter a network need none.
    """

    owns_x = owns_y = True
    method = "planes-GEMM"
    dx: Array = None

    @staticmethod
    def fits(layer: Convolution, shape: Shape) -> bool:
        """Tell whether the images have one channel."""
        return shape[0] == 1

    def build(self) -> None:
        """The padded images, and the planes that are views of them."""
        layer, n, kind = self.op.layer, self.buffers.n, self.buffers.dtype
        assert isinstance(layer, Convolution)
        (shape,), (FN, OH, OW) = self.op.input_shapes, self.op.output_shape
        (_, H, W), pad, stride = shape, layer.pad, layer.stride
        FH, FW = layer.params["W"].shape[2:]
        self._places = places = FH * FW
        self._W, self._b = layer.params["W"].reshape(FN, places), layer.params.get("b")
        rows = places if self._b is None else places + 1
        self._w = np.empty((rows, FN), dtype=kind)
        padded = np.zeros((H + 2 * pad, W + 2 * pad, n), dtype=kind)
        self.x = padded[pad : pad + H, pad : pad + W, :, np.newaxis]
        span = (stride * (OH - 1) + 1, stride * (OW - 1) + 1)
        seen = sliding_window_view(padded, span, axis=(0, 1))
        # An uneven stride leaves room for more places than the window has.
        self._seen = seen[:FH, :FW, :, ::stride, ::stride].transpose(0, 1, 3, 4, 2)
        planes = np.ones((rows, OH, OW * n), dtype=kind)
        self._filled = planes[:places].reshape(FH, FW, OH, OW, n)
        self._rows, self._columns = planes.transpose(1, 0, 2), planes.transpose(1, 2, 0)
        self.y, self.dy = self.buffers.value(self.number), self.buffers.gradient(self.number)
        self._dw_rows = self.buffers.scratch("filters", (OH, rows, FN))
        self._dw = np.empty((rows, FN), dtype=kind)

    def prepare(self) -> None:
        """Filters and biases as one matrix."""
        self._w[: self._places] = self._W.T
        if self._b is not None:
            self._w[-1] = self._b

    def forward(self) -> None:
        """Compute y from x."""
        np.copyto(self._filled, self._seen)
        OH, OW, n, FN = self.y.shape
        np.matmul(self._columns, self._w, out=self.y.reshape(OH, OW * n, FN))

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients of the parameters from dy."""
        if not need_grads:
            return
        OH, OW, n, FN = self.y.shape
        np.matmul(self._rows, self.dy.reshape(OH, OW * n, FN), out=self._dw_rows)
        np.sum(self._dw_rows, axis=0, out=self._dw)
        dW = self.grads["W"].reshape(FN, self._places)
        dW[...] = self._dw[: self._places].T
        if self._b is not None:
            self.grads["b"][...] = self._dw[-1]


@computes(Convolution)
class ShiftGemm(Kernel):
    """Convolution as one product for each place of the window; any window, stride and padding.

        Y = sum over k of x_k W_k + b,   dW_k = x_k^T dY,   dx_k += dY W_k^T

    where x_k is the image as place k of the window sees it: always a view, into which the last
    formula also writes.
    """

    owns_x = owns_y = True
    method = "shift-GEMM"

    @classmethod
    def best(cls, op: Op) -> type[Kernel]:
        """One that needs fewer products, or larger ones, where it fits."""
        layer, (shape,) = op.layer, op.input_shapes
        assert isinstance(layer, Convolution)
        alike = isinstance(layer.stride, int) and isinstance(layer.pad, int)
        if layer.groups > 1 or layer.table is not None or not alike:
            return AsWritten
        if PlanesGemm.fits(layer, shape) and not any(op.need_dx):
            return PlanesGemm
        # Winograd rounds equal windows apart, by where they lie in their tiles. A pool would then
        # find its maximum elsewhere on even ground, and an Unpooled put another image together.
        if Winograd.fits(layer, shape) and not op.keeps_ties:
            return Winograd
        return ShiftGemm

    def build(self) -> None:
        """The padded images, and what each place of the window sees of them."""
        layer, n, kind = self.op.layer, self.buffers.n, self.buffers.dtype
        assert isinstance(layer, Convolution)
        (shape,), (FN, OH, OW) = self.op.input_shapes, self.op.output_shape
        (C, H, W), pad, stride = shape, layer.pad, layer.stride
        FH, FW = layer.params["W"].shape[2:]
        self._W, self._b = layer.params["W"], layer.params.get("b")
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

        self.y, self.dy = self.buffers.value(self.number), self.buffers.gradient(self.number)
        self._y, self._dy = rows(self.y), rows(self.dy)
        self._term = self.buffers.scratch("product", self._y.shape)
        self._x_places = list(places(padded))
        self._dw = np.empty((FH, FW, C, FN), dtype=kind)
        self._dw_rows = self.buffers.scratch("filters", (*matrices[:-1], C, FN))
        self._ones = np.ones(OH * OW * n, dtype=kind)
        self.dx: Array = None
        if any(self.op.need_dx):
            self._dx_padded = self.buffers.passed(self.number, padded.shape)
            self.dx = self._dx_padded[inside]
            self._dx_term = self.buffers.scratch("product", (*matrices, C))
            self._dx_places = list(places(self._dx_padded))

    def prepare(self) -> None:
        """Filters in the order of the products."""
        self._w[...] = self._W.transpose(2, 3, 1, 0)

    def forward(self) -> None:
        """Compute y from x."""
        (_, _, first), *others = self._x_places
        np.matmul(first, self._w[0, 0], out=self._y)
        for fy, fx, x in others:
            np.matmul(x, self._w[fy, fx], out=self._term)
            self._y += self._term
        if self._b is not None:
            self._y += self._b

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        if need_grads:
            for fy, fx, x in self._x_places:
                np.matmul(x.swapaxes(-1, -2), self._dy, out=self._dw_rows)
                np.sum(self._dw_rows, axis=tuple(range(self._y.ndim - 2)), out=self._dw[fy, fx])
            self.grads["W"][...] = self._dw.transpose(3, 2, 0, 1)
            if self._b is not None:
                dy = self.dy.reshape(len(self._ones), -1)
                np.matmul(self._ones, dy, out=self.grads["b"])
        if need_dx[0]:
            self._dx_padded[...] = 0.0
            for fy, fx, dx in self._dx_places:
                np.matmul(self._dy, self._w[fy, fx].T, out=self._dx_term)
                dx += self._dx_term
