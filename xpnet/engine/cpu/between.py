"""What stands between matrix products: it reads one's output and fills the next one's input.

Images are in memory as (H, W, n, C), rows as (n, features). Nothing here allocates memory from step
to step, but `Reference`.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.cpu.philox import Philox
from xpnet.engine.cpu.scratch import Scratch
from xpnet.functions.im2col import inner, outer
from xpnet.layers import Backward, Dropout, Layer, MaxPool, Params, Shape

BLOCK = 8192
"""Numbers. So many zeros at most are kept for ReLU to compare with."""


@dataclass(frozen=True)
class Wires:
    """The arrays that a piece is made for.

    Attributes
    ----------
    x, y : where the input is found, and where the output goes
    dy, dx : where the gradient of the output is found, and where that of the input goes; None where
        nobody needs it, so that `backward` is not called, but that of `Reference` for parameters
    """

    x: np.ndarray
    y: np.ndarray
    dy: Array
    dx: Array


@dataclass
class Pass:
    """What pieces must know of the pass that is under way."""

    train: bool = False
    first: int = 0
    """Number of the first sample within its batch."""


class Copy:
    """y = x."""

    method = "copy"

    def __init__(self, wires: Wires) -> None:
        self._wires = wires

    def forward(self) -> None:
        """x to y."""
        np.copyto(self._wires.y, self._wires.x)

    def backward(self) -> None:
        """dy to dx."""
        np.copyto(self._wires.dx, self._wires.dy)


class Rectify:
    """ReLU, y = max(x, 0)."""

    method = "in place of a copy"

    def __init__(self, wires: Wires, scratch: Scratch) -> None:
        self._wires = wires
        self._zeros = _zeros(wires.x)
        self._mask = scratch.get("mask", wires.x.shape, bool)

    def forward(self) -> None:
        """x to y."""
        np.maximum(self._wires.x, self._zeros, out=self._wires.y)

    def backward(self) -> None:
        """dy to dx, where y is above 0."""
        np.greater(self._wires.y, 0, out=self._mask)
        np.multiply(self._wires.dy, self._mask, out=self._wires.dx)


class Pool2x2:
    """The largest of each 2 x 2 window; with ReLU, which has a quarter to do after the pool.

    First the larger of two neighbours across, then of two of those down. Of equals the first wins,
    row by row, as in `MaxPool`: left before right, upper before lower. Two masks remember the way,
    and the gradient takes it back: what the first does not get, the second does, as the difference.
    """

    @staticmethod
    def fits(layer: MaxPool, shape: Shape) -> bool:
        """Whether the windows lie side by side and cover the image."""
        tiled = layer.window == (2, 2) and layer.stride == 2 and layer.pad == 0
        return tiled and shape[1] % 2 == 0 and shape[2] % 2 == 0 and layer.ties == "first"

    def __init__(self, wires: Wires, scratch: Scratch, *, rectify: bool) -> None:
        self._wires, self._rectify = wires, rectify
        self.method = "2x2 with ReLU" if rectify else "2x2"
        (H, W, n, C), kind = wires.x.shape, wires.x.dtype
        half, quarter = (H, W // 2, n, C), (H // 2, W // 2, n, C)
        self._across, self._down = (
            scratch.get("across", half, kind), scratch.get("down", quarter, kind),
        )  # fmt: skip
        self._left, self._upper, self._positive = (
            np.empty(shape, dtype=bool) for shape in (half, quarter, quarter)
        )
        self._zeros = _zeros(self._down)

    def forward(self) -> None:
        """x to y."""
        x, across, down = self._wires.x, self._across, self._down
        left, right = x[:, 0::2], x[:, 1::2]
        np.greater_equal(left, right, out=self._left)
        np.maximum(left, right, out=across)
        upper, lower = across[0::2], across[1::2]
        np.greater_equal(upper, lower, out=self._upper)
        np.maximum(upper, lower, out=down if self._rectify else self._wires.y)
        if self._rectify:
            np.greater(down, 0, out=self._positive)
            np.maximum(down, self._zeros, out=self._wires.y)

    def backward(self) -> None:
        """dy to the place in dx where the maximum was; 0 elsewhere."""
        dy, dx, across, down = self._wires.dy, self._wires.dx, self._across, self._down
        if self._rectify:
            np.multiply(dy, self._positive, out=down)
        else:
            np.copyto(down, dy)
        np.multiply(down, self._upper, out=across[0::2])
        np.subtract(down, across[0::2], out=across[1::2])
        np.multiply(across, self._left, out=dx[:, 0::2])
        np.subtract(across, dx[:, 0::2], out=dx[:, 1::2])


class DropUnits:
    """Dropout: of the mask that the layer has for the whole batch, the part for these samples."""

    method = "part of the batch's mask"

    def __init__(self, layer: Dropout, wires: Wires, under_way: Pass) -> None:
        self._layer, self._wires, self._pass = layer, wires, under_way
        units = in_book_order(wires.x).shape
        self._philox, self._features = Philox(layer.key, prod(units)), prod(units[1:])
        self._mask = np.empty(units, dtype=bool)
        self._kept = in_memory_order(self._mask)
        self._factor = wires.x.dtype.type(1.0 / (1.0 - layer.dropout_ratio))

    def forward(self) -> None:
        """x to y; the layer's counter stays, since other parts of the batch need it."""
        x, y, ratio = self._wires.x, self._wires.y, self._layer.dropout_ratio
        if not self._pass.train:
            np.multiply(x, 1.0 if self._layer.inverted else 1.0 - ratio, out=y)
            return
        calls, start = int(self._layer.state["calls"][0]), self._pass.first * self._features
        words = self._philox.words(calls, start).reshape(self._mask.shape)
        np.greater_equal(words, round(ratio * 2**32), out=self._mask)
        self._keep(x, y)

    def backward(self) -> None:
        """dy to dx, with the mask of the forward pass."""
        self._keep(self._wires.dy, self._wires.dx)

    def _keep(self, x: np.ndarray, y: np.ndarray) -> None:
        np.multiply(x, self._kept, out=y)
        if self._layer.inverted:
            np.multiply(y, self._factor, out=y)


