"""Layers of numbers of one bit, and what brings pixels to them."""

from collections.abc import Sequence

import numpy as np

from xpnet.engine.cpu.conv import ShiftGemm
from xpnet.engine.cpu.dense import Dense
from xpnet.engine.cpu.kernel import Kernel, computes
from xpnet.engine.lower import Op
from xpnet.functions.activations import binarized
from xpnet.layers import BinaryAffine, BinaryConvolution, Rescale, Sign


@computes(BinaryConvolution)
class SignsShiftGemm(ShiftGemm):
    """As `ShiftGemm`, with the filters' signs; sums of -1 and 1 are exact in any order."""

    method = "shift-GEMM of signs"

    @classmethod
    def best(cls, op: Op) -> type[Kernel]:
        """This one: the others would have to be told of signs, too."""
        return cls

    def prepare(self) -> None:
        """The signs in the order of the products of either way."""
        super().prepare()
        for filters in (self._by_place, self._back_by_place):
            filters[...] = binarized(filters)


@computes(BinaryAffine)
class SignsDense(Dense):
    """As `Dense`, with the weights' signs."""

    shares_prepared = True
    method = "GEMM of signs"

    def build(self) -> None:
        """The arrays of the products, and one for the signs."""
        super().build()
        self._real, self._W = self._W, self.buffers.prepared(self, *self._W.shape)

    def prepare(self) -> None:
        """The signs."""
        self._W[...] = binarized(self._real)


@computes(Sign)
class Binarize(Kernel):
    """y = 1 where x >= 0, else -1; dx = dy where |x| <= 1, else 0."""

    method = "number by number"

    def build(self) -> None:
        """Masks of what is 0, and of what is near to it."""
        shape = self.buffers.shape(self.op.output_shape)
        self._zero = self.buffers.scratch("mask", shape, bool)
        self._size = self.buffers.scratch("term", shape)
        self._near = self.buffers.kept(shape, bool)

    def forward(self) -> None:
        """x to y."""
        (x,) = self.inputs
        np.abs(x, out=self._size)
        np.less_equal(self._size, 1.0, out=self._near)
        np.equal(x, 0.0, out=self._zero)
        np.sign(x, out=self.y)
        self.y += self._zero

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to dx."""
        np.multiply(self.dy, self._near, out=self.gradients[0])


@computes(Rescale)
class Scaled(Kernel):
    """y = scale x + shift."""

    method = "number by number"

    def build(self) -> None:
        """The two numbers."""
        layer = self.op.layer
        assert isinstance(layer, Rescale)
        self._scale, self._shift = layer.scale, layer.shift

    def forward(self) -> None:
        """x to y."""
        np.multiply(self.inputs[0], self._scale, out=self.y)
        self.y += self._shift

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to dx."""
        np.multiply(self.dy, self._scale, out=self.gradients[0])
