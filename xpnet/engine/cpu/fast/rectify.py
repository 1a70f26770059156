"""ReLU, and a pool of 2 x 2 behind it, on rows of images that a convolution has just left."""

from functools import cached_property

import numpy as np

from xpnet.compiled import loop
from xpnet.engine.cpu.fast.vectors import WritesOutside, largest, wide_vectors


@loop
def rectify(x: np.ndarray, y: np.ndarray, row: int, column: int, first: int) -> None:
    """y = max(x, 0) for x, (rows, columns, numbers of a pixel), the rows of y from `first` on."""
    wide_vectors()
    (rows, columns, L), zero = x.shape, x.dtype.type(0)
    for i in range(rows):
        for j in range(columns):
            p = (first + i) * row + j * column
            of, to = x[i, j, :L], y[p : p + L]
            for k in range(L):
                to[k] = zero if of[k] < 0 else of[k]  # what is no number goes on


@loop
def let_pass(
    dy: np.ndarray, row: int, column: int, y: np.ndarray, row_y: int, column_y: int,
    dx: np.ndarray, first: int,
) -> None:  # fmt: skip
    """dx = dy where y is above 0, else 0 dy, so that NaN goes where it goes in the layers."""
    wide_vectors()
    (rows, columns, L), zero, one = dx.shape, dx.dtype.type(0), dx.dtype.type(1)
    for i in range(rows):
        for j in range(columns):
            p, q = (first + i) * row + j * column, (first + i) * row_y + j * column_y
            of, by, to = dy[p : p + L], y[q : q + L], dx[i, j, :L]
            for k in range(L):
                to[k] = of[k] * (one if by[k] > 0 else zero)


@loop
def pool(
    x: np.ndarray, y: np.ndarray, row: int, column: int, places: np.ndarray, first: int
) -> None:
    """The largest of each 2 x 2 window of x, or 0, and its place, as `largest` says.

    Parameters
    ----------
    x : (rows, columns, numbers of a pixel)
    y : images of half the size, `Flat`; x are the rows that give those of y from `first` on
    places : (all rows of y, its columns, numbers of a pixel)
    """
    wide_vectors()
    rows, columns, L = x.shape
    for i in range(rows // 2):
        for j in range(columns // 2):
            p = (first + i) * row + j * column
            to, place = y[p : p + L], places[first + i, j, :L]
            x0, x1 = x[2 * i, 2 * j, :L], x[2 * i, 2 * j + 1, :L]
            x2, x3 = x[2 * i + 1, 2 * j, :L], x[2 * i + 1, 2 * j + 1, :L]
            for k in range(L):
                to[k], place[k] = largest(x0[k], x1[k], x2[k], x3[k])


@loop
def hand_back(
    dy: np.ndarray, row: int, column: int, places: np.ndarray, dx: np.ndarray, first: int
) -> None:
    """dy to the place of each window's maximum, where that was positive; 0 dy elsewhere."""
    wide_vectors()
    (rows, columns, L), zero, one = dx.shape, dx.dtype.type(0), dx.dtype.type(1)
    for i in range(rows // 2):
        for j in range(columns // 2):
            p = (first + i) * row + j * column
            of, place = dy[p : p + L], places[first + i, j, :L]
            d0, d1 = dx[2 * i, 2 * j, :L], dx[2 * i, 2 * j + 1, :L]
            d2, d3 = dx[2 * i + 1, 2 * j, :L], dx[2 * i + 1, 2 * j + 1, :L]
            for k in range(L):
                v, m = of[k], place[k]
                d0[k] = v * (one if m == 0 else zero)
                d1[k] = v * (one if m == 1 else zero)
                d2[k] = v * (one if m == 2 else zero)
                d3[k] = v * (one if m == 3 else zero)


class Rectified(WritesOutside):
    """What a convolution has to do if ReLU is behind it: for what it leaves, some rows at a time.

    What it works on, `x` here, is (rows, columns, numbers of a pixel).
    """

    keeps_y = True
    halves = 1
    pooled = False

    @cached_property
    def maxima(self) -> np.ndarray:
        """Nothing."""
        return self.buffers.kept((1, 1, 1))

    def finish(self) -> None:
        """Have y hold what has been left."""
        self.outside.deliver()

    def leave(self, x: np.ndarray, first: int = 0) -> None:
        """Bring to y what belongs to the rows from number `first` on."""
        rectify(x, *self.outside.flat, first)

    def begin_back(self) -> None:
        """Take up y and dy."""
        self.outside.fetched()
        self.gradient_outside.fetched()

    def take(self, dx: np.ndarray, first: int = 0) -> None:
        """The gradient of what was left so."""
        let_pass(*self.gradient_outside.flat, *self.outside.flat, dx, first)


class Pooled(Rectified):
    """What it has to do if there is a pool of 2 x 2, too: the rows come in pairs."""

    keeps_y = False
    halves = 2
    pooled = True

    @cached_property
    def maxima(self) -> np.ndarray:
        """Places of the maxima."""
        FN, H, W = self.op.output_shape
        return self.buffers.kept((H, W, self.buffers.n * FN))

    def leave(self, x: np.ndarray, first: int = 0) -> None:
        """Bring to y what belongs to the rows from number `first` on."""
        pool(x, *self.outside.flat, self.maxima, first // 2)

    def begin_back(self) -> None:
        """Take up dy."""
        self.gradient_outside.fetched()

    def take(self, dx: np.ndarray, first: int = 0) -> None:
        """The gradient of what was left so."""
        hand_back(*self.gradient_outside.flat, self.maxima, dx, first // 2)
