"""Activation functions."""

from collections.abc import Sequence

import numpy as np

from xpnet.engine.cpu.kernel import AsWritten, Kernel, computes, zeros_beside
from xpnet.layers import ReLU, Sigmoid, Tanh

computes(Sigmoid, Tanh)(AsWritten)


@computes(ReLU)
class Rectify(Kernel):
    """ReLU, y = max(x, 0)."""

    keeps_y = True
    method = "in place of a copy"

    def build(self) -> None:
        """Zeros, and a mask."""
        shape = self.buffers.shape(self.op.output_shape)
        self._zeros = zeros_beside(shape, self.buffers.dtype)
        self._mask = self.buffers.scratch("mask", shape, bool)

    def forward(self) -> None:
        """x to y."""
        np.maximum(self.inputs[0], self._zeros, out=self.y)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to dx, where y is above 0."""
        np.greater(self.y, 0, out=self._mask)
        np.multiply(self.dy, self._mask, out=self.gradients[0])
