"""Depthwise convolution: each channel by a filter of its own, which is no matrix product."""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpnet.arrays import Array
from xpnet.engine.cpu.buffers import zeros
from xpnet.engine.cpu.kernel import Kernel
from xpnet.layers import Convolution

RUN = 512
"""Numbers at least of the runs that filters are repeated for, so that those of all places of the
window stay in the first cache."""


class Depthwise(Kernel):
    """Convolution with as many groups as channels and filters.

        y = sum over k of w_k x_k + b,   dw_k = sum of x_k dy,   dx = sum over k of w'_k d_k

    where x_k is the image as place k of the window sees it, w' is w turned round, and d is dy with
    zeros around it, and between its pixels where the window takes larger steps.

    Each is one call of einsum, which multiplies and adds in one go, along runs of all channels of
    samples and columns that lie side by side; w is repeated for them.
    """

    owns_x = owns_y = True
    method = "depthwise"

    @staticmethod
    def fits(layer: Convolution) -> bool:
        """Tell whether each channel has one filter, and sees no other."""
        filters, channels, *_ = layer.params["W"].shape
        return layer.groups > 1 and channels == 1 and filters == layer.groups

    def build(self) -> None:
        """The padded images and gradients, and what each place of the window sees of them."""
        layer, n, kind = self.op.layer, self.buffers.n, self.buffers.dtype
        assert isinstance(layer, Convolution)
        ((C, H, W),), (_, OH, OW) = self.op.input_shapes, self.op.output_shape
        (top, left, bottom, right), (down, across) = layer.pads, layer.strides
        window = FH, FW = layer.params["W"].shape[2:]
        self._w, self._b = layer.params["W"].reshape(C, FH, FW), layer.params.get("b")
        padded = zeros((top + H + bottom, left + W + right, n, C), kind)
        self.x = padded[top : top + H, left : left + W]
        self.y = self.buffers.value(self.number)
        side_by_side = OW * n if across == 1 else n
        repeated = _repeated(side_by_side, C)
        self._seen = _seen(padded, window, (OH, OW), (down, across), repeated)
        self._wide = zeros((FH, FW, repeated, C), kind)
        self._y = self.y.reshape(self._seen.shape[2:])
        # Gradients are sums over all pixels of a row first, then over those of all rows.
        self._seen_in_rows = _seen(padded, window, (OH, OW), (down, across), side_by_side)
        self._dw_wide = self.buffers.scratch("filters", (FH, FW, side_by_side, C))
        self._db_wide = self.buffers.scratch("biases", (side_by_side, C))
        self._ones = np.ones(side_by_side, dtype=kind)
        self._dw = self.buffers.scratch("dw", (FH, FW, C))
        self.dx: Array = None
        if any(self.op.need_dx):
            # dy begins here among the zeros; no window sees the rows before `first`.
            first_y, first_x = max(0, top - FH + 1), max(0, left - FW + 1)
            at_y, at_x = first_y + FH - 1 - top, first_x + FW - 1 - left
            end_y, end_x = at_y + down * (OH - 1) + 1, at_x + across * (OW - 1) + 1
            size = max(first_y + H + FH - 1, end_y), max(first_x + W + FW - 1, end_x)
            around = zeros((*size, n, C), kind)
            self.dy = around[at_y:end_y:down, at_x:end_x:across]
            repeated = _repeated(W * n, C)
            self._dy_seen = _seen(around[first_y:, first_x:], window, (H, W), (1, 1), repeated)
            self._turned = zeros((FH, FW, repeated, C), kind)
            self.dx = self.buffers.passed(self.number, (H, W, n, C))
            self._dx = self.dx.reshape(self._dy_seen.shape[2:])
        else:
            self.dy = self.buffers.gradient(self.number)

    def prepare(self) -> None:
        """Filters as they are now, repeated along the runs."""
        w = self._w.transpose(1, 2, 0)[:, :, np.newaxis]
        np.copyto(self._wide, w)
        if self.dx is not None:
            np.copyto(self._turned, w[::-1, ::-1])

    def forward(self) -> None:
        """Compute y from x."""
        np.einsum("abhwsr,abr->hwsr", self._seen, _runs(self._wide), out=self._y)
        if self._b is not None:
            self.y += self._b

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        if need_grads:
            dy = self.dy.reshape(self._seen_in_rows.shape[2:])
            np.einsum("abhwsr,hwsr->abr", self._seen_in_rows, dy, out=_runs(self._dw_wide))
            np.matmul(self._ones, self._dw_wide, out=self._dw)
            self.grads["W"].reshape(self._w.shape)[...] = self._dw.transpose(2, 0, 1)
            if self._b is not None:
                np.einsum("hwsr->r", dy, out=_runs(self._db_wide))
                np.matmul(self._ones, self._db_wide, out=self.grads["b"])
        if need_dx[0]:
            np.einsum("abhwsr,abr->hwsr", self._dy_seen, _runs(self._turned), out=self._dx)


def _repeated(pixels: int, channels: int) -> int:
    """Count the pixels of a run, so that equal runs make up all that lie side by side."""
    divisors = (k for k in range(1, pixels + 1) if pixels % k == 0)
    return next(k for k in divisors if k * channels >= RUN or k == pixels)


def _seen(
    images: np.ndarray,
    window: tuple[int, int],
    size: tuple[int, int],
    steps: tuple[int, int],
    repeated: int,
) -> np.ndarray:
    """View images (H, W, n, C) as each place of a window sees them, in runs of `repeated` pixels.

    Pixels of a row lie side by side if the window takes steps of 1 along it, else those of a
    column. The view is (FH, FW, OH, columns, runs of each, numbers of a run).
    """
    row, column, pixel, item = images.strides
    n, channels = images.shape[2:]
    (OH, OW), (down, across) = size, steps
    columns, pixels = (1, OW * n) if across == 1 else (OW, n)
    shape = (*window, OH, columns, pixels // repeated, repeated * channels)
    strides = (row, column, row * down, column * across, repeated * pixel, item)
    return as_strided(images, shape, strides)


def _runs(array: np.ndarray) -> np.ndarray:
    """(..., pixels, C) as runs."""
    return array.reshape(*array.shape[:-2], -1)
