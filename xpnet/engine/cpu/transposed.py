"""Transposed convolution by matrix products on images of memory order (H, W, n, C)."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from xpnet.arrays import Array
from xpnet.arrays.values import in_parts
from xpnet.engine.blocks import blocks_of
from xpnet.engine.cpu.kernel import Kernel, computes
from xpnet.layers import TransposedConvolution

BYTES = 2**20
"""Bytes of P and Y at most, but those of one row of blocks, so that they stay in the cache."""


@computes(TransposedConvolution)
class SubpixelGemm(Kernel):
    """One product, of what each block of the output sees with all filters side by side.

        y[s r + u, s q + v] = sum over t, t' of x[r - t, q - t'] W[s t + u, s t' + v] + b

    before anything is cut off: every pixel of a block sees the same few pixels of x. With these as
    a row of P for each block, that is an ordinary convolution with s s filters for each channel:

        Y = P B + b,   dB = P^T dY,   dP = dY B^T

    Rows of P and Y run over r, q, n; columns of P and rows of B over t, t', c, and columns of B and
    Y over u, v, f. Where the window is no multiple of s, B has zeros.

    Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?",
    arXiv:1609.07009.
    """

    owns_x = owns_y = shares_prepared = True
    method = "subpixel-GEMM"

    def build(self) -> None:
        """The images with what blocks see beyond them, and the filters in the order of B."""
        layer, n = self.op.layer, self.buffers.n
        assert isinstance(layer, TransposedConvolution)
        ((C, H, W),), (FN, OH, OW) = self.op.input_shapes, self.op.nodes[0].output_shape
        self._down, self._across = rows, columns = blocks_of(layer, (H, W), (OH, OW))
        down, across = layer.strides
        self._W, self._b = layer.params["W"], layer.params.get("b")
        shape = (rows.taps, columns.taps, C, down, across, FN)
        self._K, self._N = rows.taps * columns.taps * C, down * across * FN
        room = self.buffers.prepared(self, 2, self._K * self._N)
        self._B, self._B_back = room[0].reshape(shape), room[1].reshape(*shape[3:], *shape[:3])
        scratch = self.buffers.scratch
        self._dB = scratch("filters", (self._K, self._N))
        # Each channel's filters with zeros behind them, to whole blocks.
        self._whole = scratch("whole", (C, FN, rows.taps * down, columns.taps * across))
        border = (rows.before, columns.before, rows.behind, columns.behind)
        self._images, self._dx_around = self.bordered(border)
        self.build_output((OH, OW, n, FN))

    def build_output(self, shape: tuple[int, int, int, int]) -> None:
        """Whole blocks of y and dy, and the parts that are gone through one after the other."""
        (OH, OW, n, FN), rows, columns = shape, self._down, self._across
        around = (rows.blocks * rows.step, columns.blocks * columns.step, n, FN)
        whole = self.buffers.value(self.number, around)
        d_whole = self.buffers.gradient(self.number, around)
        top, left = rows.skipped, columns.skipped
        bottom, right = top + OH, left + OW
        self.y, self.dy = whole[top:bottom, left:right], d_whole[top:bottom, left:right]
        cut = (d_whole[:top], d_whole[bottom:], d_whole[:, :left], d_whole[:, right:])
        self._cut = [each for each in cut if each.size]
        self._dB_part = self.buffers.scratch("filters of a part", self._dB.shape)
        self._db, self._db_part = self.buffers.scratch("biases", (2, self._N))
        self._parts = list(self._divided(whole, d_whole))

    def _divided(self, whole: np.ndarray, d_whole: np.ndarray) -> Iterator["Part"]:
        """As many rows of blocks at a time as `BYTES` allow."""
        rows, columns, (_, _, n, FN) = self._down, self._across, whole.shape
        windows = self._windows(self._images)
        dx_windows = None if self._dx_around is None else self._windows(self._dx_around)
        split = (rows.blocks, rows.step, columns.blocks, columns.step, n, FN)
        blocks, d_blocks = (
            each.reshape(split).transpose(0, 2, 4, 1, 3, 5) for each in (whole, d_whole)
        )
        row, size = columns.blocks * n, whole.itemsize
        for part in in_parts(rows.blocks, max(1, BYTES // (row * (self._K + self._N) * size))):
            count = row * (part.stop - part.start)
            yield Part(
                windows[part],
                self.buffers.scratch("windows", (count, self._K)),
                self.buffers.scratch("blocks", (count, self._N)),
                blocks[part],
                d_blocks[part],
                None if dx_windows is None else dx_windows[part],
                np.ones(count, dtype=self.buffers.dtype),
            )

    def _windows(self, images: np.ndarray) -> np.ndarray:
        """What each block sees of images, or of gradients, (R, Q, n, t, t', c): a view."""
        rows, columns = (
            slice(each.first, each.first + each.blocks + each.taps - 1)
            for each in (self._down, self._across)
        )
        window = self._down.taps, self._across.taps
        seen = sliding_window_view(images[rows, columns], window, axis=(0, 1), writeable=True)
        return seen.transpose(0, 1, 2, 4, 5, 3)

    def prepare(self) -> None:
        """The filters in the order of B, and of B turned."""
        FH, FW = self._W.shape[2:]
        self._whole[...] = 0.0
        self._whole[:, :, :FH, :FW] = self._W
        by_tap = self._by_tap()
        np.copyto(self._B, by_tap.transpose(2, 4, 0, 3, 5, 1))
        np.copyto(self._B_back, by_tap.transpose(3, 5, 1, 2, 4, 0))

    def _by_tap(self) -> np.ndarray:
        """View `_whole` as (c, f, t, u, t', v).

        The pixel that a block sees last is the one that it begins with: t and t' run backward.
        """
        C, FN, *_ = self._whole.shape
        rows, columns = self._down, self._across
        split = self._whole.reshape(C, FN, rows.taps, rows.step, columns.taps, columns.step)
        return split[:, :, ::-1, :, ::-1]

    def forward(self) -> None:
        """Compute y from x."""
        B = self._B.reshape(self._K, self._N)
        for part in self._parts:
            part.take()
            np.matmul(part.P, B, out=part.Y)
            np.copyto(part.blocks, part.Y.reshape(part.blocks.shape))
        if self._b is not None:
            self.y += self._b

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        for cut in self._cut:
            cut[...] = 0.0
        if need_dx[0]:
            self._dx_around[...] = 0.0
        for k, part in enumerate(self._parts):
            np.copyto(part.Y.reshape(part.d_blocks.shape), part.d_blocks)
            if need_grads:
                part.take()
                np.matmul(part.P.T, part.Y, out=self._dB_part if k else self._dB)
                np.matmul(part.ones, part.Y, out=self._db_part if k else self._db)
                if k:
                    self._dB += self._dB_part
                    self._db += self._db_part
            if need_dx[0]:
                np.matmul(part.Y, self._B_back.reshape(self._N, self._K), out=part.P)
                part.add_to_dx()
        if need_grads:
            self.give_gradients()

    def give_gradients(self) -> None:
        """The parameters' gradients, from those in the order of B."""
        dB = self._dB.reshape(self._B.shape)
        np.copyto(self._by_tap().transpose(2, 4, 0, 3, 5, 1), dB)
        FH, FW = self._W.shape[2:]
        np.copyto(self.grads["W"], self._whole[:, :, :FH, :FW])
        if self._b is not None:
            np.sum(self._db.reshape(-1, len(self._b)), axis=0, out=self.grads["b"])


class Part(NamedTuple):
    """Some rows of blocks.

    Attributes
    ----------
    windows : what they see
    P, Y : room for the matrices
    blocks, d_blocks : y and dy, (R, Q, n, u, v, f)
    dx_windows : what they see of dx; None where that is not needed
    ones : as many as there are rows of P
    """

    windows: np.ndarray
    P: np.ndarray
    Y: np.ndarray
    blocks: np.ndarray
    d_blocks: np.ndarray
    dx_windows: Array
    ones: np.ndarray

    def take(self) -> None:
        """Have P hold what the blocks see."""
        np.copyto(self.P.reshape(self.windows.shape), self.windows)

    def add_to_dx(self) -> None:
        """Add what is in P to the pixels of dx, place by place, for the windows overlap."""
        shape = self.windows.shape
        P, (*_, down, across, _) = self.P.reshape(shape), shape
        for t, w in product(range(down), range(across)):
            self.dx_windows[:, :, :, t, w] += P[:, :, :, t, w]
