"""Convolution by products for each place of the window, row by row, in one call either way."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from xpnet.engine.cpu.buffers import zeros
from xpnet.engine.cpu.conv import ShiftGemm
from xpnet.engine.cpu.fast.products import AS_IT_IS, TURNED, add_product, product_address
from xpnet.engine.cpu.fast.vectors import arithmetic, wide_vectors
from xpnet.engine.cpu.kernel import instead_of
from xpnet.layers import Convolution

FEW = 8
"""Channels up to which the places of the window are brought side by side: a product for each of
them would be too thin."""

NUMBERS = 1 << 16
"""Of what windows see of a single image, that are brought side by side at a time."""


@instead_of(ShiftGemm)
class RowsGemm(ShiftGemm):
    """The same formulas for one row after the other: its products add up while it is in the cache.

    Where the window takes larger steps along a row, what a place sees is copied side by side. Of
    few channels, what all places see is, so that one product does them all.
    """

    def build(self) -> None:
        """The padded images, and room for what is seen along one row."""
        layer, n, kind = self.op.layer, self.buffers.n, self.buffers.dtype
        assert isinstance(layer, Convolution)
        ((C, *_),), (FN, OH, OW) = self.op.input_shapes, self.op.nodes[0].output_shape
        self.build_filters(layer)
        padded, self._dx_padded = self.bordered(layer.pads)
        self.build_output((OH, OW, n, FN))
        FH, FW, *filters = self._by_place.shape
        places = FH * FW
        self._together = layer.groups == 1 and C <= FEW and places > 1
        seen = OW * n * C * (places if self._together else 1)
        self._given = (
            product_address(kind), (FH, FW), layer.strides, n, padded.reshape(len(padded), -1),
            self.buffers.scratch("place", (seen,)),
        )  # fmt: skip
        self._each_w, self._each_dw = (
            each.reshape(places, *filters) for each in (self._by_place, self._dw_by_place)
        )
        self._each_w_back = self._back_by_place.reshape(places, filters[0], -1, filters[1])
        self._windows: np.ndarray | None = None
        if n == 1 and layer.groups == 1 and places > 1:
            row = OW * C * places
            self._windows = self.buffers.scratch(
                "windows", (row * max(1, min(OH, NUMBERS // row)),)
            )
        self._ones, self._nothing = np.ones(OW * n, dtype=kind), zeros((FN,), kind)

    @cached_property
    def _rooms(self) -> tuple[Any, ...]:
        """Room for all filters as one matrix, for images (rows, W, C, n), and for a row of dy."""
        x, w, scratch = self._given[4], self._each_w, self.buffers.scratch
        row = self._dsum[0].size
        return scratch("wide", (w.size,)), scratch("turned", x.shape), scratch("row", (row,))

    @cached_property
    def _forth(self) -> tuple[Any, ...]:
        bias, b = self._b is not None, self._nothing if self._b is None else self._b
        y = self._sum.reshape(len(self._sum), -1)
        return *self._given, y, self._each_w, b, bias

    @cached_property
    def _back(self) -> tuple[Any, ...]:
        x = self._given[4]
        dx = x if self._dx_padded is None else self._dx_padded.reshape(x.shape)
        db = self._nothing if self._b is None else self.grads["b"]
        dy = self._dsum.reshape(len(self._dsum), -1)
        return (*self._given, dy, dx, self._each_w_back, self._each_dw, db, self._ones)

    def forward(self) -> None:
        """Compute y from x."""
        if self._windows is not None:
            wide = self.buffers.scratch("wide", (self._each_w.size,))
            forth_of_one(wide, self._windows, *self._forth)
        elif self._together:
            wide, turned, _ = self._rooms
            forth_together(wide, turned, *self._forth)
        else:
            forth(*self._forth)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        needs = need_dx[0], need_grads, need_grads and self._b is not None
        if self._together:
            back_together(*needs, *self._rooms, *self._back)
        else:
            back(*needs, *self._back)
        if need_grads:
            self.give_dw()


@arithmetic
def _seen(x: np.ndarray, first: int, step: int, run: int, place: np.ndarray) -> np.ndarray:
    """What a place of the window sees along a row: as it is, or copied side by side.

    Parameters
    ----------
    x, first : a row of images, and where in it the place sees its first pixel
    step, run : numbers from a pixel that it sees to the next, and numbers of a pixel
    """
    if step == run:
        return x[first:]
    for j in range(len(place) // run):
        p = first + j * step
        of, to = x[p : p + run], place[j * run : j * run + run]
        for k in range(run):
            to[k] = of[k]
    return place


@arithmetic
def _turn(x: np.ndarray, across: int, down: int, turned: np.ndarray) -> None:
    """Each matrix (across, down) of x as (down, across)."""
    for m in range(len(x) // (across * down)):
        for j in range(down):
            to = turned[m * across * down + j * across : m * across * down + (j + 1) * across]
            for k in range(across):
                to[k] = x[m * across * down + k * down + j]


@arithmetic
def _gather(
    x: np.ndarray, top: int, FH: int, FW: int, across: int, n: int, C: int, seen: np.ndarray
) -> None:
    """What all places of the window see along a row, (FH FW C, OW n), of images (rows, W, C, n)."""
    M = len(seen) // (FH * FW * C)
    for k in range(FH * FW * C):
        fy, fx, p = k // (FW * C), k // C % FW, k % C
        row = x[top + fy]
        for ox in range(M // n):
            at = ((ox * across + fx) * C + p) * n
            of, to = row[at : at + n], seen[k * M + ox * n : k * M + ox * n + n]
            for j in range(n):
                to[j] = of[j]


@arithmetic
def _scatter(
    seen: np.ndarray, top: int, FH: int, FW: int, across: int, n: int, C: int, dx: np.ndarray
) -> None:
    """Add to the images what `_gather` would take from them, in its order."""
    M = len(seen) // (FH * FW * C)
    for k in range(FH * FW * C):
        fy, fx, p = k // (FW * C), k // C % FW, k % C
        row = dx[top + fy]
        for ox in range(M // n):
            at = ((ox * across + fx) * C + p) * n
            to, of = row[at : at + n], seen[k * M + ox * n : k * M + ox * n + n]
            for j in range(n):
                to[j] += of[j]


@arithmetic
def _add_bias(row: np.ndarray, b: np.ndarray) -> None:
    """Add b to each pixel of a row of outputs."""
    FN = len(b)
    for m in range(len(row) // FN):
        to = row[m * FN : m * FN + FN]
        for j in range(FN):
            to[j] += b[j]


@arithmetic
def forth(
    address: int, window: tuple[int, int], steps: tuple[int, int], n: int, x: np.ndarray,
    place: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray, bias: bool,
) -> None:  # fmt: skip
    """Convolve images x, (rows, numbers of a row), to y, (OH, OW n FN), place by place.

    Parameters
    ----------
    address : of the product
    place : (OW n C), room for what a place of the window sees
    w, b : (places, groups, channels of a group, filters of a group), and (FN)
    """
    wide_vectors()
    (FH, FW), (down, across), (_, G, c, f) = window, steps, w.shape
    C, FN = G * c, G * f
    M = len(place) // C
    for oy in range(len(y)):
        row = y[oy]
        for k in range(FH * FW):
            of = x[oy * down + k // FW]
            seen = _seen(of, (k % FW) * n * C, across * n * C, n * C, place)
            for g in range(G):
                add_product(
                    address, AS_IT_IS, M, f, c, seen[g * c :], C, w[k, g], f,
                    0.0 if k == 0 else 1.0, row[g * f :], FN,
                )  # fmt: skip
        if bias:
            _add_bias(row, b)


@arithmetic
def forth_together(
    wide: np.ndarray, turned: np.ndarray,
    address: int, window: tuple[int, int], steps: tuple[int, int], n: int, x: np.ndarray,
    place: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray, bias: bool,
) -> None:  # fmt: skip
    """The same, for one group, by one product for all places of a row.

    Parameters
    ----------
    wide, turned : room for all filters as one matrix, and for images (rows, W, C, n)
    place : (FH FW C OW n), room for what all places of the window see
    """
    wide_vectors()
    (FH, FW), (down, across), (_, _, C, FN) = window, steps, w.shape
    M, K = y.shape[1] // FN, FH * FW * C
    _widen(w, wide)
    for i in range(len(x)):
        _turn(x[i], n, C, turned[i])
    for oy in range(len(y)):
        _gather(turned, oy * down, FH, FW, across, n, C, place)
        add_product(address, TURNED, M, FN, K, place, M, wide, FN, 0.0, y[oy], FN)
        if bias:
            _add_bias(y[oy], b)


@arithmetic
def _widen(w: np.ndarray, wide: np.ndarray) -> None:
    """All filters as one matrix (FH FW C, FN)."""
    places, _, C, FN = w.shape
    for k in range(places):
        for p in range(C):
            of, to = w[k, 0, p], wide[(k * C + p) * FN : (k * C + p) * FN + FN]
            for j in range(FN):
                to[j] = of[j]


@arithmetic
def forth_of_one(
    wide: np.ndarray, windows: np.ndarray,
    address: int, window: tuple[int, int], steps: tuple[int, int], n: int, x: np.ndarray,
    place: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray, bias: bool,
) -> None:  # fmt: skip
    """The same for a single image, some rows at a time: what a window sees is one row of a matrix.

    Parameters
    ----------
    windows : (rows OW FH FW C), room for what the windows of some rows see
    """
    wide_vectors()
    (FH, FW), (down, across), (_, _, C, FN) = window, steps, w.shape
    M, run = y.shape[1] // FN, FW * C
    K = FH * run
    count = len(windows) // (M * K)
    _widen(w, wide)
    for first in range(0, len(y), count):
        rows = min(count, len(y) - first)
        for r in range(rows):
            for ox in range(M):
                for fy in range(FH):
                    p, q = ox * across * C, ((r * M + ox) * FH + fy) * run
                    of, to = x[(first + r) * down + fy, p : p + run], windows[q : q + run]
                    for k in range(run):
                        to[k] = of[k]
        add_product(address, AS_IT_IS, rows * M, FN, K, windows, K, wide, FN, 0.0, y[first], FN)
        if bias:
            for r in range(rows):
                _add_bias(y[first + r], b)


@arithmetic
def back(
    need_dx: bool, need_dw: bool, need_db: bool,
    address: int, window: tuple[int, int], steps: tuple[int, int], n: int, x: np.ndarray,
    place: np.ndarray, dy: np.ndarray, dx: np.ndarray, w: np.ndarray, dw: np.ndarray,
    db: np.ndarray, ones: np.ndarray,
) -> None:  # fmt: skip
    """The way back of `forth`, to those of dx, dw and db that are needed.

    Parameters
    ----------
    w : (places, groups, filters of a group, channels of a group)
    ones : (OW n)
    """
    wide_vectors()
    (FH, FW), (down, across), (_, G, f, c) = window, steps, w.shape
    C, FN, M = G * c, G * f, len(ones)
    step, run = across * n * C, n * C
    if need_dx:
        for i in range(len(dx)):
            dx[i, :] = 0
    for oy in range(len(dy)):
        row, before = dy[oy], 0.0 if oy == 0 else 1.0
        if need_db:
            add_product(address, AS_IT_IS, 1, FN, M, ones, M, row, FN, before, db, FN)
        for k in range(FH * FW):
            at, first = oy * down + k // FW, (k % FW) * run
            if need_dw:
                seen = _seen(x[at], first, step, run, place)
                for g in range(G):
                    add_product(
                        address, TURNED, c, f, M, seen[g * c :], C, row[g * f :], FN, before,
                        dw[k, g], f,
                    )  # fmt: skip
            if need_dx:
                straight, to = step == run, dx[at]
                for g in range(G):
                    add_product(
                        address, AS_IT_IS, M, c, f, row[g * f :], FN, w[k, g], c,
                        1.0 if straight else 0.0,
                        to[first + g * c :] if straight else place[g * c :], C,
                    )  # fmt: skip
                if not straight:
                    for j in range(M // n):
                        p = first + j * step
                        target, of = to[p : p + run], place[j * run : j * run + run]
                        for q in range(run):
                            target[q] += of[q]


@arithmetic
def back_together(
    need_dx: bool, need_dw: bool, need_db: bool,
    wide: np.ndarray, turned: np.ndarray, row_turned: np.ndarray,
    address: int, window: tuple[int, int], steps: tuple[int, int], n: int, x: np.ndarray,
    place: np.ndarray, dy: np.ndarray, dx: np.ndarray, w: np.ndarray, dw: np.ndarray,
    db: np.ndarray, ones: np.ndarray,
) -> None:  # fmt: skip
    """The way back of `forth_together`.

    Parameters
    ----------
    row_turned : (FN OW n), room for a row of dy
    """
    wide_vectors()
    (FH, FW), (down, across), (_, _, FN, C) = window, steps, w.shape
    M, K = len(ones), FH * FW * C
    if need_dw:
        for i in range(len(x)):
            _turn(x[i], n, C, turned[i])
        for oy in range(len(dy)):
            _gather(turned, oy * down, FH, FW, across, n, C, place)
            before = 0.0 if oy == 0 else 1.0
            add_product(address, AS_IT_IS, K, FN, M, place, M, dy[oy], FN, before, dw[0, 0], FN)
    if need_db:
        for oy in range(len(dy)):
            before = 0.0 if oy == 0 else 1.0
            add_product(address, AS_IT_IS, 1, FN, M, ones, M, dy[oy], FN, before, db, FN)
    if need_dx:
        for k in range(FH * FW):
            for p in range(C):
                for j in range(FN):
                    wide[(k * C + p) * FN + j] = w[k, 0, j, p]
        for i in range(len(turned)):
            turned[i, :] = 0
        for oy in range(len(dy)):
            _turn(dy[oy], M, FN, row_turned)
            add_product(address, AS_IT_IS, K, M, FN, wide, FN, row_turned, M, 0.0, place, M)
            _scatter(place, oy * down, FH, FW, across, n, C, turned)
        for i in range(len(turned)):
            _turn(turned[i], C, n, dx[i])
