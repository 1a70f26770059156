"""Convolution with ReLU and a pool behind it, while what it puts out is in the cache."""

from collections.abc import Sequence

import numpy as np

from xpnet.engine.cpu.conv import PlanesGemm, Rows, ShiftGemm
from xpnet.engine.cpu.depthwise import Depthwise
from xpnet.engine.cpu.fast.rectify import Pooled, Rectified
from xpnet.engine.cpu.fast.winograd import PooledWinograd, RectifiedWinograd
from xpnet.engine.cpu.kernel import Kernel, computes_compiled
from xpnet.engine.cpu.pool import halves
from xpnet.engine.cpu.winograd import Winograd
from xpnet.engine.lower import Op, Pattern
from xpnet.layers import Convolution, MaxPool, ReLU
from xpnet.models.nodes import Node

BYTES = 500_000
"""Of planes and products that are at work at a time: they stay in a core's own cache."""


class RectifiedPlanes(Rectified, PlanesGemm):
    """Convolution of images with few channels, and ReLU: rows by rows."""

    def rows_at_a_time(self, rows: int, size: int) -> int:
        """As many as the cache has room for, in pairs if need be."""
        return min(rows, max(1, BYTES // (size * self.halves)) * self.halves)

    def build_output(self, shape: tuple[int, int, int]) -> None:
        """Room for the products of some rows."""
        _, numbers, FN = shape
        most = max(rows.end - rows.first for rows in self._blocks)
        self._products = self.buffers.scratch("product", (most, numbers, FN))
        OW = numbers // self.buffers.n
        self._pixels = self._products.reshape(most, OW, -1)

    def dy_rows(self, rows: Rows) -> np.ndarray:
        """Some rows of the convolution's gradient, (rows, OW n, FN)."""
        count = rows.end - rows.first
        self.take(self._pixels[:count], rows.first)
        return self._products[:count]

    def forward(self) -> None:
        """Compute y from x."""
        for rows in self._blocks:
            count = rows.end - rows.first
            self.multiply(rows, self._products[:count])
            self.leave(self._pixels[:count], rows.first)
        self.finish()

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients of the parameters from dy."""
        self.begin_back()
        super().backward(need_dx, need_grads)


class PooledPlanes(Pooled, RectifiedPlanes):
    """Convolution of images with few channels, ReLU, and a pool of 2 x 2."""


class RectifiedShift(Rectified, ShiftGemm):
    """Convolution by a product for each place of the window, and ReLU."""

    def build_output(self, shape: tuple[int, ...]) -> None:
        """Room for what the products add up to."""
        self._sum = self._dsum = self.buffers.scratch("convolved", shape)
        self._pixels = self._sum.reshape(*shape[:2], -1)

    def forward(self) -> None:
        """Compute y from x."""
        super().forward()
        self.leave(self._pixels)
        self.finish()

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        self.begin_back()
        self.take(self._pixels)
        super().backward(need_dx, need_grads)


class PooledShift(Pooled, RectifiedShift):
    """Convolution by a product for each place of the window, ReLU, and a pool of 2 x 2."""


RECTIFIED: dict[type[Kernel], type[Kernel]] = {
    Winograd: RectifiedWinograd,
    PlanesGemm: RectifiedPlanes,
    ShiftGemm: RectifiedShift,
}
POOLED: dict[type[Kernel], type[Kernel]] = {
    Winograd: PooledWinograd,
    PlanesGemm: PooledPlanes,
    ShiftGemm: PooledShift,
}


def _is_product(nodes: Sequence[Node]) -> bool:
    """Tell whether the convolution is made of matrix products."""
    layer = nodes[0].layer
    return isinstance(layer, Convolution) and not Depthwise.fits(layer)


@computes_compiled(Pattern(((Convolution,), (ReLU,)), _is_product))
class RectifiedConvolution(Kernel):
    """Convolution and ReLU."""

    @classmethod
    def best(cls, op: Op) -> type[Kernel]:
        """The one that convolves as the convolution alone would be."""
        return RECTIFIED[ShiftGemm.best(op)]


@computes_compiled(
    Pattern(((Convolution,), (ReLU,), (MaxPool,)), lambda n: _is_product(n) and halves(n))
)
class PooledConvolution(Kernel):
    """Convolution, ReLU, and a pool of 2 x 2."""

    @classmethod
    def best(cls, op: Op) -> type[Kernel]:
        """The one that convolves as the convolution alone would be."""
        return POOLED[ShiftGemm.best(op)]
