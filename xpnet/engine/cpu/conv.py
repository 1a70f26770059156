"""Convolution by matrix products on images of memory order (H, W, n, C)."""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from xpnet.arrays import Array
from xpnet.engine.cpu.buffers import by_groups, zeros
from xpnet.engine.cpu.depthwise import Depthwise
from xpnet.engine.cpu.kernel import Kernel, computes
from xpnet.engine.cpu.winograd import Winograd
from xpnet.engine.lower import Op
from xpnet.functions.im2col import shifted
from xpnet.layers import Convolution, Shape

PLANES = 4
"""Channels at most that have planes: a product for each place of the window is then too thin."""
FEW = 64
"""Rows below which a product is no longer fast: pixels of all rows are then copied side by side."""


class PlanesGemm(Kernel):
    """Convolution of images with few channels: a plane for each place of the window.

        Y[oy] = X[oy]^T w,   dw = sum over oy of X[oy] dY[oy]

    X[oy], (C FH FW + 1, OW n), holds what each place of the window sees of each channel along row
    oy, then ones, which w meets with the bias; both only if there is one. It is im2col with the
    window outside, so that filling it copies long runs. dX is not computed: images that enter a
    network need none.
    """

    owns_x = owns_y = True
    method = "planes-GEMM"
    dx: Array = None

    @staticmethod
    def fits(layer: Convolution, shape: Shape) -> bool:
        """Tell whether the images have one channel: then nothing is faster."""
        return shape[0] == 1

    @staticmethod
    def fits_better(layer: Convolution, shape: Shape) -> bool:
        """Tell whether they have so few that a product for each place would be too thin."""
        return shape[0] <= PLANES and layer.groups == 1

    def build(self) -> None:
        """The padded images, and filters and biases as one matrix."""
        layer, n, kind = self.op.layer, self.buffers.n, self.buffers.dtype
        assert isinstance(layer, Convolution)
        ((C, H, W),), (FN, OH, OW) = self.op.input_shapes, self.op.nodes[0].output_shape
        top, left, bottom, right = layer.pads
        self._places = layer.params["W"][0].size
        self._W, self._b = layer.params["W"].reshape(FN, -1), layer.params.get("b")
        rows = self._places if self._b is None else self._places + 1
        self._w, self._dw = zeros((rows, FN), kind), zeros((rows, FN), kind)
        # Each channel by itself, unlike everywhere else.
        self._padded = zeros((C, top + H + bottom, left + W + right, n), kind)
        self.x = self._padded[:, top : top + H, left : left + W].transpose(1, 2, 3, 0)
        self.build_output(layer, (OH, OW, n, FN))

    def build_output(self, layer: Convolution, shape: tuple[int, int, int, int]) -> None:
        """The planes, which are views of the images, and y."""
        OH, OW, n, FN = shape
        (C, *_), (FH, FW), (down, across) = (
            self._padded.shape,
            layer.params["W"].shape[2:],
            layer.strides,
        )
        span = (down * (OH - 1) + 1, across * (OW - 1) + 1)
        seen = sliding_window_view(self._padded, span, axis=(1, 2))
        # An uneven stride leaves room for more places than the window has.
        seen = seen[:, :FH, :FW, :, ::down, ::across]
        self._seen = seen.transpose(0, 1, 2, 4, 5, 3)
        planes = zeros((len(self._w), OH, OW * n), self.buffers.dtype)
        planes[self._places :] = 1.0
        self._filled = planes[: self._places].reshape(C, FH, FW, OH, OW, n)
        self._rows, self._columns = planes.transpose(1, 0, 2), planes.transpose(1, 2, 0)
        self.y, self.dy = self.buffers.value(self.number), self.buffers.gradient(self.number)
        self._dw_rows = self.buffers.scratch("filters", (OH, len(self._w), FN))

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
        self.give_gradients()

    def give_gradients(self) -> None:
        """The parameters' gradients, from that of the one matrix."""
        dW = self.grads["W"].reshape(len(self._W), self._places)
        dW[...] = self._dw[: self._places].T
        if self._b is not None:
            self.grads["b"][...] = self._dw[-1]


