"""Local response normalization, across channels."""

from collections.abc import Sequence
from math import prod

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.cpu.kernel import Kernel, computes
from xpnet.layers import LRN


@computes(LRN)
class NormalizeLocally(Kernel):
    """y = x p with p = D^-beta and D = k + alpha (sum of x^2 over neighbouring channels).

        dx = dy p - 2 alpha beta x (sum of dy y / D over neighbouring channels)

    Rows of channels lie in memory with zeros between them, as many as a window reaches to either
    side. So the sums of all windows are those of long rows of numbers, shifted.
    """

    owns_x = keeps_y = True
    method = "sums of shifted channels"

    def build(self) -> None:
        """x, D and p, which are kept, and the rows of channels."""
        assert isinstance(self.op.layer, LRN)
        self._layer, buffers = self.op.layer, self.buffers
        shape = *around, C = buffers.shape(self.op.output_shape)
        self.x, self._D, self._p = (buffers.kept(shape) for _ in "xDp")
        reach = self._layer.size // 2
        between = (*around, C + reach)
        self._row = np.zeros(prod(between) + 2 * reach, dtype=buffers.dtype)
        self._terms = self._row[reach : self._row.size - reach].reshape(between)[..., :C]
        self._sums = buffers.scratch("sums", (prod(between),))
        self._sum = self._sums.reshape(between)[..., :C]
        self._product = buffers.scratch("product", shape)
        self.dx: Array = buffers.passed(self.number, shape) if any(self.op.need_dx) else None

    def _add_neighbours(self) -> None:
        """Terms to sums."""
        sums, row = self._sums, self._row
        np.copyto(sums, row[: sums.size])
        for k in range(1, self._layer.size):
            sums += row[k : k + sums.size]

    def forward(self) -> None:
        """Compute y from x."""
        layer, x, D, p = self._layer, self.x, self._D, self._p
        np.multiply(x, x, out=self._terms)
        self._add_neighbours()
        np.multiply(self._sum, layer.alpha, out=D)
        D += layer.k
        np.power(D, -layer.beta, out=p)
        np.multiply(x, p, out=self.y)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute dx from dy."""
        if not need_dx[0]:
            return
        layer, product = self._layer, self._product
        np.multiply(self.dy, self.y, out=self._terms)
        self._terms /= self._D
        self._add_neighbours()
        np.multiply(self._sum, self.x, out=product)
        product *= -2.0 * layer.alpha * layer.beta
        np.multiply(self.dy, self._p, out=self.dx)
        self.dx += product
