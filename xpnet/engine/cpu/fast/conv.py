"""Convolution with ReLU and a pool behind it, while what it puts out is in the cache."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from xpnet.engine.cpu.conv import PlanesGemm, ShiftGemm
from xpnet.engine.cpu.depthwise import Depthwise
from xpnet.engine.cpu.fast.pointwise import RectifiedPointwise
from xpnet.engine.cpu.fast.products import AS_IT_IS, TURNED, add_product, product_address
from xpnet.engine.cpu.fast.rectify import (
    Pooled,
    Rectified,
    hand_back,
    let_pass,
    pool,
    rectify,
)
from xpnet.engine.cpu.fast.shift import RowsGemm
from xpnet.engine.cpu.fast.vectors import arithmetic, wide_vectors
from xpnet.engine.cpu.fast.winograd import PooledWinograd, RectifiedWinograd
from xpnet.engine.cpu.kernel import Kernel, computes_compiled
from xpnet.engine.cpu.pool import halves
from xpnet.engine.cpu.winograd import Winograd
from xpnet.engine.lower import Op, Pattern
from xpnet.layers import Convolution, MaxPool, ReLU
from xpnet.models.nodes import Node


class RectifiedPlanes(Rectified, PlanesGemm):
    """Convolution of images with few channels, and ReLU: row by row, in one call."""

    def build_output(self, layer: Convolution, shape: tuple[int, int, int, int]) -> None:
        """Room for the planes of one row, and for the products that are rectified together."""
        (OH, OW, n, FN), scratch = shape, self.buffers.scratch
        padded = self._padded.reshape(*self._padded.shape[:2], -1)
        planes = scratch("planes", (len(self._w), OW * n))
        products = scratch("product", (self.halves, OW, n * FN))
        self._given = (
            product_address(self.buffers.dtype), padded, n, layer.params["W"].shape[2:],
            layer.strides, OH, self._b is not None, planes, products,
        )  # fmt: skip

    @cached_property
    def _forth(self) -> tuple[Any, ...]:
        return *self._given, self._w, self.pooled, *self.outside.flat, self.maxima

    @cached_property
    def _back(self) -> tuple[Any, ...]:
        dy, y = self.gradient_outside.flat, self.outside.flat
        return *self._given, self._dw, self.pooled, *dy, *y, self.maxima

    def forward(self) -> None:
        """Compute y from x."""
        forth(*self._forth)
        self.finish()

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients of the parameters from dy."""
        if need_grads:
            self.begin_back()
            back(*self._back)
            self.give_gradients()


class PooledPlanes(Pooled, RectifiedPlanes):
    """Convolution of images with few channels, ReLU, and a pool of 2 x 2."""


