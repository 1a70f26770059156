"""Depthwise convolution: each channel by a filter of its own, which is no matrix product."""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpnet.arrays import Array
from xpnet.engine.cpu.kernel import Kernel
from xpnet.layers import Convolution


class Depthwise(Kernel):
    """Convolution with as many groups as channels and filters.

        y = sum over k of w_k x_k + b,   dw_k = sum of x_k dy,   dx = sum over k of w'_k d_k

    where x_k is the image as place k of the window sees it, w' is w turned round, and d is dy with
    zeros around it, and between its pixels where the window takes larger steps.

    Each is one call of einsum, which multiplies and adds in one go, along runs of all channels, and
    samples and columns where these lie side by side; w is repeated for them.
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
        FH, FW = layer.params["W"].shape[2:]
        self._w, self._b = layer.params["W"].reshape(C, FH, FW), layer.params.get("b")
        padded = np.zeros((top + H + bottom, left + W + right, n, C), dtype=kind)
        self.x = padded[top : top + H, left : left + W]
        self._x_seen = _seen(padded, (FH, FW), (OH, OW), (down, across))
        shape = self._x_seen.shape[2:]
        self._wide = np.empty((FH, FW, shape[-1] // C, C), dtype=kind)
        self._dw_wide = self.buffers.scratch("filters", self._wide.shape)
        self._db_wide = self.buffers.scratch("biases", self._wide.shape[2:])
        self._ones = np.ones(shape[-1] // C, dtype=kind)
        self._dw = self.buffers.scratch("dw", (FH, FW, C))
        self.y = self.buffers.value(self.number)
        self._y = self.y.reshape(shape)
        self.dx: Array = None
        if any(self.op.need_dx):
            # dy begins here among the zeros; no window sees the rows before `first`.
            first_y, first_x = max(0, top - FH + 1), max(0, left - FW + 1)
            at_y, at_x = first_y + FH - 1 - top, first_x + FW - 1 - left
            end_y, end_x = at_y + down * (OH - 1) + 1, at_x + across * (OW - 1) + 1
            size = max(first_y + H + FH - 1, end_y), max(first_x + W + FW - 1, end_x)
            zeros = np.zeros((*size, n, C), dtype=kind)
            self.dy = zeros[at_y:end_y:down, at_x:end_x:across]
            self._dy_seen = _seen(zeros[first_y:, first_x:], (FH, FW), (H, W), (1, 1))
            self._turned = np.empty((FH, FW, W * n, C), dtype=kind)
            self.dx = self.buffers.passed(self.number, (H, W, n, C))
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
        np.einsum("abhwr,abr->hwr", self._x_seen, _runs(self._wide), out=self._y)
        if self._b is not None:
            self.y += self._b

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        if need_grads:
            dy = self.dy.reshape(self._y.shape)
            np.einsum("abhwr,hwr->abr", self._x_seen, dy, out=_runs(self._dw_wide))
            np.matmul(self._ones, self._dw_wide, out=self._dw)
            self.grads["W"].reshape(self._w.shape)[...] = self._dw.transpose(2, 0, 1)
            if self._b is not None:
                np.einsum("hwr->r", dy, out=_runs(self._db_wide))
                np.matmul(self._ones, self._db_wide, out=self.grads["b"])
        if need_dx[0]:
            H, W, n, C = self.dx.shape
            dx = self.dx.reshape(H, 1, W * n * C)
            np.einsum("abhwr,abr->hwr", self._dy_seen, _runs(self._turned), out=dx)


def _seen(
    images: np.ndarray, window: tuple[int, int], size: tuple[int, int], steps: tuple[int, int]
) -> np.ndarray:
    """View images (H, W, n, C) as each place of a window sees them: (FH, FW, OH, columns, run).

    A run is a whole row of pixels if the window takes steps of 1 along it, else one pixel.
    """
    row, column, *_, item = images.strides
    pixel, (OH, OW), (down, across) = images[0, 0].size, size, steps
    runs = (1, OW * pixel) if across == 1 else (OW, pixel)
    strides = (row, column, row * down, column * across, item)
    return as_strided(images, (*window, OH, *runs), strides)


def _runs(array: np.ndarray) -> np.ndarray:
    """(..., pixels, C) as runs."""
    return array.reshape(*array.shape[:-2], -1)
