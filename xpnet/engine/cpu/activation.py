"""Activation functions."""

from collections.abc import Sequence

import numpy as np

from xpnet.engine.cpu.kernel import Kernel, computes, zeros_beside
from xpnet.layers import LeakyReLU, ReLU, ReLU6, ScaledTanh, Sigmoid, Tanh
from xpnet.layers.activation import HEIGHT, STEEPNESS


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


class Smooth(Kernel):
    """A function whose slope is known from its value; what it does is in one array in a row.

    NumPy rounds some functions otherwise where numbers do not lie side by side.
    """

    keeps_y = True
    method = "number by number"

    def build(self) -> None:
        """Room for what is half done."""
        self._term = self.buffers.scratch("term", self.buffers.shape(self.op.output_shape))

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to dx."""
        self._slope()
        np.multiply(self.dy, self._term, out=self.gradients[0])

    def _slope(self) -> None:
        """Leave the slope, from y."""
        raise NotImplementedError


@computes(Sigmoid)
class Squash(Smooth):
    """Sigmoid, y = max(e, [x >= 0]) / (1 + e) with e = exp(-|x|), as in `functions.activations`."""

    def build(self) -> None:
        """Where x is not below 0."""
        super().build()
        self._positive = self.buffers.scratch("mask", self._term.shape, bool)

    def forward(self) -> None:
        """x to y."""
        (x,), e = self.inputs, self._term
        np.greater_equal(x, 0, out=self._positive)
        np.abs(x, out=e)
        np.negative(e, out=e)
        np.exp(e, out=e)
        np.maximum(e, self._positive, out=self.y)
        e += 1.0
        self.y /= e

    def _slope(self) -> None:
        np.subtract(1.0, self.y, out=self._term)
        self._term *= self.y


@computes(Tanh)
class HyperbolicTangent(Smooth):
    """y = tanh(x), with the slope 1 - y^2."""

    def forward(self) -> None:
        """x to y."""
        np.copyto(self._term, self.inputs[0])
        np.tanh(self._term, out=self._term)
        np.copyto(self.y, self._term)

    def _slope(self) -> None:
        np.multiply(self.y, self.y, out=self._term)
        np.subtract(1.0, self._term, out=self._term)


@computes(ScaledTanh)
class ScaledHyperbolicTangent(Smooth):
    """y = A tanh(B x), with the slope B (A - y^2 / A)."""

    def forward(self) -> None:
        """x to y."""
        np.multiply(self.inputs[0], STEEPNESS, out=self._term)
        np.tanh(self._term, out=self._term)
        np.multiply(self._term, HEIGHT, out=self.y)

    def _slope(self) -> None:
        term = self._term
        np.multiply(self.y, self.y, out=term)
        term /= HEIGHT
        np.subtract(HEIGHT, term, out=term)
        term *= STEEPNESS


@computes(ReLU6)
class RectifyBelow6(Kernel):
    """ReLU6, y = min(max(x, 0), 6)."""

    keeps_y = True
    method = "in place of a copy"

    def build(self) -> None:
        """Masks of what is above 0 and of what is below 6."""
        shape = self.buffers.shape(self.op.output_shape)
        self._mask, self._below = (
            self.buffers.scratch(name, shape, bool) for name in ("mask", "below")
        )

    def forward(self) -> None:
        """x to y."""
        np.clip(self.inputs[0], 0, 6, out=self.y)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to dx, where y is between 0 and 6."""
        np.greater(self.y, 0, out=self._mask)
        np.less(self.y, 6, out=self._below)
        np.logical_and(self._mask, self._below, out=self._mask)
        np.multiply(self.dy, self._mask, out=self.gradients[0])


@computes(LeakyReLU)
class RectifyLeaking(Kernel):
    """LeakyReLU, y = max(x, slope x)."""

    keeps_y = True
    method = "number by number"

    def build(self) -> None:
        """The slope, and room for slope x, or for 1 and the slope."""
        assert isinstance(self.op.layer, LeakyReLU)
        self._slope = self.buffers.dtype.type(self.op.layer.slope)
        self._term = self.buffers.scratch("term", self.buffers.shape(self.op.output_shape))

    def forward(self) -> None:
        """x to y."""
        np.multiply(self.inputs[0], self._slope, out=self._term)
        np.maximum(self.inputs[0], self._term, out=self.y)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to dx, times the slope where y is not above 0."""
        np.greater(self.y, 0, out=self._term)
        np.maximum(self._term, self._slope, out=self._term)
        np.multiply(self.dy, self._term, out=self.gradients[0])
