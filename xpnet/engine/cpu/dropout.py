"""Dropout."""

from collections.abc import Sequence
from math import prod

import numpy as np

from xpnet.engine.cpu.buffers import in_memory_order
from xpnet.engine.cpu.kernel import Kernel, computes
from xpnet.engine.cpu.philox import Philox
from xpnet.layers import Dropout


@computes(Dropout)
class DropUnits(Kernel):
    """Draws the part for these samples of the mask that the layer has for the whole batch."""

    method = "part of the batch's mask"

    def build(self) -> None:
        """The mask, and what draws it."""
        assert isinstance(self.op.layer, Dropout)
        self._layer = self.op.layer
        units = self.buffers.n, *self.op.output_shape
        self._philox, self._features = Philox(self._layer.key, prod(units)), prod(units[1:])
        self._mask = self.buffers.kept(units, bool)
        self._kept = in_memory_order(self._mask)
        self._factor = np.dtype(self.buffers.dtype).type(1.0 / (1.0 - self._layer.dropout_ratio))

    def forward(self) -> None:
        """x to y; the layer's counter stays, since other parts of the batch need it."""
        (x,), ratio = self.inputs, self._layer.dropout_ratio
        if not self.under_way.train:
            np.multiply(x, self._share, out=self.y)
            return
        calls, start = int(self._layer.state["calls"][0]), self.under_way.first * self._features
        self.draw(calls, start, round(ratio * 2**32))
        self._keep(x, self.y)

    def draw(self, calls: int, start: int, least: int) -> None:
        """Leave in the mask which words of a call, from number `start` on, are `least` or more."""
        words = self._philox.words(calls, start).reshape(self._mask.shape)
        np.greater_equal(words, least, out=self._mask)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to dx, with the mask of the forward pass."""
        if self.under_way.train:
            self._keep(self.dy, self.gradients[0])
        else:
            np.multiply(self.dy, self._share, out=self.gradients[0])

    def commit(self) -> None:
        """One more training pass."""
        self._layer.state["calls"] += 1

    @property
    def _share(self) -> float:
        """The factor of each number at inference."""
        return 1.0 if self._layer.inverted else 1.0 - self._layer.dropout_ratio

    def _keep(self, x: np.ndarray, y: np.ndarray) -> None:
        np.multiply(x, self._kept, out=y)
        if self._layer.inverted:
            np.multiply(y, self._factor, out=y)