@arithmetic
def _fill(
    padded: np.ndarray, n: int, window: tuple[int, int], steps: tuple[int, int], bias: bool,
    planes: np.ndarray, at: int,
) -> None:  # fmt: skip
    """What each place of the window sees along row `at` of the output; ones in the last plane."""
    wide_vectors()
    (FH, FW), (down, across), numbers = window, steps, planes.shape[1]
    for c in range(len(padded)):
        for fy in range(FH):
            row = padded[c, at * down + fy]
            for fx in range(FW):
                plane = planes[(c * FH + fy) * FW + fx]
                run = numbers if across == 1 else n
                for j in range(numbers // run):
                    first = fx * n + j * across * n
                    of, to = row[first : first + run], plane[j * run : j * run + run]
                    for k in range(run):
                        to[k] = of[k]
    if bias:
        planes[-1, :] = 1


@arithmetic
def forth(
    address: int, padded: np.ndarray, n: int, window: tuple[int, int], steps: tuple[int, int],
    rows: int, bias: bool, planes: np.ndarray, products: np.ndarray, w: np.ndarray, pooled: bool,
    y: np.ndarray, row_y: int, column_y: int, maxima: np.ndarray,
) -> None:  # fmt: skip
    """Convolve, with ReLU or with ReLU and a pool behind that.

    Parameters
    ----------
    address : of the product
    padded : (C, H, W n), images of n samples with their border
    rows : of what the convolution puts out
    bias : whether there is a plane of ones
    planes, products : room for the planes of one row, and for the products of one or of two
    w : (planes, FN)
    y, row_y, column_y, maxima : as in `rectify`
    """
    wide_vectors()
    count, (K, numbers), FN = len(products), planes.shape, w.shape[1]
    for at in range(0, rows, count):
        for r in range(count):
            _fill(padded, n, window, steps, bias, planes, at + r)
            add_product(
                address, TURNED, numbers, FN, K, planes, numbers, w, FN, 0.0, products[r], FN
            )
        if pooled:
            pool(products, y, row_y, column_y, maxima, at // 2)
        else:
            rectify(products, y, row_y, column_y, at)


@arithmetic
def back(
    address: int, padded: np.ndarray, n: int, window: tuple[int, int], steps: tuple[int, int],
    rows: int, bias: bool, planes: np.ndarray, products: np.ndarray, dw: np.ndarray, pooled: bool,
    dy: np.ndarray, row: int, column: int, y: np.ndarray, row_y: int, column_y: int,
    maxima: np.ndarray,
) -> None:  # fmt: skip
    """The gradient of `forth`'s w, from dy."""
    wide_vectors()
    count, (K, numbers), FN = len(products), planes.shape, dw.shape[1]
    for at in range(0, rows, count):
        if pooled:
            hand_back(dy, row, column, maxima, products, at // 2)
        else:
            let_pass(dy, row, column, y, row_y, column_y, products, at)
        for r in range(count):
            _fill(padded, n, window, steps, bias, planes, at + r)
            before = 0.0 if at + r == 0 else 1.0
            add_product(
                address, AS_IT_IS, K, FN, numbers, planes, numbers, products[r], FN, before, dw, FN
            )


class RectifiedShift(Rectified, RowsGemm):
    """Convolution by a product for each place of the window, and ReLU."""

    def build_output(self, shape: tuple[int, ...]) -> None:
        """Room for what the products add up to."""
        self._sum = self._dsum = self.buffers.scratch("convolved", shape)
        self._pixels = self._sum.reshape(*shape[:2], -1)

    def forward(self) -> None:
        """Compute y from x."""
        super().forward()
        self.leave(self._pixels)
        self.finish()

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        self.begin_back()
        self.take(self._pixels)
        super().backward(need_dx, need_grads)


class PooledShift(Pooled, RectifiedShift):
    """Convolution by a product for each place of the window, ReLU, and a pool of 2 x 2."""


RECTIFIED: dict[type[Kernel], type[Kernel]] = {
    Winograd: RectifiedWinograd,
    PlanesGemm: RectifiedPlanes,
    ShiftGemm: RectifiedShift,
}
POOLED: dict[type[Kernel], type[Kernel]] = {
    Winograd: PooledWinograd,
    PlanesGemm: PooledPlanes,
    ShiftGemm: PooledShift,
}


def _is_product(nodes: Sequence[Node]) -> bool:
    """Tell whether the convolution is made of matrix products."""
    layer = nodes[0].layer
    return isinstance(layer, Convolution) and not Depthwise.fits(layer)


@computes_compiled(Pattern(((Convolution,), (ReLU,)), _is_product))
class RectifiedConvolution(Kernel):
    """Convolution and ReLU."""

    @classmethod
    def best(cls, op: Op) -> type[Kernel]:
        """The one that convolves as the convolution alone would be."""
        kind, layer = ShiftGemm.best(op), op.layer
        assert isinstance(layer, Convolution)
        if kind is ShiftGemm and RectifiedPointwise.fits(layer):
            return RectifiedPointwise
        return RECTIFIED[kind]


@computes_compiled(
    Pattern(((Convolution,), (ReLU,), (MaxPool,)), lambda n: _is_product(n) and halves(n))
)
class PooledConvolution(Kernel):
    """Convolution, ReLU, and a pool of 2 x 2."""

    @classmethod
    def best(cls, op: Op) -> type[Kernel]:
        """The one that convolves as the convolution alone would be."""
        return POOLED[ShiftGemm.best(op)]
