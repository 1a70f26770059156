"""Convolution with a window of one pixel, and ReLU: a product of matrices as they lie in memory."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpnet.engine.cpu.buffers import zeros
from xpnet.engine.cpu.fast.products import AS_IT_IS, TURNED, add_product, product_address
from xpnet.engine.cpu.fast.vectors import Flat, Outside, arithmetic, wide_vectors
from xpnet.engine.cpu.kernel import Kernel
from xpnet.layers import Convolution

ROWS = 512
"""Of a matrix that are at work at a time: they stay in a core's own cache."""


def as_matrices(images: np.ndarray) -> Flat | None:
    """Images (H, W, n, C) as a matrix (W n, C) for each row of pixels.

    Returns
    -------
    `row` leads from a matrix to the next, `column` from a row of it to the next; None if that is
    not always the same
    """
    H, W, n, C = images.shape
    row, column, sample, channel = (step // images.itemsize for step in images.strides)
    step = sample if n > 1 else column if W > 1 else C
    if (C > 1 and channel != 1) or (n > 1 and W > 1 and column != n * step):
        return None
    if step < C or row < 0:
        return None
    size = (H - 1) * row + (W * n - 1) * step + C
    return Flat(as_strided(images, (size,), (images.itemsize,)), row, step)


class RectifiedPointwise(Kernel):
    """Y = max(X W + b, 0) for the pixels X of all images, which are read where they are.

    Several branches may read the same images, and write theirs side by side: nothing is copied.
    """

    keeps_x = keeps_y = adds = shares_prepared = True
    method = "GEMM with ReLU"

    @staticmethod
    def fits(layer: Convolution) -> bool:
        """Tell whether each pixel by itself is multiplied with all filters."""
        window, steps = layer.params["W"].shape[2:], layer.strides
        return window == steps == (1, 1) and not any(layer.pads) and layer.groups == 1

    def build(self) -> None:
        """The filters as the columns of a matrix, and room for what ReLU lets pass of dy."""
        layer, kind = self.op.layer, self.buffers.dtype
        self._W, self._b = layer.params["W"][:, :, 0, 0], layer.params.get("b")
        FN, C = self._W.shape
        self._columns = self.buffers.prepared(self, C, FN)
        self._nothing, self._ones = zeros((FN,), kind), np.ones(ROWS, dtype=kind)
        self._dz = self.buffers.scratch("dz", (ROWS * FN,))

    def prepare(self) -> None:
        """The filters as columns."""
        self._columns[...] = self._W.T

    @cached_property
    def _outside(self) -> list[Outside]:
        """The arrays x, y, dy and dx, as far as there are such."""
        arrays = [self.inputs[0], self.y]
        if self.op.need_dy:
            arrays += [self.dy, *(dx for dx in self.gradients if dx is not None)]
        names = ("x", "y", "dy", "dx")
        return [
            Outside(array, self.buffers, f"{name} as matrices", as_matrices)
            for name, array in zip(names, arrays, strict=False)
        ]

    @cached_property
    def _size(self) -> tuple[int, int]:
        """The number of matrices, and of rows of each: one where all follow on one another."""
        H, W, n, _ = self.y.shape
        seen = [outside.flat for outside in self._outside]
        joined = all(each.row == W * n * each.column for each in seen)
        return (1, H * W * n) if joined else (H, W * n)

    @cached_property
    def _forth(self) -> tuple[Any, ...]:
        x, y, *_ = (outside.flat for outside in self._outside)
        b = self._nothing if self._b is None else self._b
        return product_address(self.buffers.dtype), *self._size, *x, *y, self._columns, b

    @cached_property
    def _back(self) -> tuple[Any, ...]:
        x, y, dy, *dx = (outside.flat for outside in self._outside)
        dw, db = self.grads["W"][:, :, 0, 0], self.grads.get("b", self._nothing)
        return (
            product_address(self.buffers.dtype), *self._size, *x, *y, *dy, *(dx[0] if dx else x),
            self._W, dw, db, self._dz, self._ones, float(self.op.adds[0]),
        )  # fmt: skip

    def forward(self) -> None:
        """Compute y from x."""
        self._outside[0].fetched()
        forth(*self._forth)
        self._outside[1].deliver()

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        dx = self._outside[3] if need_dx[0] else None
        for outside in self._outside[:3]:
            outside.fetched()
        if dx is not None and self.op.adds[0]:
            dx.fetched()
        back(need_dx[0], need_grads, need_grads and self._b is not None, *self._back)
        if dx is not None:
            dx.deliver()


@arithmetic
def forth(
    address: int, count: int, rows: int, x: np.ndarray, next_x: int, step_x: int, y: np.ndarray,
    next_y: int, step_y: int, w: np.ndarray, b: np.ndarray,
) -> None:  # fmt: skip
    """y = max(x w + b, 0) for `count` matrices x of so many rows.

    Parameters
    ----------
    address : of the product
    x, next_x, step_x, y, next_y, step_y : as of `as_matrices`
    w, b : (C, FN), its rows apart, and (FN)
    """
    wide_vectors()
    (C, FN), row_w, zero = w.shape, w.strides[0] // w.itemsize, b.dtype.type(0)
    for i in range(count):
        for at in range(0, rows, ROWS):
            m = min(ROWS, rows - at)
            of, to = x[i * next_x + at * step_x :], y[i * next_y + at * step_y :]
            add_product(address, AS_IT_IS, m, FN, C, of, step_x, w, row_w, 0.0, to, step_y)
            for r in range(m):
                pixel = to[r * step_y : r * step_y + FN]
                for f in range(FN):
                    found = pixel[f] + b[f]
                    pixel[f] = zero if found < zero else found


@arithmetic
def back(
    need_dx: bool, need_dw: bool, need_db: bool, address: int, count: int, rows: int,
    x: np.ndarray, next_x: int, step_x: int, y: np.ndarray, next_y: int, step_y: int,
    dy: np.ndarray, next_dy: int, step_dy: int, dx: np.ndarray, next_dx: int, step_dx: int,
    w: np.ndarray, dw: np.ndarray, db: np.ndarray, dz: np.ndarray, ones: np.ndarray, adds: float,
) -> None:  # fmt: skip
    """The way back of `forth`, to those of dx, dw and db that are needed.

    Parameters
    ----------
    w, dw : (FN, C)
    dz : room for what ReLU lets pass of some rows of dy
    adds : 1 if dx is added to what is there, else 0
    """
    wide_vectors()
    (FN, C), zero, one = w.shape, dz.dtype.type(0), dz.dtype.type(1)
    before = 0.0
    for i in range(count):
        for at in range(0, rows, ROWS):
            m = min(ROWS, rows - at)
            given, by = dy[i * next_dy + at * step_dy :], y[i * next_y + at * step_y :]
            for r in range(m):
                of, let = given[r * step_dy : r * step_dy + FN], by[r * step_y : r * step_y + FN]
                to = dz[r * FN : r * FN + FN]
                for f in range(FN):
                    to[f] = of[f] * (one if let[f] > zero else zero)
            if need_db:
                add_product(address, AS_IT_IS, 1, FN, m, ones, m, dz, FN, before, db, FN)
            if need_dw:
                of = x[i * next_x + at * step_x :]
                add_product(address, TURNED, FN, C, m, dz, FN, of, step_x, before, dw, C)
            if need_dx:
                to = dx[i * next_dx + at * step_dx :]
                add_product(address, AS_IT_IS, m, C, FN, dz, FN, w, C, adds, to, step_dx)
            before = 1.0
