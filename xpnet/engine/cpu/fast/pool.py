"""Pools that go through each window once."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from xpnet.compiled import loop
from xpnet.engine.cpu.fast.rows import Pixels
from xpnet.engine.cpu.fast.vectors import wide_vectors
from xpnet.engine.cpu.kernel import Kernel, instead_of
from xpnet.engine.cpu.pool import (
    Averages,
    BorderedWindows,
    Pool2x2,
    RectifiedPool2x2,
    Windows,
    forgets,
)
from xpnet.layers import AveragePool, MaxPool

Window = tuple[int, int, int, int, int, int]
"""Height, width, steps down and across, and what is above and left of the image."""
Where = tuple[int, int, int, int, int, int, int]
"""Where the numbers of an array are; see `Pixels`."""


@instead_of(Pool2x2, Windows, BorderedWindows)
class WindowsInLoops(Windows):
    """The largest of each window, and the number of its place in the window.

    Windows that reach beyond the image are cut off. Where its first place is cut off a window
    begins with the border's -inf, and what is only as large does not take its place. The largest
    number of its type, instead of a place's, says that there is none: the maximum is NaN or in the
    border, or ReLU does not let it pass.
    """

    rectifies: ClassVar[bool] = False

    def build(self) -> None:
        """The window, and the places."""
        layer = self.op.nodes[-1].layer
        assert isinstance(layer, MaxPool)
        (top, left, *_), (height, width) = layer.pads, layer.window
        self._window: Window = (height, width, *layer.strides, top, left)
        kind = np.min_scalar_type(height * width)
        self._places = self.buffers.kept(self.buffers.shape(self.op.output_shape), kind)
        self._nowhere = kind.type(np.iinfo(kind).max)

    @cached_property
    def _forth(self) -> Pixels:
        return Pixels(self.buffers, self.inputs, writes=[self.y, self._places])

    @cached_property
    def _forth_alone(self) -> Pixels:
        return Pixels(self.buffers, self.inputs, writes=[self.y])

    @cached_property
    def _back(self) -> Pixels:
        return Pixels(self.buffers, [self.dy, self._places], writes=self.gradients)

    def forward(self) -> None:
        """x to y, and the places if anybody will ask for them."""
        if forgets(self):
            self._forth_alone.go(largest, self._window, self.rectifies)
        else:
            self._forth.go(largest_and_places, self._window, self.rectifies, self._nowhere)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to the place in dx where the maximum was."""
        self._back.go(scattered, self._window)

    def scatter(self, v: np.ndarray, y: np.ndarray) -> None:
        """Put values at the places of the maxima, as `Places` says; windows that overlap add."""
        Pixels(self.buffers, [v, self._places], writes=[y]).go(scattered, self._window)

    def gather(self, y: np.ndarray, v: np.ndarray) -> None:
        """Take values from the places of the maxima, as `Places` says."""
        pixels = Pixels(self.buffers, [y, self._places], writes=[v])
        pixels.go(gathered, self._window, self._nowhere)


@instead_of(RectifiedPool2x2)
class RectifiedWindowsInLoops(WindowsInLoops):
    """ReLU and the pool."""

    main = 1
    rectifies = True


@instead_of(Averages)
class AveragesInLoops(Kernel):
    """The mean of each window; what it reaches of the border counts as zeros."""

    method = "place by place"

    def build(self) -> None:
        """The window."""
        layer = self.op.layer
        assert isinstance(layer, AveragePool)
        (top, left, *_), (height, width) = layer.pads, layer.window
        self._window: Window = (height, width, *layer.strides, top, left)

    @cached_property
    def _forth(self) -> Pixels:
        return Pixels(self.buffers, self.inputs, writes=[self.y])

    @cached_property
    def _back(self) -> Pixels:
        return Pixels(self.buffers, [self.dy], writes=self.gradients)

    def forward(self) -> None:
        """x to y."""
        self._forth.go(averaged, self._window)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """An equal share of dy to each place."""
        self._back.go(shared, self._window)


@loop
def largest(
    window: Window,
    rectifies: bool,
    x: np.ndarray,
    at_x: Where,
    y: np.ndarray,
    at_y: Where,
) -> None:
    """The largest of each window, NaN if there is one; with ReLU if wanted."""
    FH, FW, down, across, top, left = window
    H, W, row, column, step, pieces, length = at_x
    OH, OW, row_y, column_y, step_y, _, _ = at_y
    zero, low = y.dtype.type(0), y.dtype.type(-np.inf)
    least = zero if rectifies else low
    if FH <= 3 and FW <= 3 and largest_of_nine(window, least, x, at_x, y, at_y):
        return
    for oy in range(OH):
        for ox in range(OW):
            for piece in range(pieces):
                at = oy * row_y + ox * column_y + piece * step_y
                best = y[at : at + length]
                for c in range(length):
                    best[c] = least
                for iy in range(max(0, oy * down - top), min(H, oy * down - top + FH)):
                    for ix in range(max(0, ox * across - left), min(W, ox * across - left + FW)):
                        at = iy * row + ix * column + piece * step
                        seen = x[at : at + length]
                        for c in range(length):
                            larger = seen[c] > best[c] or seen[c] != seen[c]
                            best[c] = seen[c] if larger else best[c]