class Reference:
    """Any layer, as it is written in `xpnet.layers`."""

    method = "reference"

    def __init__(self, layer: Layer, wires: Wires, grads: Params, under_way: Pass) -> None:
        self._layer, self._wires, self._grads, self._pass = layer, wires, grads, under_way
        # Its own copy of x: a layer may keep x for its backward, and here x will be written over.
        self._x = np.empty_like(wires.x)
        self._backward: Backward | None = None

    def forward(self) -> None:
        """x to y."""
        np.copyto(self._x, self._wires.x)
        y, self._backward = self._layer.forward(in_book_order(self._x), train=self._pass.train)
        np.copyto(in_book_order(self._wires.y), y)

    def backward(self) -> None:
        """dy to the gradients and dx."""
        assert self._backward is not None
        need_dx = self._wires.dx is not None
        dx, grads = self._backward(in_book_order(self._wires.dy), need_dx=need_dx)
        for name, grad in grads.items():
            self._grads[name][...] = grad
        if self._wires.dx is not None:
            np.copyto(in_book_order(self._wires.dx), dx)


def in_book_order(x: np.ndarray) -> np.ndarray:
    """Images (H, W, n, C) seen as (n, C, H, W); rows as they are."""
    return inner(x) if x.ndim == 4 else x


def in_memory_order(x: np.ndarray) -> np.ndarray:
    """Images (n, C, H, W) seen as (H, W, n, C); rows as they are."""
    return outer(x) if x.ndim == 4 else x


def _zeros(x: np.ndarray) -> np.ndarray:
    """Zeros to compare x with: NumPy's maximum of two arrays is 3 times as fast as with a number.

    Of the innermost axes only, so that they stay in the cache.
    """
    axes = next(k for k in range(x.ndim) if prod(x.shape[k:]) <= BLOCK or k == x.ndim - 1)
    return np.zeros(x.shape[axes:], dtype=x.dtype)
