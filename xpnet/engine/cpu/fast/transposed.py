"""Transposed convolution, and ReLU behind it, row of blocks by row of blocks, in one call."""

from collections.abc import Sequence
from functools import cached_property
from math import inf
from typing import Any

import numpy as np

from xpnet.engine.cpu.buffers import zeros
from xpnet.engine.cpu.fast.products import AS_IT_IS, TURNED, add_product, product_address
from xpnet.engine.cpu.fast.vectors import WritesOutside, arithmetic, wide_vectors
from xpnet.engine.cpu.kernel import computes_compiled, instead_of
from xpnet.engine.cpu.transposed import SubpixelGemm
from xpnet.engine.lower import Pattern
from xpnet.layers import ReLU, TransposedConvolution


@instead_of(SubpixelGemm)
class RowsSubpixel(WritesOutside, SubpixelGemm):
    """The same formulas for one row of blocks after the other, while it is in the cache.

    What blocks are cut off at the edge is never written to memory.
    """

    least = -inf

    def build_output(self, shape: tuple[int, int, int, int]) -> None:
        """Room for the matrices of a row of blocks."""
        (OH, OW, n, FN), rows, columns = shape, self._down, self._across
        kind, scratch, M = self.buffers.dtype, self.buffers.scratch, columns.blocks * n
        B, B_back = (each.reshape(-1) for each in (self._B, self._B_back))
        self._db = scratch("biases", (self._N,))
        self._given = (
            product_address(kind), (n, self._B.shape[2], FN), (rows.taps, columns.taps),
            (rows.step, columns.step), (rows.first, columns.first),
            (rows.skipped, columns.skipped), (rows.blocks, columns.blocks), (OH, OW),
            scratch("windows", (M, self._K)), scratch("blocks", (M, self._N)),
        )  # fmt: skip
        self._x = self._images.reshape(len(self._images), -1)
        self._filters = B.reshape(self._K, self._N), B_back.reshape(self._N, self._K)
        self._ones, self._nothing = np.ones(M, dtype=kind), zeros((FN,), kind)

    @cached_property
    def _forth(self) -> tuple[Any, ...]:
        b = self._nothing if self._b is None else self._b
        least = self.buffers.dtype.type(self.least)
        return *self._given, self._x, self._filters[0], b, least, *self.outside.flat

    @cached_property
    def _back(self) -> tuple[Any, ...]:
        dx = self._x if self._dx_around is None else self._dx_around.reshape(self._x.shape)
        sums, dy = (self._dB, self._db, self._ones), self.gradient_outside.flat
        return *self._given, self._x, dx, self._filters[1], *sums, *dy, *self.let_through()

    def let_through(self) -> tuple[Any, int, int]:
        """Images, `Flat`, where what is not above 0 stops the gradient; None if nothing does."""
        return None, 0, 0

    def forward(self) -> None:
        """Compute y from x."""
        forth(*self._forth)
        self.outside.deliver()

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        self.gradient_outside.fetched()
        back(need_dx[0], need_grads, need_grads and self._b is not None, *self._back)
        if need_grads:
            self.give_gradients()


@computes_compiled(Pattern(((TransposedConvolution,), (ReLU,))))
class RectifiedSubpixel(RowsSubpixel):
    """Transposed convolution and ReLU."""

    keeps_y = True
    least = 0.0

    def let_through(self) -> tuple[Any, int, int]:
        """What ReLU has put out."""
        return self.outside.flat

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        self.outside.fetched()
        super().backward(need_dx, need_grads)


@arithmetic
def _take(
    x: np.ndarray, top: int, left: int, n: int, C: int, taps: tuple[int, int], P: np.ndarray
) -> None:
    """P, (Q n, t t' c), of the row of blocks that sees the rows of images x from `top` on."""
    down, across = taps
    for t in range(down):
        row = x[top + t]
        for w in range(across):
            first, k = (left + w) * n * C, (t * across + w) * C
            for m in range(len(P)):
                of, to = row[first + m * C : first + m * C + C], P[m, k : k + C]
                for c in range(C):
                    to[c] = of[c]


@arithmetic
def _give(
    P: np.ndarray, top: int, left: int, n: int, C: int, taps: tuple[int, int], dx: np.ndarray
) -> None:
    """Add P to the images from which `_take` would take it, in its order."""
    down, across = taps
    for t in range(down):
        row = dx[top + t]
        for w in range(across):
            first, k = (left + w) * n * C, (t * across + w) * C
            for m in range(len(P)):
                to, of = row[first + m * C : first + m * C + C], P[m, k : k + C]
                for c in range(C):
                    to[c] += of[c]