@loop
def has_nan(x: np.ndarray) -> bool:
    """Tell whether anything is no number."""
    wide_vectors()
    found = False
    for k in range(len(x)):
        found |= x[k] != x[k]
    return found


@loop
def largest_of_nine(
    window: Window, least: float, x: np.ndarray, at_x: Where, y: np.ndarray, at_y: Where
) -> bool:
    """The largest of each window of up to 3 x 3, or `least`, in one pass; of numbers alone.

    What a window has less than nine of is read several times. Of equals the first is taken, which
    a zero's sign tells apart. Neighbours along a row are one stretch where windows move by a pixel.

    Returns
    -------
    False, and y is to be computed otherwise, if anything is no number
    """
    wide_vectors()
    FH, FW, down, across, top, left = window
    H, W, row, column, step, pieces, length = at_x
    OH, OW, row_y, column_y, step_y, _, _ = at_y
    stretches = across == 1 and pieces == 1 and column == length and column_y == length
    size, checked = (W - 1) * column + (pieces - 1) * step + length, 0
    for oy in range(OH):
        upper, lower = max(0, oy * down - top), min(H, oy * down - top + FH) - 1
        for iy in range(max(checked, upper), lower + 1):
            if has_nan(x[iy * row : iy * row + size]):
                return False
        checked, between = lower + 1, min(upper + 1, lower)
        ox = 0
        while ox < OW:
            first, last = max(0, ox * across - left), min(W, ox * across - left + FW) - 1
            count = 1
            if stretches and left <= ox <= W - FW + left:
                count = min(W - FW + left - ox + 1, OW - ox)
            run, b = count * length, min(first + 1, last) * column
            for piece in range(pieces):
                at = oy * row_y + ox * column_y + piece * step_y
                out = y[at : at + run]
                if upper > lower or first > last:
                    for c in range(run):
                        out[c] = least
                    continue
                p, a, e = piece * step, first * column, last * column
                x0, x1, x2 = _three(x, p + upper * row, a, b, e, run)
                x3, x4, x5 = _three(x, p + between * row, a, b, e, run)
                x6, x7, x8 = _three(x, p + lower * row, a, b, e, run)
                for c in range(run):
                    m = x1[c] if x1[c] > x0[c] else x0[c]
                    m = x2[c] if x2[c] > m else m
                    m = x3[c] if x3[c] > m else m
                    m = x4[c] if x4[c] > m else m
                    m = x5[c] if x5[c] > m else m
                    m = x6[c] if x6[c] > m else m
                    m = x7[c] if x7[c] > m else m
                    m = x8[c] if x8[c] > m else m
                    out[c] = m if m > least else least
            ox += count
    return True


@loop
def _three(x: np.ndarray, p: int, a: int, b: int, c: int, length: int) -> Any:
    """Three stretches behind place p."""
    return x[p + a : p + a + length], x[p + b : p + b + length], x[p + c : p + c + length]


@loop
def largest_and_places(
    window: Window,
    rectifies: bool,
    nowhere: int,
    x: np.ndarray,
    at_x: Where,
    y: np.ndarray,
    at_y: Where,
    places: np.ndarray,
    at_places: Where,
) -> None:
    """The same, and the numbers of their places."""
    FH, FW, down, across, top, left = window
    H, W, row, column, step, pieces, length = at_x
    OH, OW, row_y, column_y, step_y, _, _ = at_y
    _, _, row_p, column_p, step_p, _, _ = at_places
    zero, low = y.dtype.type(0), y.dtype.type(-np.inf)
    for oy in range(OH):
        for ox in range(OW):
            for piece in range(pieces):
                at = oy * row_y + ox * column_y + piece * step_y
                best = y[at : at + length]
                at = oy * row_p + ox * column_p + piece * step_p
                place = places[at : at + length]
                begun = rectifies or oy * down < top or ox * across < left
                if begun:
                    for c in range(length):
                        best[c] = zero if rectifies else low
                        place[c] = nowhere
                for fy in range(max(0, top - oy * down), min(FH, H + top - oy * down)):
                    for fx in range(max(0, left - ox * across), min(FW, W + left - ox * across)):
                        iy, ix = oy * down + fy - top, ox * across + fx - left
                        at = iy * row + ix * column + piece * step
                        seen = x[at : at + length]
                        number = places.dtype.type(fy * FW + fx)
                        if begun:
                            for c in range(length):
                                value, before = seen[c], best[c]
                                larger, is_nan = value > before, value != value
                                best[c] = value if larger or is_nan else before
                                place[c] = nowhere if is_nan else number if larger else place[c]
                        else:
                            begun = True
                            for c in range(length):
                                best[c] = seen[c]
                                place[c] = number if seen[c] == seen[c] else nowhere


