"""Winograd's convolution, a few rows of tiles at a time, with ReLU and a pool behind it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.cpu.buffers import by_groups, zeros
from xpnet.engine.cpu.fast import tiles
from xpnet.engine.cpu.fast.vectors import Flat, WritesOutside
from xpnet.engine.cpu.kernel import instead_of
from xpnet.engine.cpu.winograd import AT_ONE, IN, OUT, TAPS, Winograd

BYTES = 1_000_000
"""Of transformed tiles that are at work at a time: they stay in a core's own cache."""


class Block(NamedTuple):
    """Some rows of tiles, transformed; all blocks share their memory.

    Attributes
    ----------
    first : number of the first row of tiles
    V, Y : (IN, IN, rows, numbers of a row) of what enters, and of what leaves or of its gradient
    V_rows, Y_rows : the same as matrices (IN IN, tiles and samples, channels), by groups if any
    at_one : the matrix of Y at the points (1, 1)
    """

    first: int
    V: np.ndarray
    Y: np.ndarray
    V_rows: np.ndarray
    Y_rows: np.ndarray
    at_one: np.ndarray


@instead_of(Winograd)
class TiledWinograd(WritesOutside, Winograd):
    """The same formulas: tiles are transformed, multiplied and transformed back in the cache.

    On the way back images are transformed once more: that takes less time than to keep what is
    larger than they are.
    """

    least = -np.inf

    def build(self) -> None:
        """Images that tiles cover, and room for a block of tiles."""
        self._build_filters()
        buffers, kind, n = self.buffers, self.buffers.dtype, self.buffers.n
        ((C, H, W),), (FN, OH, OW) = self.op.input_shapes, self.op.nodes[0].output_shape
        (top, left, *_), (down, across) = self._layer.pads, self.tiles
        self._size = OH, OW
        x = zeros(self.covered(TAPS - 1, C), kind)
        inside = (slice(top, top + H), slice(left, left + W))
        self.x, self._x = x[inside], _flat(x)
        self.dx: Array = None
        if any(self.op.need_dx):
            dx = buffers.passed(self.number, x.shape)
            self.dx, self._dx = dx[inside], _flat(dx)
        row = IN * IN * across * n * (C + FN) * kind.itemsize
        rows = max(1, min(down, BYTES // row))
        self._blocks = [self._block(k, min(rows, down - k)) for k in range(0, down, rows)]
        self._ones = np.ones(rows * across * n, dtype=kind)
        L, M = n * FN, n * C
        self._half = buffers.scratch("half", (IN, OUT, (across + 1) * M))
        self._half_dy = buffers.scratch("half", (IN, OUT, across * L))
        self._half_y = buffers.scratch("half", (OUT, IN, across * L))
        self._half_dx = buffers.scratch("half", (IN, IN, across * M))
        self._spare, self._zeros = buffers.scratch("spare", (OUT, L)), zeros((L,), kind)
        self._dw_term = buffers.scratch("filters of a block", self._dw.shape)
        self._least = kind.type(self.least)

    def _block(self, first: int, rows: int) -> Block:
        C, FN = self.op.input_shapes[0][0], self.op.output_shape[0]
        n, across, groups = self.buffers.n, self.tiles[1], self._layer.groups
        V, Y = (
            self.buffers.scratch(name, (IN * IN, rows * across * n, channels))
            for name, channels in (("tiles", C), ("product", FN))
        )
        V_tiles, Y_tiles = (each.reshape(IN, IN, rows, -1) for each in (V, Y))
        V_rows, Y_rows = (by_groups(each, groups) for each in (V, Y))
        return Block(first, V_tiles, Y_tiles, V_rows, Y_rows, Y[AT_ONE])

    def forward(self) -> None:
        """Compute y from x."""
        for block in self._blocks:
            self.transform(block)
            np.matmul(block.V_rows, self._w_forth, out=block.Y_rows)
            if self._b is not None:
                block.at_one[...] += self._b  # which reaches every output with the factor 1
            self.put_out(block, self.outside.flat)
        self.outside.deliver()

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        dy = self.gradient_outside.fetched()
        self.begin_back()
        for block in self._blocks:
            self.transform_gradient(block, dy)
            if need_grads:
                self._add_gradients(block)
            if need_dx[0]:
                np.matmul(block.Y_rows, self._w, out=block.V_rows)
                tiles.leave_dx(block.V, self._half_dx, *self._dx, self._BT, block.first)
        if need_grads:
            self._give_dw()

    def begin_back(self) -> None:
        """See to what is read for all blocks."""

    def transform(self, block: Block) -> None:
        """Images to the block's tiles."""
        tiles.enter(*self._x, self._half, block.V, self._BT, block.first)

    def put_out(self, block: Block, y: Flat) -> None:
        """The block's products to y."""
        tiles.leave(
            block.Y, self._half_y, *y, self._size, self._spare, self._AT, self._least, block.first
        )

    def transform_gradient(self, block: Block, dy: Flat) -> None:
        """Gradients dy to the block's tiles."""
        tiles.enter_dy(
            *dy, None, 0, 0, self._size, self._zeros, self._half_dy, block.Y, self._AT, block.first
        )

    def _add_gradients(self, block: Block) -> None:
        """The block's part, to those of the blocks before it."""
        begun = block.first > 0
        if self._b is not None:  # the sums of the tiles
            db = self.grads["b"]
            ones = self._ones[: len(block.at_one)]
            if begun:
                db += np.matmul(ones, block.at_one)
            else:
                np.matmul(ones, block.at_one, out=db)
        self.transform(block)
        dw = self._dw_term if begun else self._dw
        np.matmul(block.Y_rows.swapaxes(-1, -2), block.V_rows, out=dw)
        if begun:
            self._dw += dw


class RectifiedWinograd(TiledWinograd):
    """With ReLU, which the last transform does, and on the way back the first."""

    keeps_y = True
    least = 0.0

    def begin_back(self) -> None:
        """Take up y, too."""
        self.outside.fetched()

    def transform_gradient(self, block: Block, dy: Flat) -> None:
        """Gradients dy to the block's tiles."""
        tiles.enter_dy(
            *dy, *self.outside.flat, self._size, self._zeros, self._half_dy, block.Y, self._AT,
            block.first,
        )  # fmt: skip


class PooledWinograd(TiledWinograd):
    """With ReLU and a pool of 2 x 2: only what these put out is ever in memory."""

    def build(self) -> None:
        """The places of the maxima, too."""
        super().build()
        FN, H, W = self.op.output_shape
        self._places = self.buffers.kept((H, W, self.buffers.n * FN))

    def put_out(self, block: Block, y: Flat) -> None:
        """The block's products to y."""
        spare, spare_places, *_ = self._spare
        tiles.leave_pooled(
            block.Y, self._half_y, *y, self._places, spare, spare_places, self._AT, block.first
        )

    def transform_gradient(self, block: Block, dy: Flat) -> None:
        """Gradients dy to the block's tiles."""
        tiles.enter_dy_pooled(
            *dy, self._places, self._zeros, self._half_dy, block.Y, self._AT, block.first
        )


def _flat(images: np.ndarray) -> Flat:
    found = Flat.of(images)
    assert found is not None  # an array that is all its own
    return found
