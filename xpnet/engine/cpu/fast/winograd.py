"""Winograd's convolution, a few rows of tiles at a time, with ReLU and a pool behind it."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.cpu.buffers import zeros
from xpnet.engine.cpu.fast import tiles
from xpnet.engine.cpu.fast.products import AS_IT_IS, TURNED, add_product, product_address
from xpnet.engine.cpu.fast.vectors import Flat, WritesOutside, arithmetic, wide_vectors
from xpnet.engine.cpu.kernel import instead_of
from xpnet.engine.cpu.winograd import AT_ONE, IN, OUT, TAPS, Winograd

BYTES = 1_000_000
"""Of transformed tiles that are at work at a time: they stay in a core's own cache."""
PLAIN, RECTIFIED, POOLED = range(3)
"""What is behind a convolution: nothing, ReLU, or ReLU and a pool of 2 x 2."""
PLACES = IN * IN


@instead_of(Winograd)
class TiledWinograd(WritesOutside, Winograd):
    """The same formulas: tiles are transformed, multiplied and transformed back in the cache.

    On the way back images are transformed once more: that takes less time than to keep what is
    larger than they are. Either way is one call, for which no thread waits for Python's lock.
    """

    behind = PLAIN

    def build(self) -> None:
        """Images that tiles cover, and room for some rows of tiles."""
        self._build_filters()
        buffers, kind, n = self.buffers, self.buffers.dtype, self.buffers.n
        ((C, H, W),), (FN, OH, OW) = self.op.input_shapes, self.op.nodes[0].output_shape
        (top, left, *_), (down, across) = self._layer.pads, self.tiles
        self._size = OH, OW
        x = zeros(self.covered(TAPS - 1, C), kind)
        inside = (slice(top, top + H), slice(left, left + W))
        self.x, self._x = x[inside], _flat(x)
        self.dx: Array = None
        self._dx = self._x  # which is not written where dx is not needed
        if any(self.op.need_dx):
            dx = buffers.passed(self.number, x.shape)
            self.dx, self._dx = dx[inside], _flat(dx)
        row = PLACES * across * n * (C + FN) * kind.itemsize
        rows = max(1, min(down, BYTES // row))
        self._rows = down, rows
        self._V = buffers.scratch("tiles", (PLACES * rows * across * n * C,))
        self._Y = buffers.scratch("product", (PLACES * rows * across * n * FN,))
        L, M = n * FN, n * C
        self._half = buffers.scratch("half", (IN, OUT, (across + 1) * M))
        self._half_dy = buffers.scratch("half", (IN, OUT, across * L))
        self._half_y = buffers.scratch("half", (OUT, IN, across * L))
        self._half_dx = buffers.scratch("half", (IN, IN, across * M))
        self._spare, self._zeros = buffers.scratch("spare", (OUT, L)), zeros((L,), kind)
        self._ones = np.ones(rows * across * n, dtype=kind)
        self._address = product_address(kind)
        G = self._layer.groups
        # All with an axis for the groups, even for one.
        self._each_w, self._each_dw, self._each_w_forth = (
            each.reshape(PLACES, G, *each.shape[-2:]) for each in (self._w, self._dw, self._w_forth)
        )
        H, W = (OH // 2, OW // 2) if self.behind == POOLED else (1, 1)
        self._maxima = buffers.kept((H, W, L if self.behind == POOLED else 1))

    @cached_property
    def _forth(self) -> tuple[Any, ...]:
        bias, b = self._b is not None, self._zeros if self._b is None else self._b
        return (
            self._address, *self._x, self._each_w_forth, b, bias, *self._rows, self._V, self._Y,
            self._half, self._half_y, self._BT, self._AT, self.behind, *self.outside.flat,
            self._size, self._spare, self._maxima,
        )  # fmt: skip

    @cached_property
    def _back(self) -> tuple[Any, ...]:
        db = self._zeros if self._b is None else self.grads["b"]
        return (
            self._address, *self._x, *self._dx, self._each_w, self._each_dw, db, *self._rows,
            self._V, self._Y, self._half, self._half_dy, self._half_dx, self._BT, self._AT,
            self.behind, *self.gradient_outside.flat, *self.outside.flat, self._size, self._zeros,
            self._ones, self._maxima,
        )  # fmt: skip

    def forward(self) -> None:
        """Compute y from x."""
        forth(*self._forth)
        self.outside.deliver()

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        self.gradient_outside.fetched()
        if self.keeps_y:
            self.outside.fetched()
        back(need_dx[0], need_grads, need_grads and self._b is not None, *self._back)
        if need_grads:
            self._give_dw()


class RectifiedWinograd(TiledWinograd):
    """With ReLU, which the last transform does, and on the way back the first."""

    keeps_y = True
    behind = RECTIFIED


class PooledWinograd(TiledWinograd):
    """With ReLU and a pool of 2 x 2: only what these put out is ever in memory."""

    behind = POOLED


@arithmetic
def forth(
    address: int, x: np.ndarray, row: int, column: int, w: np.ndarray, b: np.ndarray, bias: bool,
    down: int, rows: int, V: np.ndarray, Y: np.ndarray, half: np.ndarray, half_y: np.ndarray,
    BT: np.ndarray, AT: np.ndarray, behind: int, y: np.ndarray, row_y: int, column_y: int,
    size: tuple[int, int], spare: np.ndarray, maxima: np.ndarray,
) -> None:  # fmt: skip
    """Convolve, with what is behind the convolution.

    Parameters
    ----------
    address : of the product
    x, row, column, y, row_y, column_y : images, `Flat`
    w, b : (IN IN, groups, C, FN) transformed filters with the channels of one group, and (FN) or,
        without `bias`, anything
    down, rows : rows of tiles, and how many are done at a time
    V, Y : room for so many rows of tiles
    BT, AT : of `toom_cook`
    half, half_y, size, spare : as in `tiles`; maxima : as its `places`
    """
    wide_vectors()
    G, c, f = w.shape[1:]
    C, FN, L = G * c, G * f, spare.shape[1]
    tiles_across, least = half_y.shape[2] // L, -np.inf if behind == PLAIN else 0.0
    samples = L // FN
    for at in range(0, down, rows):
        count = min(rows, down - at)
        M = count * tiles_across * samples
        v = V[: PLACES * M * C].reshape((IN, IN, count, tiles_across * samples * C))
        tiles.enter(x, row, column, half, v, BT, at)
        for p in range(PLACES):
            for g in range(G):
                add_product(
                    address, AS_IT_IS, M, f, c, V[p * M * C + g * c :], C, w[p, g], f, 0.0,
                    Y[p * M * FN + g * f :], FN,
                )  # fmt: skip
        if bias:  # which reaches every output with the factor 1
            for k in range(M):
                first = (AT_ONE * M + k) * FN
                to = Y[first : first + FN]
                for j in range(FN):
                    to[j] += b[j]
        t = Y[: PLACES * M * FN].reshape((IN, IN, count, tiles_across * L))
        if behind == POOLED:
            tiles.leave_pooled(
                t, half_y, y, row_y, column_y, maxima, spare[0], spare[1], AT, at
            )  # fmt: skip
        else:
            tiles.leave(t, half_y, y, row_y, column_y, size, spare, AT, x.dtype.type(least), at)


@arithmetic
def back(
    need_dx: bool, need_dw: bool, need_db: bool, address: int,
    x: np.ndarray, row: int, column: int, dx: np.ndarray, row_dx: int, column_dx: int,
    w: np.ndarray, dw: np.ndarray, db: np.ndarray, down: int, rows: int, V: np.ndarray,
    Y: np.ndarray, half: np.ndarray, half_dy: np.ndarray, half_dx: np.ndarray, BT: np.ndarray,
    AT: np.ndarray, behind: int, dy: np.ndarray, row_dy: int, column_dy: int, y: np.ndarray,
    row_y: int, column_y: int, size: tuple[int, int], zeros: np.ndarray, ones: np.ndarray,
    maxima: np.ndarray,
) -> None:  # fmt: skip
    """The way back of `forth`: to dx, dw and db, those that are needed.

    Parameters
    ----------
    w, dw : (IN IN, groups, FN, C) transformed filters with the channels of one group, and their
        gradient
    zeros, ones : of the numbers of a pixel, and of the matrices of so many rows of tiles
    """
    wide_vectors()
    G, f, c = w.shape[1:]
    C, FN, L = G * c, G * f, len(zeros)
    tiles_across, samples = half_dy.shape[2] // L, L // FN
    for at in range(0, down, rows):
        count, before = min(rows, down - at), 0.0 if at == 0 else 1.0
        M = count * tiles_across * samples
        v = V[: PLACES * M * C].reshape((IN, IN, count, tiles_across * samples * C))
        e = Y[: PLACES * M * FN].reshape((IN, IN, count, tiles_across * L))
        if behind == POOLED:
            tiles.enter_dy_pooled(dy, row_dy, column_dy, maxima, zeros, half_dy, e, AT, at)
        elif behind == RECTIFIED:
            tiles.enter_dy(
                dy, row_dy, column_dy, y, row_y, column_y, size, zeros, half_dy, e, AT, at
            )
        else:
            tiles.enter_dy(dy, row_dy, column_dy, None, 0, 0, size, zeros, half_dy, e, AT, at)
        if need_db:  # the sums of the tiles
            of = Y[AT_ONE * M * FN :]
            add_product(address, AS_IT_IS, 1, FN, M, ones, M, of, FN, before, db, FN)
        if need_dw:
            tiles.enter(x, row, column, half, v, BT, at)
            for p in range(PLACES):
                for g in range(G):
                    add_product(
                        address, TURNED, f, c, M, Y[p * M * FN + g * f :], FN,
                        V[p * M * C + g * c :], C, before, dw[p, g], c,
                    )  # fmt: skip
        if need_dx:
            for p in range(PLACES):
                for g in range(G):
                    add_product(
                        address, AS_IT_IS, M, c, f, Y[p * M * FN + g * f :], FN, w[p, g], c, 0.0,
                        V[p * M * C + g * c :], C,
                    )  # fmt: skip
            tiles.leave_dx(v, half_dx, dx, row_dx, column_dx, BT, at)


def _flat(images: np.ndarray) -> Flat:
    found = Flat.of(images)
    assert found is not None  # an array that is all its own
    return found