@loop
def scattered(
    window: Window,
    v: np.ndarray,
    at_v: Where,
    places: np.ndarray,
    at_places: Where,
    y: np.ndarray,
    at_y: Where,
) -> None:
    """Each value to the place of its window's maximum, 0 elsewhere; windows that overlap add.

    Pixel by pixel, from all windows that see it, in the order of its places in them. Values are
    multiplied by 0 or 1, so that NaN goes where it goes in the layers.
    """
    FH, FW, down, across, top, left = window
    OH, OW, row_v, column_v, step_v, pieces, length = at_v
    H, W, row, column, step, _, _ = at_y
    _, _, row_p, column_p, step_p, _, _ = at_places
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for iy in range(H):
        for ix in range(W):
            for piece in range(pieces):
                at = iy * row + ix * column + piece * step
                out = y[at : at + length]
                begun = False
                for fy in range(min(FH, iy + top + 1)):
                    oy = (iy + top - fy) // down
                    if oy >= OH or oy * down + fy != iy + top:
                        continue
                    for fx in range(min(FW, ix + left + 1)):
                        ox = (ix + left - fx) // across
                        if ox >= OW or ox * across + fx != ix + left:
                            continue
                        at = oy * row_v + ox * column_v + piece * step_v
                        given = v[at : at + length]
                        at = oy * row_p + ox * column_p + piece * step_p
                        place = places[at : at + length]
                        number = places.dtype.type(fy * FW + fx)
                        if begun:
                            for c in range(length):
                                out[c] += given[c] * (one if place[c] == number else zero)
                        else:
                            begun = True
                            for c in range(length):
                                out[c] = given[c] * (one if place[c] == number else zero)
                if not begun:
                    for c in range(length):
                        out[c] = zero


@loop
def gathered(
    window: Window,
    nowhere: int,
    y: np.ndarray,
    at_y: Where,
    places: np.ndarray,
    at_places: Where,
    v: np.ndarray,
    at_v: Where,
) -> None:
    """What is at the places of the maxima; 0 for windows that have none."""
    _, FW, down, across, top, left = window
    OH, OW, row_v, column_v, step_v, pieces, length = at_v
    _, _, row, column, step, _, _ = at_y
    _, _, row_p, column_p, step_p, _, _ = at_places
    for oy in range(OH):
        for ox in range(OW):
            for piece in range(pieces):
                for c in range(length):
                    place = np.int64(places[oy * row_p + ox * column_p + piece * step_p + c])
                    found = v.dtype.type(0)
                    if place != np.int64(nowhere):
                        iy, ix = oy * down - top + place // FW, ox * across - left + place % FW
                        found = y[iy * row + ix * column + piece * step + c]
                    v[oy * row_v + ox * column_v + piece * step_v + c] = found


@loop
def averaged(window: Window, x: np.ndarray, at_x: Where, y: np.ndarray, at_y: Where) -> None:
    """The mean of each window, place by place."""
    FH, FW, down, across, top, left = window
    H, W, row, column, step, pieces, length = at_x
    OH, OW, row_y, column_y, step_y, _, _ = at_y
    size = y.dtype.type(FH * FW)
    for oy in range(OH):
        for ox in range(OW):
            for piece in range(pieces):
                at = oy * row_y + ox * column_y + piece * step_y
                total = y[at : at + length]
                for c in range(length):
                    total[c] = 0
                for iy in range(max(0, oy * down - top), min(H, oy * down - top + FH)):
                    for ix in range(max(0, ox * across - left), min(W, ox * across - left + FW)):
                        at = iy * row + ix * column + piece * step
                        seen = x[at : at + length]
                        for c in range(length):
                            total[c] += seen[c] / size


@loop
def shared(window: Window, dy: np.ndarray, at_dy: Where, dx: np.ndarray, at_dx: Where) -> None:
    """An equal share of each window's gradient to its places, in their order in the window."""
    FH, FW, down, across, top, left = window
    OH, OW, row_dy, column_dy, step_dy, pieces, length = at_dy
    H, W, row, column, step, _, _ = at_dx
    size = dx.dtype.type(FH * FW)
    for iy in range(H):
        for ix in range(W):
            for piece in range(pieces):
                at = iy * row + ix * column + piece * step
                out = dx[at : at + length]
                for c in range(length):
                    out[c] = 0
                for fy in range(min(FH, iy + top + 1)):
                    oy = (iy + top - fy) // down
                    if oy >= OH or oy * down + fy != iy + top:
                        continue
                    for fx in range(min(FW, ix + left + 1)):
                        ox = (ix + left - fx) // across
                        if ox >= OW or ox * across + fx != ix + left:
                            continue
                        at = oy * row_dy + ox * column_dy + piece * step_dy
                        given = dy[at : at + length]
                        for c in range(length):
                            out[c] += given[c] / size