@arithmetic
def forth(
    address: int, numbers: tuple[int, int, int], taps: tuple[int, int], steps: tuple[int, int],
    first: tuple[int, int], skipped: tuple[int, int], count: tuple[int, int],
    size: tuple[int, int], P: np.ndarray, Y: np.ndarray, x: np.ndarray, B: np.ndarray,
    b: np.ndarray, least: Any, y: np.ndarray, row: int, column: int,
) -> None:  # fmt: skip
    """y = max(P B + b, least).

    Parameters
    ----------
    address : of the product
    numbers : samples, channels of x and those of y
    taps, steps, first, skipped, count : of blocks, down and across
    size : of y
    P, Y : room for the matrices of one row of blocks
    x : images with what blocks see beyond them, (rows, numbers of a row)
    B : (t t' c, u v f)
    least : 0 for ReLU, minus infinity for none
    y, row, column : images, `Flat`
    """
    wide_vectors()
    (n, C, FN), (down, across), (M, K), N = numbers, steps, P.shape, Y.shape[1]
    for r in range(count[0]):
        _take(x, first[0] + r, first[1], n, C, taps, P)
        add_product(address, AS_IT_IS, M, N, K, P, K, B, N, 0.0, Y, N)
        for u in range(max(0, skipped[0] - r * down), min(down, size[0] + skipped[0] - r * down)):
            for w in range(size[1]):
                q, v = (w + skipped[1]) // across, (w + skipped[1]) % across
                p, k = (r * down + u - skipped[0]) * row + w * column, (u * across + v) * FN
                for m in range(n):
                    of, to = Y[q * n + m, k : k + FN], y[p + m * FN : p + m * FN + FN]
                    for f in range(FN):
                        s = of[f] + b[f]
                        to[f] = least if s < least else s  # what is no number goes on


@arithmetic
def back(
    need_dx: bool, need_dw: bool, need_db: bool,
    address: int, numbers: tuple[int, int, int], taps: tuple[int, int], steps: tuple[int, int],
    first: tuple[int, int], skipped: tuple[int, int], count: tuple[int, int],
    size: tuple[int, int], P: np.ndarray, Y: np.ndarray, x: np.ndarray, dx: np.ndarray,
    B: np.ndarray, dB: np.ndarray, db: np.ndarray, ones: np.ndarray,
    dy: np.ndarray, row: int, column: int, y: Any, row_y: int, column_y: int,
) -> None:  # fmt: skip
    """The way back of `forth`, to those of dx, dB and db that are needed.

    Parameters
    ----------
    B : turned, (u v f, t t' c)
    ones : as many as P has rows
    y : what ReLU has put out, which lets through what it is above 0 for; None without it
    """
    wide_vectors()
    (n, C, FN), (down, across), (M, K), N = numbers, steps, P.shape, Y.shape[1]
    zero, one = Y.dtype.type(0), Y.dtype.type(1)
    if need_dx:
        for i in range(len(dx)):
            dx[i, :] = 0
    for r in range(count[0]):
        top, bottom = max(0, skipped[0] - r * down), min(down, size[0] + skipped[0] - r * down)
        if r == 0 or r == count[0] - 1 or skipped[1] > 0 or count[1] * across > size[1]:
            for m in range(M):
                Y[m, :] = 0  # what is cut off
        for u in range(top, bottom):
            for w in range(size[1]):
                q, v = (w + skipped[1]) // across, (w + skipped[1]) % across
                at, k = r * down + u - skipped[0], (u * across + v) * FN
                p, p_y = at * row + w * column, at * row_y + w * column_y
                for m in range(n):
                    of, to = dy[p + m * FN : p + m * FN + FN], Y[q * n + m, k : k + FN]
                    if y is None:
                        for f in range(FN):
                            to[f] = of[f]
                    else:
                        by = y[p_y + m * FN : p_y + m * FN + FN]
                        for f in range(FN):
                            to[f] = of[f] * (one if by[f] > 0 else zero)  # NaN stays NaN
        before = 0.0 if r == 0 else 1.0
        if need_dw:
            _take(x, first[0] + r, first[1], n, C, taps, P)
            add_product(address, TURNED, K, N, M, P, K, Y, N, before, dB, N)
        if need_db:
            add_product(address, AS_IT_IS, 1, N, M, ones, M, Y, N, before, db, N)
        if need_dx:
            add_product(address, AS_IT_IS, M, K, N, Y, N, B, K, 0.0, P, K)
            _give(P, first[0] + r, first[1], n, C, taps, dx)