@computes(Convolution)
class ShiftGemm(Kernel):
    """Convolution as one product for each place of the window; any window, steps and padding.

        Y = sum over k of x_k W_k + b,   dW_k = x_k^T dY,   dx_k += dY W_k^T

    where x_k is the image as place k of the window sees it: a view, into which the last formula
    also writes. Each group of channels has products of its own, on its part of the same views.
    """

    owns_x = owns_y = shares_prepared = True
    method = "shift-GEMM"

    @classmethod
    def best(cls, op: Op) -> type[Kernel]:
        """One that needs fewer products, or larger ones, where it fits."""
        layer, (shape,) = op.layer, op.input_shapes
        assert isinstance(layer, Convolution)
        if Depthwise.fits(layer):
            return Depthwise
        if PlanesGemm.fits(layer, shape) and not any(op.need_dx):
            return PlanesGemm
        # Winograd rounds equal windows apart, by where they lie in their tiles. A pool would then
        # find its maximum elsewhere on even ground, and an Unpooled put another image together.
        if op.keeps_ties:
            return ShiftGemm
        if Winograd.fits(layer, shape):
            return Winograd
        few = PlanesGemm.fits_better(layer, shape) and not any(op.need_dx)
        return PlanesGemm if few else ShiftGemm

    def build(self) -> None:
        """The padded images, and what each place of the window sees of them."""
        layer, n, kind = self.op.layer, self.buffers.n, self.buffers.dtype
        assert isinstance(layer, Convolution)
        ((C, *_),), (FN, OH, OW) = self.op.input_shapes, self.op.nodes[0].output_shape
        G, (_, across), (FH, FW) = layer.groups, layer.strides, layer.params["W"].shape[2:]
        self.build_filters(layer)
        w, back, dw = self._by_place, self._back_by_place, self._dw_by_place
        self._w, self._w_back, self._dw = (
            (each if G > 1 else each[:, :, 0]) for each in (w, back, dw)
        )
        padded, self._dx_padded = self.bordered(layer.pads)
        # Where the stride is 1, neighbouring columns make one matrix.
        matrices: tuple[int, ...] = (OH, OW * n) if across == 1 else (OH, OW, n)
        self._copy: Array = None
        if matrices[-1] < FEW:
            matrices = (OH * OW * n,)
            if padded.shape[:2] != (OH, OW):  # else what the one place sees is in one piece
                self._copy = self.buffers.scratch("place", (OH, OW, n, C))
        self._summed = tuple(range(len(matrices) - 1))

        def rows(images: np.ndarray) -> np.ndarray:
            return by_groups(images.reshape(*matrices, images.shape[-1]), G)

        def places(images: np.ndarray) -> list[np.ndarray]:
            return [view for _, _, view in shifted(images, FH, FW, layer.strides)]

        self._places = [(fy, fx) for fy in range(FH) for fx in range(FW)]
        self.build_output((OH, OW, n, FN))
        self._y, self._dy = rows(self._sum), rows(self._dsum)
        self._term = self.buffers.scratch("product", self._sum.shape)
        self._term_rows = rows(self._term)
        self._seen: list[np.ndarray] = places(padded)
        self._x_rows = [rows(view if self._copy is None else self._copy) for view in self._seen]
        self._dw_rows = self.buffers.scratch("filters", (*matrices[:-1], *self._w.shape[2:]))
        self._ones = np.ones(OH * OW * n, dtype=kind)
        if self._dx_padded is not None:
            self._dx_term = self.buffers.scratch("product", (OH, OW, n, C))
            self._dx_term_rows = rows(self._dx_term)
            self._dx_places = places(self._dx_padded)

    def build_output(self, shape: tuple[int, ...]) -> None:
        """Make y and dy, and what the products add up to."""
        self.y, self.dy = self.buffers.value(self.number), self.buffers.gradient(self.number)
        self._sum, self._dsum = self.y, self.dy

    def build_filters(self, layer: Convolution) -> None:
        """Room for the filters in the order of the products of either way."""
        FN, c, FH, FW = layer.params["W"].shape
        G, places = layer.groups, FH * FW
        self._W, self._b = layer.params["W"].reshape(G, -1, c, FH, FW), layer.params.get("b")
        room = self.buffers.prepared(self, 2 * places, c * FN)
        self._by_place = room[:places].reshape(FH, FW, G, c, -1)
        self._back_by_place = room[places:].reshape(FH, FW, G, -1, c)
        self._dw_by_place = self.buffers.scratch("dw", self._by_place.shape)

    def prepare(self) -> None:
        """Filters in the order of the products."""
        self._by_place[...] = self._W.transpose(3, 4, 0, 2, 1)
        self._back_by_place[...] = self._W.transpose(3, 4, 0, 1, 2)

    def _rows_of(self, place: int) -> np.ndarray:
        """What a place of the window sees, as the rows of the products."""
        if self._copy is not None:
            np.copyto(self._copy, self._seen[place])
        return self._x_rows[place]

    def forward(self) -> None:
        """Compute y from x."""
        for k, place in enumerate(self._places):
            np.matmul(self._rows_of(k), self._w[place], out=self._term_rows if k else self._y)
            if k:
                self._sum += self._term
        if self._b is not None:
            self._sum += self._b

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        if need_grads:
            for k, place in enumerate(self._places):
                np.matmul(self._rows_of(k).swapaxes(-1, -2), self._dy, out=self._dw_rows)
                np.sum(self._dw_rows, axis=self._summed, out=self._dw[place])
            self.give_dw()
            if self._b is not None:
                dy = self._dsum.reshape(len(self._ones), -1)
                np.matmul(self._ones, dy, out=self.grads["b"])
        if need_dx[0]:
            self._dx_padded[...] = 0.0
            for place, dx in zip(self._places, self._dx_places, strict=True):
                np.matmul(self._dy, self._w_back[place], out=self._dx_term_rows)
                dx += self._dx_term

    def give_dw(self) -> None:
        """The filters' gradient, from that in the order of the products."""
        dW = self.grads["W"].reshape(self._W.shape)
        dW[...] = self._dw_by_place.transpose(2, 4, 3, 0, 1)
